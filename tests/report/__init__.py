"""Tests of csasn.report."""
