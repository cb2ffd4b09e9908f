"""How a training survives being cut."""
