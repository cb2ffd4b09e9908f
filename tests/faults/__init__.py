"""Faults 1 to 67: what goes in, and what must come of it."""
