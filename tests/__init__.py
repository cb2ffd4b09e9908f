"""Tests: a folder a room of csasn, helpers in support/, and kinds of their own."""
