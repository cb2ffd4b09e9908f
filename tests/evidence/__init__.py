"""Tests of csasn.evidence."""
