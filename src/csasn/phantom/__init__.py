"""The simulated cohort: attributes, anatomy, acoustics, scanner."""
