"""Pictures of the documentation, each written by a script from the source: `make pages` writes them again."""
