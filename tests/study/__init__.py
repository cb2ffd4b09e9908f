"""Tests of csasn.study."""
