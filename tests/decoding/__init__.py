"""Tests of csasn.decoding."""
