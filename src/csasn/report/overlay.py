"""A map laid over its picture, and the outline of the nodule."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from csasn.arrays import Array
from csasn.evidence.statistics.pointing import Place
from csasn.report.thumbnail import as_png, small_grey

COLOURS = "inferno"
STRONGEST = 0.65  # opacity of the map's largest value; 0 is clear
OUTLINE = (86, 180, 233)  # sky blue of Okabe & Ito, which the colours of the map lack


def overlay(
    root: Path,
    image_path: str,
    square: Array | None,
    mask: NDArray[np.bool_] | None,
    place: Place,
    sha256: str | None = None,
) -> tuple[bytes | None, str]:
    """A PNG of the picture under a map (S, S) from 0 to 1, the mask (S, S) outlined; or None and why there is none.

    `place` says where the picture lies in the square; without a map the picture stands in grey.
    """
    grey, missing = small_grey(root, image_path, sha256)
    if grey is None:
        return None, missing
    colours = np.repeat(np.asarray(grey, dtype=np.float64)[..., np.newaxis], 3, axis=2)
    if square is not None:
        strength = _fitted(square, place, grey.size).clip(0, 1)
        painted = 255 * mpl.colormaps[COLOURS](strength)[..., :3]
        opacity = STRONGEST * strength[..., np.newaxis]
        colours = (1 - opacity) * colours + opacity * painted
    if mask is not None:
        inside = _fitted(mask.astype(np.float64), place, grey.size) > 0.5
        colours[inside & ~binary_erosion(inside)] = OUTLINE
    return as_png(Image.fromarray(np.rint(colours).astype(np.uint8))), ""


def _fitted(square: Array, place: Place, size: tuple[int, int]) -> Array:
    """The picture's part of a square, on the pixels of a thumbnail (width, height)."""
    top, left, height, width = place
    part = square[top : top + height, left : left + width].astype(np.float32)
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR), dtype=np.float64)
