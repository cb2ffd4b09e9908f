"""A perceptual hash: pictures that look alike have hashes that differ in few bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

SIDE_PX = 32
BAND = slice(1, 9)  # the first row and column tell brightness by depth and side, which a scanner's pictures share


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """64-bit DCT hash of a grey picture (H, W): signs of 8 x 8 low frequencies about their median (Zauner 2010).

    The picture is reduced to 32 x 32 px first, so that size, compression, gain and contrast hardly matter.
    """
    small = Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    waves = dctn(np.asarray(small, dtype=np.float32), norm="ortho")[BAND, BAND].ravel()
    bits = waves > np.median(waves)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
