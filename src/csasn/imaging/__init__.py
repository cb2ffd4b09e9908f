"""Pixels become tensors, once."""
