"""What a picture looks like without any model: grey levels, speckle and shape, for the gate before the network."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from csasn.imaging.store import PixelStore
from csasn.schema import STATISTICS

DARK, BRIGHT = 0.02, 0.98
WINDOW_PX, COARSE_PX = 8, 4
N_BINS = 64
TINY = 1e-6


def statistics_table(manifest: pl.DataFrame, store: PixelStore) -> pl.DataFrame:
    """One row an image of the manifest: image_path and its statistics, from the stored pixels."""
    rows = store.rows(manifest["sha256"].to_list())
    found = np.array([image_statistics(store.pixels[row]) for row in rows.tolist()])
    return manifest.select("image_path").with_columns(
        pl.Series(name, column) for name, column in zip(STATISTICS, found.T, strict=True)
    )


def image_statistics(square: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Statistics (13,) of a letterboxed picture (S, S), in the order of schema.STATISTICS; the black around it is cut.

    Each is finite, also for a blank picture.
    """
    picture = _content(square) / 255.0
    height, width = picture.shape
    mean, sd = picture.mean(), picture.std()
    histogram = np.bincount((picture * (N_BINS - 1)).astype(int).ravel(), minlength=N_BINS) / picture.size
    local_mean = uniform_filter(picture, WINDOW_PX)
    local_sd = np.sqrt(np.maximum(uniform_filter(picture**2, WINDOW_PX) - local_mean**2, 0))
    lit = local_mean > DARK
    return np.array(
        [
            mean,
            sd,
            ((picture - mean) ** 3).mean() / max(sd, TINY) ** 3,
            (picture < DARK).mean(),
            (picture > BRIGHT).mean(),
            -(histogram[histogram > 0] * np.log2(histogram[histogram > 0])).sum(),
            np.median(local_sd[lit] / local_mean[lit]) if lit.any() else 0.0,
            _alike(picture[1:], picture[:-1]),
            _alike(picture[:, 1:], picture[:, :-1]),
            _alike(picture[COARSE_PX:], picture[:-COARSE_PX]),
            _alike(picture[:, COARSE_PX:], picture[:, :-COARSE_PX]),
            (picture - uniform_filter(picture, 3)).var() / max(sd, TINY) ** 2,
            np.log(width / height),
        ]
    )


def _content(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The smallest rectangle around what is not black; the whole square where everything is."""
    rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
    if len(rows) <= COARSE_PX or len(columns) <= COARSE_PX:
        return square
    return square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson correlation; 0 where either does not vary."""
    a, b = first - first.mean(), second - second.mean()
    spread = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / spread) if spread > TINY else 0.0
