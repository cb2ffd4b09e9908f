"""Blending of training rows: mixup between features, CutMix between images; drawn apart from being applied."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle of pixels: rows top to bottom - 1, columns left to right - 1."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Its pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """How the rows of a batch are blended: row i with row other[i], whose labels count lam and 1 - lam.

    Without a box it is mixup (Zhang 2018, arXiv 1710.09412), here between features (Verma 2019, arXiv 1806.05236):
    lam * row i + (1 - lam) * row other[i]. Pixels are never blended so: two images laid over each other would be
    anatomy that nobody has. With a box it is CutMix (Yun 2019, arXiv 1905.04899) between images: the box is taken
    from the other image, and 1 - lam is exactly its share of the area.
    """

    other: NDArray[np.int64]
    lam: float
    box: Box | None = None


def draw_mixup(stream: np.random.Generator, n: int, beta: float) -> Mix | None:
    """Partner of each of n rows and their common weight lam, drawn from Beta(beta, beta); None where mixup is off."""
    if beta == 0:
        return None
    return Mix(other=stream.permutation(n), lam=float(stream.beta(beta, beta)))


def draw_cutmix(stream: np.random.Generator, n: int, beta: float, size_px: int) -> Mix:
    """Partner of each of n square images and the batch's box, as Yun 2019 draws it.

    s ~ Beta(beta, beta); the box has sides size * sqrt(1 - s), rounded down to pixels, about a centre drawn evenly
    from the image, and is cut off at its edges. What remains of it decides lam, not s.
    """
    other, drawn = stream.permutation(n), float(stream.beta(beta, beta))
    side = int(size_px * (1 - drawn) ** 0.5)
    edges = []
    for centre in stream.integers(size_px, size=2).tolist():
        first = centre - side // 2
        edges += [max(first, 0), min(first + side, size_px)]
    box = Box(top=edges[0], bottom=edges[1], left=edges[2], right=edges[3])
    return Mix(other=other, lam=1 - box.area / size_px**2, box=box)


def pasted(images: Tensor, others: Tensor, box: Box) -> Tensor:
    """Images (B, 1, H, W) with the box of the other images (B, 1, H, W) in its place, in memory of their own."""
    result = images.clone()
    place = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    result[place] = others[place]
    return result
