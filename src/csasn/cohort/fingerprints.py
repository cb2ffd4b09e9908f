"""What stays of a picture so that copies of it are found: a hash to look up, and a small picture to compare."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 32
# The first row and column tell brightness by depth and side, which a scanner's pictures share.
BAND = np.float32(np.cos(np.pi * np.outer(np.arange(1, 9), 2 * np.arange(SIDE_PX) + 1) / (2 * SIDE_PX)))
MIDDLE = 32  # of 64 waves
REDUCED_PX = 2 * SIDE_PX  # each side at least, before the surround is looked for
FLAT = 3.0  # grey levels by which rows and columns of a surround differ from its darkest
MOST_SHOWN = 0.75  # of the picture, where a surround is left out: a narrower margin may be dark tissue


@dataclass(frozen=True, kw_only=True)  # no slots: those pickle several times slower, field by field
class Fingerprint:
    """`hash`: 64 bits, near for pictures that look alike; `thumbnail`: SIDE_PX rows of SIDE_PX grey bytes."""

    hash: int
    thumbnail: bytes


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """Fingerprint of a grey picture (H, W), reduced to 32 x 32 px so that its size and compression hardly matter.

    The hash holds the signs of 8 x 8 low frequencies of the cosine transform about their median (Zauner 2010), so that
    gain and contrast hardly matter either. A flat surround, as in captures of a whole screen, is left out.
    """
    height, width = pixels.shape
    factors = max(1, width // REDUCED_PX), max(1, height // REDUCED_PX)
    picture = Image.fromarray(pixels).reduce(factors)
    box = _shown(np.asarray(picture), width / factors[0], height / factors[1])
    thumbnail = np.asarray(picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box))
    waves = (BAND @ thumbnail.astype(np.float32) @ BAND.T).ravel()
    ordered = np.partition(waves, (MIDDLE - 1, MIDDLE))
    bits = waves > (ordered[MIDDLE - 1] + ordered[MIDDLE]) / 2
    return Fingerprint(hash=int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail=thumbnail.tobytes())


def _shown(pixels: NDArray[np.uint8], width: float, height: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what a flat surround leaves, or of the whole picture where that is little.

    `width` and `height` are less than those of the reduced `pixels` where the last pixels are but parts.
    """
    edges = []
    for axis, length in ((0, width), (1, height)):
        level = pixels.mean(axis=axis, dtype=np.float32)
        (shown,) = np.nonzero(level > level.min() + FLAT)
        edges.append((float(shown[0]), min(float(shown[-1]) + 1, length)) if shown.size else (0.0, length))
    (left, right), (top, bottom) = edges
    if (right - left) * (bottom - top) > MOST_SHOWN * width * height:
        return 0.0, 0.0, width, height
    return left, top, right, bottom
