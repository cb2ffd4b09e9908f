"""Where things lie in a picture: the grid of pixels, a gland lobe, and the part of the grid around a structure."""

from dataclasses import dataclass

import numpy as np

from csasn.phantom.acoustics import Map

Window = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The pixels of the insonified region: square ones of `spacing_mm`, depth downwards."""

    height_px: int
    width_px: int
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px, self.width_px

    @property
    def depth_mm(self) -> float:
        """Depth of the lower edge."""
        return self.height_px * self.spacing_mm

    def axes(self, coarser: int = 1) -> tuple[Map, Map]:
        """Depth (h, 1) and lateral position (1, w), mm, the latter from the middle; `coarser` times fewer pixels."""
        height, width = (-(-size // coarser) for size in self.shape)
        depth = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(self.depth_mm / height)
        extent = self.width_px * self.spacing_mm
        across = (np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(extent / width)
        return depth[:, None], across[None, :] - np.float32(extent / 2)

    def around(self, depth_mm: float, across_mm: float, reach_mm: tuple[float, float]) -> Window:
        """Rows and columns within `reach_mm` (depth, across) of a point, at least one of each."""
        middle = depth_mm / self.spacing_mm - 0.5, across_mm / self.spacing_mm + self.width_px / 2 - 0.5
        ends = []
        for centre, reach, size in zip(middle, reach_mm, self.shape, strict=True):
            first = min(max(0, int(centre - reach / self.spacing_mm)), size - 1)
            ends.append(slice(first, max(first + 1, min(size, int(centre + reach / self.spacing_mm) + 2))))
        return ends[0], ends[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lobe:
    """A gland lobe: middle and half axes, mm; `side` +1 or -1 is where the carotid lies, 0 in a longitudinal view.

    Its outline is the superellipse |z|^power + |x|^power = 1.
    """

    depth_mm: float
    across_mm: float
    half_height_mm: float
    half_width_mm: float
    power: float
    side: int

    def half_height_at(self, across_mm: float) -> float:
        """Distance in mm from the lobe's middle depth to its outline, at a lateral position."""
        x = min(abs(across_mm - self.across_mm) / self.half_width_mm, 1.0)
        return float(self.half_height_mm * (1 - x**self.power) ** (1 / self.power))

    def distance(self, depth: Map, across: Map) -> Map:
        """Distance (H, W) in mm from the outline, about; negative inside."""
        z = np.abs(depth - np.float32(self.depth_mm)) / np.float32(self.half_height_mm)
        x = np.abs(across - np.float32(self.across_mm)) / np.float32(self.half_width_mm)
        power = np.float32(self.power)
        radius = (z**power + x**power) ** (1 / power)
        return np.asarray((radius - 1) * np.float32(min(self.half_height_mm, self.half_width_mm)), dtype=np.float32)


def wave(across: Map, height_mm: float, rng: np.random.Generator) -> Map:
    """A gently undulating boundary (1, W), mm."""
    total = np.zeros_like(across)
    for length_mm in (15.0, 30.0, 60.0):
        phase = across * np.float32(2 * np.pi / length_mm) + np.float32(rng.uniform(0, 2 * np.pi))
        total += np.float32(height_mm * rng.uniform(0.2, 0.6)) * np.sin(phase)
    return total
