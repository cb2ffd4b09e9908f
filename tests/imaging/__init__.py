"""Tests of csasn.imaging."""
