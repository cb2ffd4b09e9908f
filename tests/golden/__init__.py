"""Published values."""
