"""A scanner without what it draws around and over its picture."""

from dataclasses import replace

from csasn.phantom.scanner import Scanner


def bare(scanner: Scanner) -> Scanner:
    """The scanner without margins and overlays, storing what it computes."""
    return replace(
        scanner,
        zoom=1.0,
        margin_left_px=0,
        margin_right_px=0,
        margin_top_px=0,
        margin_bottom_px=0,
        ruler=False,
        text=False,
        caliper_share=0.0,
    )
