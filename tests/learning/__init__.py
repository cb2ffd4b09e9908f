"""Tests of csasn.learning."""
