"""Does a map lie on the nodule: the pointing game and the energy inside the mask, and what no knowledge would reach."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from csasn.arrays import Array

TOLERANCE = 15 / 224  # of the square's side: the 15 px of Zhang 2018 at 224 px
CENTRE_SD = 1 / 4  # of the picture's height and width: SD of the centred Gaussian
PLATEAU = 1e-6  # cells within this of the largest one share its place
BASELINES = ("random", "centre")
Place = tuple[int, int, int, int]  # top, left, height, width, px


@dataclass(frozen=True, kw_only=True)
class Target:
    """A nodule on the square that the network sees: mask (S, S), and the picture's top, left, height, width, px."""

    mask: NDArray[np.bool_]
    place: Place

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """The mask and what lies within the tolerance of it, (S, S)."""
        return np.asarray(distance_transform_edt(~self.mask) <= TOLERANCE * len(self.mask), dtype=np.bool_)

    @property
    def picture(self) -> tuple[slice, slice]:
        """The picture's rows and columns in the square."""
        top, left, height, width = self.place
        return slice(top, top + height), slice(left, left + width)


def enlarged(cells: Array, size_px: int) -> Array:
    """A map (h, w) on the square (S, S), bilinear between the cells' centres, level beyond the outermost ones."""
    rows, columns = (_between_centres(n, size_px) for n in cells.shape)
    return np.asarray(rows @ cells @ columns.T, dtype=np.float64)


@cache
def _between_centres(n_cells: int, size_px: int) -> Array:
    """The weight of each cell at each pixel of a line, (S, n)."""
    place = ((np.arange(size_px) + 0.5) * n_cells / size_px - 0.5).clip(0, n_cells - 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(place[:, np.newaxis] - np.arange(n_cells))), dtype=np.float64)


def pointing(square: Array, target: Target) -> float:
    """Pointing game (Zhang 2018, arXiv 1608.00507): 1 where the map's largest pixel is on or near the nodule, else 0.

    A map with several such pixels gives the share of them; a flat map so points at random.
    """
    return float(target.near[square >= square.max() - PLATEAU].mean())


def energy(square: Array, target: Target) -> float:
    """Energy-based pointing game (Wang 2020, arXiv 1910.01279): the share of the map's sum inside the mask.

    A map of zeros counts as a uniform one.
    """
    total = float(square.sum())
    return float(square[target.mask].sum()) / total if total > 0 else float(target.mask.mean())


def baseline(name: str, target: Target) -> tuple[float, float]:
    """Pointing and energy of what knows the picture's outline alone.

    "random": a point drawn uniformly from the picture, and a uniform map: the near nodule's and the nodule's share of
    the picture. "centre": the picture's central pixel, and a Gaussian about it.
    """
    near, mask = target.near[target.picture], target.mask[target.picture]
    if name == "random":
        return float(near.mean()), float(mask.mean())
    height, width = mask.shape
    rows, columns = (_bell(side) for side in mask.shape)
    gaussian = np.outer(rows, columns)
    return float(near[height // 2, width // 2]), float(gaussian[mask].sum() / gaussian.sum())


def _bell(side_px: int) -> Array:
    offset = (np.arange(side_px) + 0.5) / side_px - 0.5
    return np.asarray(np.exp(-(offset**2) / (2 * CENTRE_SD**2)))


def alike(first: Array, second: Array) -> float:
    """Spearman's rank correlation of two maps of the same grid; 0 where either is flat and so ranks nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second, axis=None).statistic)
