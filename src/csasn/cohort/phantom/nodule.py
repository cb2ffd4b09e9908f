"""The nodule itself: outline, composition, halo and echogenic foci, painted into the maps of the neck."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.cohort.phantom.acoustics import Map, coarse_noise
from csasn.cohort.phantom.attributes import Attributes

MOST_HEIGHT_MM = 25.0  # deeper nodules would not fit a picture of 38 mm
ECHO_DB = {"iso-or-hyper": (-2.5, 4.5), "hypo": (-9.0, -5.0), "marked": (-15.0, -11.5)}
EDGE_MM = {"smooth": (0.2, 0.4), "ill-defined": (2.0, 3.5), "irregular": (0.2, 0.5)}
ROUGHNESS = {"smooth": (0.01, 0.03), "ill-defined": (0.02, 0.05), "irregular": (0.09, 0.17)}
HALO_MM = {"thin": (0.4, 0.8), "thick": (1.1, 2.0)}
SOLID_ATTENUATION = 0.9  # dB/cm/MHz, published for nodules
FLUID_DB, FLUID_ATTENUATION = -42.0, 0.05
CALCIUM_DB, CALCIUM_ATTENUATION = 17.0, 38.0
PUNCTATE_DB = 20.0
LEAST_CONTRAST_DB = 1.5  # a nodule that nobody could see would not have been sampled


@dataclass(frozen=True, kw_only=True, slots=True)
class Diameters:
    """Depth, transverse width and length of a nodule, mm; the largest is the size in its attributes."""

    depth_mm: float
    width_mm: float
    length_mm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a nodule lies in one view: its centre and its full height and width, mm."""

    depth_mm: float
    across_mm: float
    height_mm: float
    width_mm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Patch:
    """The nodule's part of the maps: `distance` (h, w) mm from the outline, negative inside; `angle` in radians."""

    echo: Map
    attenuation: Map
    distance: Map
    angle: Map
    dx: Map
    dz: Map
    spacing_mm: float


def draw_diameters(attributes: Attributes, rng: np.random.Generator) -> Diameters:
    """Three diameters with the drawn largest one and the drawn shape in the transverse view."""
    size = attributes.size_mm
    if attributes.taller_than_wide:
        depth = min(size * rng.uniform(0.85, 1.0), MOST_HEIGHT_MM)
        return Diameters(depth_mm=depth, width_mm=depth * rng.uniform(0.65, 0.92), length_mm=size)
    width = size * rng.uniform(0.75, 1.0)
    depth = min(width * rng.uniform(0.55, 0.93), MOST_HEIGHT_MM)
    return Diameters(depth_mm=depth, width_mm=width, length_mm=size)


def insert_nodule(
    echo: Map,
    attenuation: Map,
    attributes: Attributes,
    place: Place,
    axes: tuple[Map, Map],
    spacing_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Paint a nodule into `echo` (dB) and `attenuation` (dB/cm/MHz), both (H, W) and changed; its mask (H, W)."""
    window = _window(place, echo.shape, axes, spacing_mm)
    patch = _patch(echo[window], attenuation[window], axes, window, place, attributes.margin, spacing_mm, rng)
    shape = patch.distance.shape
    level = rng.uniform(*ECHO_DB[attributes.echogenicity])
    level = float(np.copysign(max(abs(level), LEAST_CONTRAST_DB), level))
    texture = coarse_noise(shape, (1.0 / spacing_mm, 1.0 / spacing_mm), rng) * rng.uniform(0.4, 1.2)
    texture += coarse_noise(shape, (4.0 / spacing_mm, 4.0 / spacing_mm), rng) * rng.uniform(0.6, 1.6)
    weight = np.clip(0.5 - patch.distance / rng.uniform(*EDGE_MM[attributes.margin]), 0, 1)
    patch.echo[:] += weight * (level + texture - patch.echo)
    patch.attenuation[:] += weight * (SOLID_ATTENUATION - patch.attenuation)
    _paint_halo(patch, attributes.halo, rng)
    _paint_fluid(patch, attributes.composition, place, rng)
    _paint_foci(patch, attributes.foci, place, rng)
    mask = np.zeros(echo.shape, dtype=np.bool_)
    mask[window] = patch.distance < 0
    return mask


def _window(place: Place, shape: tuple[int, ...], axes: tuple[Map, Map], spacing_mm: float) -> tuple[slice, slice]:
    """Rows and columns within reach of the nodule."""
    ends = []
    for size, centre, extent, axis in (
        (shape[0], place.depth_mm, place.height_mm, axes[0]),
        (shape[1], place.across_mm, place.width_mm, axes[1]),
    ):
        middle = (centre - float(axis.flat[0])) / spacing_mm
        reach = (0.7 * extent + 3.0) / spacing_mm
        ends.append(slice(max(0, int(middle - reach)), min(size, int(middle + reach) + 1)))
    return ends[0], ends[1]


def _patch(
    echo: Map,
    attenuation: Map,
    axes: tuple[Map, Map],
    window: tuple[slice, slice],
    place: Place,
    margin: str,
    spacing_mm: float,
    rng: np.random.Generator,
) -> _Patch:
    dz = (axes[0][window[0]] - np.float32(place.depth_mm)) / np.float32(place.height_mm / 2)
    dx = (axes[1][:, window[1]] - np.float32(place.across_mm)) / np.float32(place.width_mm / 2)
    dz, dx = np.broadcast_arrays(dz, dx)
    angle = np.arctan2(dz, dx)
    outline = _outline(rng.uniform(*ROUGHNESS[margin]), fine=margin == "irregular", rng=rng)
    turns = np.clip((angle + np.pi) * (len(outline) / (2 * np.pi)), 0, len(outline) - 1).astype(np.int32)
    radius = np.hypot(dx, dz)
    distance = (radius - outline[turns]) * np.float32(np.sqrt(place.height_mm * place.width_mm) / 2)
    return _Patch(
        echo=echo, attenuation=attenuation, distance=distance, angle=angle, dx=dx, dz=dz, spacing_mm=spacing_mm
    )


def _outline(roughness: float, *, fine: bool, rng: np.random.Generator) -> Map:
    """Relative radius at 720 angles: waves of 2 to 4 periods, and of 5 to 13 where the margin is irregular."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = np.ones_like(angles)
    for periods in range(2, 14 if fine else 5):
        height = roughness * rng.uniform(0.3, 1.0) / (periods**0.5 if fine else 1.0)
        radius += height * np.cos(periods * angles + rng.uniform(0, 2 * np.pi))
    return np.clip(radius, 0.6, 1.35).astype(np.float32)


def _arcs(patch: _Patch, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a rim is present around the nodule: about this share of its circumference, in arcs."""
    first, second = rng.uniform(0, 2 * np.pi, size=2)
    wave = np.cos(patch.angle * 2 + first) + 0.7 * np.cos(patch.angle * 3 + second)
    return np.asarray(wave > np.quantile(wave, 1 - share))


def _paint_halo(patch: _Patch, halo: str, rng: np.random.Generator) -> None:
    if halo == "absent":
        return
    thickness = rng.uniform(*HALO_MM[halo])
    ring = (patch.distance > -thickness / 2) & (patch.distance < thickness / 2)
    ring &= _arcs(patch, rng.uniform(0.7, 1.0), rng)
    patch.echo[ring] = np.minimum(patch.echo[ring], np.float32(rng.uniform(-15.0, -10.0)))


def _paint_fluid(patch: _Patch, composition: str, place: Place, rng: np.random.Generator) -> None:
    """Fluid from thresholded smooth noise: a few pools if mixed, a sponge of small ones, or nearly all of it."""
    if composition == "solid":
        return
    sponge = composition == "spongiform-or-cystic" and rng.random() < 0.5
    if composition == "mixed":
        cell, share, wall = 0.4 * min(place.height_mm, place.width_mm), rng.uniform(0.15, 0.45), 0.8
    elif sponge:
        cell, share, wall = 0.9, rng.uniform(0.45, 0.6), 0.4
    else:
        cell, share, wall = 0.6 * min(place.height_mm, place.width_mm), rng.uniform(0.85, 0.98), 0.6
    inner = patch.distance < -min(wall, 0.2 * min(place.height_mm, place.width_mm))
    if not inner.any():
        return
    cells = (cell / patch.spacing_mm, cell / patch.spacing_mm)
    noise = coarse_noise((patch.echo.shape[0], patch.echo.shape[1]), cells, rng)
    fluid = inner & (noise > np.quantile(noise[inner], 1 - share))
    patch.echo[fluid] = -22.0 if sponge else FLUID_DB
    patch.attenuation[fluid] = FLUID_ATTENUATION


def _paint_foci(patch: _Patch, foci: str, place: Place, rng: np.random.Generator) -> None:
    if foci == "none":
        return
    solid = patch.echo > FLUID_DB / 2
    smaller = min(place.height_mm, place.width_mm)
    if foci == "rim":
        calcium = (np.abs(patch.distance + 0.2) < rng.uniform(0.25, 0.4)) & _arcs(patch, rng.uniform(0.35, 0.7), rng)
    elif foci == "macro":
        calcium = np.zeros(patch.distance.shape, dtype=np.bool_)
        for _ in range(rng.integers(1, 4)):
            width = min(rng.uniform(0.7, 2.0), 0.2 * smaller)
            calcium |= _spot(patch, place, (width * rng.uniform(0.35, 0.8), width), rng)
    else:
        calcium = np.zeros(patch.distance.shape, dtype=np.bool_)
        for _ in range(rng.integers(6, 26)):
            calcium |= _spot(patch, place, (rng.uniform(0.1, 0.22), rng.uniform(0.12, 0.3)), rng)
        patch.echo[calcium & solid] = PUNCTATE_DB  # too small to cast a shadow
        return
    patch.echo[calcium & solid] = CALCIUM_DB
    patch.attenuation[calcium & solid] = CALCIUM_ATTENUATION


def _spot(patch: _Patch, place: Place, radii_mm: tuple[float, float], rng: np.random.Generator) -> NDArray[np.bool_]:
    """An ellipse of these radii (depth, across) mm, somewhere in the inner four fifths of the nodule."""
    radius, turn = 0.8 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    away_z = (patch.dz - radius * np.sin(turn)) * (place.height_mm / 2) / max(radii_mm[0], 0.6 * patch.spacing_mm)
    away_x = (patch.dx - radius * np.cos(turn)) * (place.width_mm / 2) / max(radii_mm[1], 0.6 * patch.spacing_mm)
    return np.asarray(away_z**2 + away_x**2 < 1)
