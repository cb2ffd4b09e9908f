"""Where the B-mode picture lies on a scanner's screen, how large its pixels are, and whether flow is drawn on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from csasn.decoding.refused import RefusedPicture

TISSUE, COLOUR_FLOW = 1, 2  # Region Data Type (0018,6014), PS3.3 C.8.5.5.1.3
TWO_DIMENSIONAL = 1  # Region Spatial Format (0018,6012)
CENTIMETRES = 3  # Physical Units (0018,6024)
MOST_ANISOTROPY = 0.05
COLOUR_STEP = 4  # every fourth pixel each way tells colour well enough
SATURATED = 60  # grey levels between the largest and the smallest of red, green and blue
SOLID = 7  # of a coloured pixel's block of nine that are coloured too: scales, callipers and letters are thinner
LEAST_FLOW_SHARE = 0.002  # solid pixels of the region; marks reach 0.0004, flow boxes begin at 0.02
LEAST_DECLARED_SHARE = 0.001  # where the file itself says that it holds colour
MIDDLE = (60, 180)  # brightness at which a tint shows: black and white have no hue
NEUTRAL = 0.1  # saturation under which a pixel of middle brightness is grey
TINT_NEUTRAL_SHARE = 0.15  # a tint leaves hardly a grey pixel; flow lies on a grey picture
TINT_HUE = 0.97  # length of the mean hue vector of a tint


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A calibrated part of the screen: rows top..bottom - 1, columns left..right - 1, mm per pixel or None."""

    top: int
    bottom: int
    left: int
    right: int
    pixel_spacing_mm: float | None
    n_alike: int = 1
    """Number of B-mode regions on the screen, of which this is the largest."""

    @property
    def area(self) -> int:
        """Pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def number_of(dataset: Dataset, name: str) -> float | None:
    """A numeric element by keyword, the first of several; None where it is absent, empty or no number."""
    try:
        value: Any = dataset.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            value = value[0]
        number = float(value)
    except Exception:
        return None
    return number if np.isfinite(number) else None


def b_mode_region(dataset: Dataset, shape: tuple[int, int]) -> Region | None:
    """The largest two-dimensional tissue region of a screen (rows, columns), the left one of two alike; None if none.

    Raises RefusedPicture where a region lies outside the image (region-outside-image), or its pixels are not square
    (anisotropic-pixels).
    """
    found = [
        _region(each, shape)
        for each in _regions(dataset)
        if number_of(each, "RegionDataType") == TISSUE and number_of(each, "RegionSpatialFormat") == TWO_DIMENSIONAL
    ]
    if not found:
        return None
    best = min(found, key=lambda region: (-region.area, region.left, region.top))
    return Region(
        top=best.top,
        bottom=best.bottom,
        left=best.left,
        right=best.right,
        pixel_spacing_mm=best.pixel_spacing_mm,
        n_alike=len(found),
    )


def flow_region(dataset: Dataset, region: Region) -> bool:
    """Whether a colour flow region overlaps a B-mode region."""
    for each in _regions(dataset):
        if number_of(each, "RegionDataType") != COLOUR_FLOW:
            continue
        corners = [number_of(each, f"RegionLocation{name}") for name in ("MinX0", "MaxX1", "MinY0", "MaxY1")]
        if None in corners:
            return True
        left, right, top, bottom = (corner for corner in corners if corner is not None)
        if left < region.right and right >= region.left and top < region.bottom and bottom >= region.top:
            return True
    return False


def shows_flow(colours: NDArray[np.uint8], *, declared: bool = False) -> bool:
    """Whether patches of strong colour lie in a picture (H, W, 3), of which every COLOUR_STEP-th pixel was taken.

    A tinted grey scale has one hue and hardly a grey pixel of middle brightness; coloured marks and letters are thin.
    """
    brightest = colours.max(axis=2).astype(np.int16)
    spread = brightest - colours.min(axis=2)
    strong = spread > SATURATED
    if _solid(strong).mean() < (LEAST_DECLARED_SHARE if declared else LEAST_FLOW_SHARE):
        return False
    middle = (brightest >= MIDDLE[0]) & (brightest <= MIDDLE[1])
    neutral = middle & (spread < NEUTRAL * brightest)
    if neutral.sum() > TINT_NEUTRAL_SHARE * middle.sum():
        return True
    red, green, blue = (colours[..., channel][strong].astype(np.float64) for channel in range(3))
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    return bool(np.hypot(np.cos(hue).mean(), np.sin(hue).mean()) < TINT_HUE)


def _solid(strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a pixel and its block of nine are coloured, SOLID of them at least."""
    height, width = strong.shape
    framed = np.pad(strong, 1).astype(np.uint8)
    n_alike = sum(framed[top : top + height, left : left + width] for top in range(3) for left in range(3))
    return strong & (n_alike >= SOLID)


def spacing_without_region(dataset: Dataset) -> float | None:
    """Mean of Pixel Spacing or Imager Pixel Spacing, mm; None where neither is a pair of positive numbers."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        value = dataset.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            try:
                across, down = float(value[0]), float(value[1])
            except (TypeError, ValueError):
                continue
            return _square(across, down)
    return None


def spacing_of_groups(dataset: Dataset) -> float | None:
    """Pixel Spacing of an enhanced object, mm, from its functional groups (PS3.3 C.7.6.16.2.1).

    The shared group says it, or the groups of all frames say the same; else it is None.
    """
    shared = [spacing_without_region(each) for each in _pixel_measures(dataset, "SharedFunctionalGroupsSequence")]
    by_frame = [spacing_without_region(each) for each in _pixel_measures(dataset, "PerFrameFunctionalGroupsSequence")]
    if len(by_frame) < len(_items(dataset, "PerFrameFunctionalGroupsSequence")) and not shared:
        return None
    said = {*shared, *by_frame}
    return said.pop() if len(said) == 1 else None


def _pixel_measures(dataset: Dataset, groups: str) -> list[Dataset]:
    """The items that hold Pixel Spacing, in the functional groups of that name."""
    return [each for group in _items(dataset, groups) for each in _items(group, "PixelMeasuresSequence")]


def _regions(dataset: Dataset) -> list[Dataset]:
    return _items(dataset, "SequenceOfUltrasoundRegions")


def _items(dataset: Dataset, name: str) -> list[Dataset]:
    found = dataset.get(name)
    return [each for each in found if isinstance(each, Dataset)] if isinstance(found, Sequence) else []


def _region(each: Dataset, shape: tuple[int, int]) -> Region:
    corners = [number_of(each, f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if None in corners:
        raise RefusedPicture("region-outside-image", "its B-mode region has no complete corners")
    left, top, right, bottom = (int(corner) for corner in corners if corner is not None)
    rows, columns = shape
    # Some scanners write the first column beyond the region instead of its last one: one pixel over is clipped.
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        raise RefusedPicture(
            "region-outside-image",
            f"columns {left} to {right}, rows {top} to {bottom}, of {columns} x {rows} px",
        )
    return Region(
        top=top,
        bottom=min(bottom + 1, rows),
        left=left,
        right=min(right + 1, columns),
        pixel_spacing_mm=_region_spacing(each),
    )


def _region_spacing(each: Dataset) -> float | None:
    units = (number_of(each, "PhysicalUnitsXDirection"), number_of(each, "PhysicalUnitsYDirection"))
    across, down = number_of(each, "PhysicalDeltaX"), number_of(each, "PhysicalDeltaY")
    if units != (CENTIMETRES, CENTIMETRES) or across is None or down is None:
        return None
    return _square(abs(across) * 10, abs(down) * 10)


def _square(across_mm: float, down_mm: float) -> float | None:
    if across_mm <= 0 or down_mm <= 0:
        return None
    if abs(across_mm - down_mm) > MOST_ANISOTROPY * max(across_mm, down_mm):
        raise RefusedPicture("anisotropic-pixels", f"{across_mm:.4f} mm across, {down_mm:.4f} mm down")
    return (across_mm + down_mm) / 2
