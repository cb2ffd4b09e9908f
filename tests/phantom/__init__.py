"""Tests of csasn.phantom."""
