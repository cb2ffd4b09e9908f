"""CSASN: one idea of the paper a file."""
