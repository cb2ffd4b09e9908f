"""Pixel stores that were not read from files."""

import numpy as np
from numpy.typing import NDArray

from csasn.imaging.store import PixelStore


def store_of(pixels: NDArray[np.uint8]) -> PixelStore:
    """Pictures (N, S, S) as a store; row n has a made content hash, whose first 64 bits are n."""
    return PixelStore(pixels=pixels, sha256s=[f"{n:016x}".ljust(64, "0") for n in range(len(pixels))], key="k")
