"""Tests of csasn.inference."""
