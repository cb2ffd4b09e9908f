"""A mask says inside or outside of every pixel: what says more is refused, and so is a mask in a picture's place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from csasn.decoding.refused import RefusedPicture

EDGE_SHARE = 0.05  # of the pixels that may lie between inside and outside, on a smoothed or blurred edge
EDGE_PX = 4  # how thick such an edge is at most: what is thicker is a third kind of tissue
LEAST_CONTRAST = 64  # grey levels between inside and outside where JPEG has blurred them
END = 0.25  # of the contrast: how far from its end a blurred value may lie
FRAME_SHARE = 0.95  # of the outermost pixels: a mask that holds them all is the mask of what is not the nodule
LEAST_OUTSIDE = 0.001  # of the picture: less than this, left out of a full mask, is no nodule
SHOWN = 6  # values that a reason lists
# A picture that is a mask: values in whole areas. Speckle changes from pixel to pixel.
MOST_VALUES = 3
MOST_CHANGES = 0.1  # of neighbours that differ
BLUR = 24  # grey levels within which JPEG keeps an area of one value
LEAST_SHARE = 0.01  # of the picture that each of two blurred values has, and that is neither


def inside_of(pixels: NDArray[np.uint8], *, lossy: bool) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Where the nodule is (H, W), and the codes of what was done: mask-inverted, mask-empty.

    The brighter of two values is inside. Where the whole frame of the picture is, dark and bright were exchanged. An
    empty mask is a mask. Raises RefusedPicture with mask-values, where there are more than two, or mask-full.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low == high == 0:
        return np.zeros(pixels.shape, dtype=np.bool_), ("mask-empty",)
    if low == high:
        raise RefusedPicture("mask-full", f"every pixel has the value {low}: it marks no nodule")
    if not _has_two_kinds(pixels, low, high, lossy=lossy):
        raise RefusedPicture("mask-values", f"a mask has two values; it has {_values(pixels)}")
    inside = pixels > (low + high) / 2
    frame = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if frame.mean() < FRAME_SHARE:
        return inside, ()
    if (outside := 1 - inside.mean()) < LEAST_OUTSIDE:
        raise RefusedPicture("mask-full", f"it marks {inside.mean():.2%} of the picture, and leaves out {outside:.2%}")
    return ~inside, ("mask-inverted",)


def refuse_mask_like(pixels: NDArray[np.uint8]) -> None:
    """Raise RefusedPicture (mask-like) for a picture of two or three values in whole areas: no ultrasound is."""
    counts = _histogram(pixels)
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1])
    if len(used) <= MOST_VALUES and _in_areas(pixels):
        raise RefusedPicture("mask-like", f"{_values(pixels)} in whole areas: a mask, no ultrasound")
    dark, bright = (float(part.sum() / pixels.size) for part in (counts[: low + BLUR + 1], counts[high - BLUR :]))
    if high - low < LEAST_CONTRAST or dark + bright <= 1 - LEAST_SHARE or min(dark, bright) <= LEAST_SHARE:
        return
    if _in_areas(pixels > (low + high) / 2):
        reason = f"{dark:.1%} of it is {low} and {bright:.1%} is {high}, to {BLUR} grey levels: a mask, no ultrasound"
        raise RefusedPicture("mask-like", reason)


def _in_areas(values: NDArray[Any]) -> bool:
    """Whether few neighbours differ."""
    return bool(max((values[1:] != values[:-1]).mean(), (values[:, 1:] != values[:, :-1]).mean()) <= MOST_CHANGES)


def _histogram(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number of pixels of each of the 256 values; NumPy would need eight bytes a pixel for it."""
    return np.array(Image.fromarray(pixels).histogram(), dtype=np.int64)


def _has_two_kinds(pixels: NDArray[np.uint8], low: int, high: int, *, lossy: bool) -> bool:
    """Whether every pixel is inside or outside, or lies on an edge between the two."""
    between = (pixels != low) & (pixels != high)
    if not (between.any() or lossy):
        return True
    if high - low < LEAST_CONTRAST:  # of a JPEG of 0 and 1 the edges are lost, though its values are still two
        return False
    if lossy:
        reach = END * (high - low)
        between = (pixels > low + reach) & (pixels < high - reach)
    if between.mean() > EDGE_SHARE:
        return False
    return not ndimage.binary_erosion(between, np.ones((3, 3)), iterations=EDGE_PX // 2).any()


def _values(pixels: NDArray[np.uint8]) -> str:
    """The values of a picture with the share of each, the most frequent first."""
    counts = _histogram(pixels)
    order = [int(value) for value in np.argsort(-counts, kind="stable") if counts[value]]
    shown = ", ".join(f"{value} ({counts[value] / pixels.size:.1%})" for value in order[:SHOWN])
    return f"the values {shown}" + (f" and {len(order) - SHOWN} more" if len(order) > SHOWN else "")
