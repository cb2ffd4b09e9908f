"""What stays of a picture so that copies of it are found: a hash to look up, and a small picture to compare."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 32
# The first row and column tell brightness by depth and side, which a scanner's pictures share.
BAND = np.float32(np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(SIDE_PX) + 1) / (2 * SIDE_PX)))
MIDDLE = 32  # of 64 waves


@dataclass(frozen=True, kw_only=True)  # no slots: those pickle several times slower, field by field
class Fingerprint:
    """`hash`: 64 bits, near for pictures that look alike; `thumbnail`: SIDE_PX rows of SIDE_PX grey bytes."""

    hash: int
    thumbnail: bytes


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """Fingerprint of a grey picture (H, W), reduced to 32 x 32 px so that its size and compression hardly matter.

    The hash holds the signs of 8 x 8 low frequencies of the cosine transform about their median (Zauner 2010), so that
    gain and contrast hardly matter either.
    """
    small = Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    thumbnail = np.asarray(small)
    waves = (BAND @ thumbnail.astype(np.float32) @ BAND.T).ravel()
    ordered = np.partition(waves, (MIDDLE - 1, MIDDLE))
    bits = waves > (ordered[MIDDLE - 1] + ordered[MIDDLE]) / 2
    return Fingerprint(hash=int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail=thumbnail.tobytes())
