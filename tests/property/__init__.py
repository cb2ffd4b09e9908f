"""Invariants that hold for every input that can be drawn."""
