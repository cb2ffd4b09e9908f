"""What a scanner or reader drew over a picture: lines of text, and thin bright strokes such as calipers and rulers."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from csasn.decoding.burned_in import find_text

RISE = 60  # grey levels by which a stroke stands above what is left when everything thinner than 3 px is taken away
INK = 150  # a stroke is at least so bright
MARGIN_PX = 2


def find_marks(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask (H, W) of text and thin bright strokes in a grey picture (H, W), with a margin of 2 px.

    Echoes are blurred by pulse and beam, and seldom rise so steeply; single bright specks may be taken for marks.
    Where the picture was enlarged after drawing, strokes are thicker than 2 px and are not found.
    """
    thin = pixels.astype(np.int16) - ndimage.grey_opening(pixels, size=(3, 3))
    strokes = (thin >= RISE) & (pixels >= INK)
    return np.asarray(find_text(pixels) | ndimage.binary_dilation(strokes, iterations=MARGIN_PX))
