"""Evidence becomes a page."""
