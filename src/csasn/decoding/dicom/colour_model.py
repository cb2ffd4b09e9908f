"""Whether three channels are red, green and blue or luma and chroma: told by their values, as labels can be wrong."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from csasn.decoding.refused import RefusedPicture

Colours = Literal["RGB", "YCbCr"]

STEP = 4  # every fourth pixel each way
MIDDLE = 128  # chroma of grey
ALIKE = 12  # grey levels by which channels of a grey pixel differ at most, tints and JPEG included
APART = 2 * ALIKE  # from the middle: beyond it no pixel is grey in both models
LEAST_SHARE = 0.5  # of the pixels that tell; on a scanner's screen nearly all are grey
LEAST_PIXELS = 64  # that tell
LEAST_CORRELATION = 0.9  # of red with green and with blue in a tinted picture
LEAST_SLOPE = 0.5  # of green and of blue over red; chroma varies far less than luma


def seen_model(values: NDArray[Any]) -> tuple[Colours | None, str]:
    """What the values (H, W, 3) of a frame show, None where they do not tell, and the share that shows it.

    A grey pixel has three like channels in RGB, and in Y'CbCr two of about 128. Only pixels whose first channel is far
    from 128 tell the two apart. A screen of ultrasound is grey for the most part, whatever flow is drawn on it.
    """
    first, second, third = (values[::STEP, ::STEP, channel].astype(np.int16).ravel() for channel in range(3))
    telling = np.abs(first - MIDDLE) > APART
    if telling.sum() < LEAST_PIXELS:
        return None, "too few of its pixels tell"
    first, second, third = first[telling], second[telling], third[telling]
    rgb = float(((np.abs(second - first) <= ALIKE) & (np.abs(third - first) <= ALIKE)).mean())
    chroma = float(((np.abs(second - MIDDLE) <= ALIKE) & (np.abs(third - MIDDLE) <= ALIKE)).mean())
    if chroma > LEAST_SHARE:
        return "YCbCr", f"{chroma:.0%} of the pixels that tell are grey as Y'CbCr"
    if rgb > LEAST_SHARE or (_follows(first, second) and _follows(first, third)):
        return "RGB", f"{rgb:.0%} of the pixels that tell are grey as RGB"
    return None, f"{rgb:.0%} of the pixels that tell are grey as RGB, {chroma:.0%} as Y'CbCr"


def refuse_other_model(values: NDArray[Any], said: Colours, photometric: str) -> None:
    """Raise RefusedPicture (colour-contradicts) where the values of a frame show the other colour model."""
    seen, share = seen_model(values)
    if seen not in (None, said):
        raise RefusedPicture("colour-contradicts", f"its colour model is {photometric}, read as {said}; {share}")


def _follows(first: NDArray[np.int16], other: NDArray[np.int16]) -> bool:
    """Whether one channel is a tint of the first: it rises and falls with it, and about as far."""
    spread, spread_of_other = float(first.std()), float(other.std())
    if spread == 0 or spread_of_other == 0:
        return False
    covariance = float(((first - first.mean()) * (other - other.mean())).mean())
    correlation = covariance / (spread * spread_of_other)
    return correlation >= LEAST_CORRELATION and covariance / spread**2 >= LEAST_SLOPE
