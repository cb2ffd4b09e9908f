"""Tests of csasn.cli."""
