"""Tests of csasn.calibration."""
