"""Tests of csasn.cohort."""
