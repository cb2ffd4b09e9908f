"""CSASN: rare thyroid carcinoma recognition in ultrasound, with evidence one can trust."""

__version__ = "0.1.0"
