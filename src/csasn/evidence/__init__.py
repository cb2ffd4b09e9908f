"""Predictions become evidence; no model is ever seen here."""
