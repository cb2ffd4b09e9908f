"""A run's own models over its own rows."""
