"""Tests of csasn.network."""
