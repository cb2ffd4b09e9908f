"""Tests of whole commands, one after another."""
