"""The neck around a nodule: maps of echo strength and attenuation, with skin, muscle, gland, trachea and carotid."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from csasn.cohort.phantom.acoustics import Map, coarse_noise
from csasn.cohort.phantom.attributes import Attributes
from csasn.cohort.phantom.nodule import Diameters, Place, insert_nodule

View = Literal["transverse", "longitudinal"]
VIEWS: tuple[View, ...] = ("transverse", "longitudinal")

# Echo strength in dB against the gland, and attenuation in dB/cm/MHz.
SKIN, FAT, MUSCLE, GLAND, DEEP = (4.0, 1.2), (-7.0, 0.9), (-12.0, 1.3), (0.0, 1.5), (-9.0, 1.3)
BLOOD, AIR_ATTENUATION = (-40.0, 0.2), 3.0
CAPSULE_DB, FASCIA_DB, VESSEL_WALL_DB, AIR_DB, CARTILAGE_DB = 6.0, 2.0, 3.0, 13.0, -9.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The pixels of the insonified region: square ones of `spacing_mm`, depth downwards."""

    height_px: int
    width_px: int
    spacing_mm: float

    def axes(self) -> tuple[Map, Map]:
        """Depth (H, 1) and lateral position (1, W), mm, the latter from the middle."""
        depth = (np.arange(self.height_px, dtype=np.float32) + np.float32(0.5)) * np.float32(self.spacing_mm)
        middle = np.float32(self.width_px / 2 - 0.5)
        across = (np.arange(self.width_px, dtype=np.float32) - middle) * np.float32(self.spacing_mm)
        return depth[:, None], across[None, :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tissue:
    """What the beam meets: `echo_db` (H, W) dB, `attenuation` (H, W) dB/cm/MHz, the nodule's `mask` (H, W)."""

    echo_db: Map
    attenuation: Map
    mask: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lobe:
    """A gland lobe: middle and half axes, mm; `side` +1 or -1 is where the carotid lies, 0 in a longitudinal view."""

    depth_mm: float
    across_mm: float
    half_height_mm: float
    half_width_mm: float
    side: int


def draw_tissue(
    attributes: Attributes, diameters: Diameters, view: View, grid: Grid, rng: np.random.Generator
) -> Tissue:
    """The neck of one patient in one view with the nodule in its gland; nothing else follows the class."""
    across_mm = diameters.width_mm if view == "transverse" else diameters.length_mm
    lobe = _draw_lobe(diameters.depth_mm, across_mm, view, grid, rng)
    echo, attenuation = _layers(grid, lobe, rng)
    _paint_gland(echo, attenuation, grid, lobe, rng)
    if view == "transverse":
        _paint_carotid(echo, attenuation, grid, lobe, rng)
        _paint_trachea(echo, attenuation, grid, lobe, rng)
    slack = max(lobe.half_height_mm - diameters.depth_mm / 2, 0.0)
    sideways = max(lobe.half_width_mm - across_mm / 2, 0.0)
    reach = max((grid.width_px * grid.spacing_mm - across_mm) / 2 - 1.0, 0.0)
    place = Place(
        depth_mm=lobe.depth_mm + rng.uniform(-0.8, 0.8) * slack,
        across_mm=float(np.clip(lobe.across_mm + rng.uniform(-0.5, 0.5) * sideways, -reach, reach)),
        height_mm=diameters.depth_mm,
        width_mm=across_mm,
    )
    mask = insert_nodule(echo, attenuation, attributes, place, grid.axes(), grid.spacing_mm, rng)
    return Tissue(echo_db=echo, attenuation=attenuation, mask=mask)


def _draw_lobe(height_mm: float, across_mm: float, view: View, grid: Grid, rng: np.random.Generator) -> _Lobe:
    """A lobe that holds a nodule of this height and width, no deeper than the picture."""
    top = rng.uniform(6.5, 9.5)
    deepest = (grid.height_px * grid.spacing_mm - top - 1.0) / 2
    half_height = min(max(rng.uniform(7.0, 9.5), height_mm / 2 + rng.uniform(0.2, 2.0)), deepest)
    if view == "transverse":
        half_width, across, side = rng.uniform(9.0, 12.0), rng.uniform(-1.5, 1.5), 1 if rng.random() < 0.5 else -1
    else:
        half_width, across, side = rng.uniform(20.0, 27.0), rng.uniform(-9.0, 9.0), 0
    return _Lobe(
        depth_mm=top + half_height,
        across_mm=across,
        half_height_mm=half_height,
        half_width_mm=max(half_width, across_mm / 2 + rng.uniform(0.5, 2.0)),
        side=side,
    )


def _wave(across: Map, height_mm: float, rng: np.random.Generator) -> Map:
    """A gently undulating boundary (1, W), mm."""
    wave = np.zeros_like(across)
    for length_mm in (15.0, 30.0, 60.0):
        phase = across * np.float32(2 * np.pi / length_mm) + np.float32(rng.uniform(0, 2 * np.pi))
        wave += np.float32(height_mm * rng.uniform(0.2, 0.6)) * np.sin(phase)
    return wave


def _layers(grid: Grid, lobe: _Lobe, rng: np.random.Generator) -> tuple[Map, Map]:
    """Skin, fat and strap muscles above the gland, muscle and deep tissue under it: echo (dB) and attenuation."""
    depth, across = grid.axes()
    skin = np.float32(rng.uniform(1.0, 1.8)) + np.zeros_like(across)
    fat = np.float32(rng.uniform(2.5, 4.5)) + _wave(across, 0.5, rng)
    strap = np.float32(lobe.depth_mm - lobe.half_height_mm + rng.uniform(-0.5, 0.3)) + _wave(across, 0.4, rng)
    under = np.float32(lobe.depth_mm + lobe.half_height_mm + rng.uniform(2.0, 6.0)) + _wave(across, 1.2, rng)
    shape = (grid.height_px, grid.width_px)
    fibre = coarse_noise(shape, (0.35 / grid.spacing_mm, 9.0 / grid.spacing_mm), rng)
    lobule = coarse_noise(shape, (1.2 / grid.spacing_mm, 3.0 / grid.spacing_mm), rng)
    echo = np.empty(shape, dtype=np.float32)
    attenuation = np.empty(shape, dtype=np.float32)
    bounds = (skin, fat, strap, np.maximum(strap + 3, under), np.full_like(across, np.inf))
    above = np.full_like(across, -np.inf)
    for (level, loss), below, texture in zip(
        (SKIN, FAT, MUSCLE, MUSCLE, DEEP), bounds, (0.6, 2.2, 2.8, 2.8, 2.2), strict=True
    ):
        layer = (depth >= above) & (depth < below)
        grain = lobule if level in (FAT[0], DEEP[0]) else fibre
        np.copyto(echo, np.float32(level) + np.float32(texture) * grain, where=layer)
        attenuation[layer] = loss
        above = below
    for boundary in (fat, strap, bounds[3]):
        line = np.abs(depth - boundary) < 0.18
        echo[line] = FASCIA_DB + 2 * fibre[line]
    return echo, attenuation


def _gland_distance(grid: Grid, lobe: _Lobe, rng: np.random.Generator) -> Map:
    """Distance (H, W) in mm from the gland's outline, negative inside; an isthmus joins the lobe before the trachea."""
    depth, across = grid.axes()
    z = np.abs(depth - np.float32(lobe.depth_mm) - _wave(across, 0.5, rng)) / np.float32(lobe.half_height_mm)
    x = np.abs(across - np.float32(lobe.across_mm)) / np.float32(lobe.half_width_mm)
    power = np.float32(rng.uniform(2.0, 2.8))
    distance = ((z**power + x**power) ** (1 / power) - 1) * np.float32(min(lobe.half_height_mm, lobe.half_width_mm))
    if lobe.side:
        half = np.float32(rng.uniform(1.2, 2.2))
        middle = np.float32(lobe.depth_mm - lobe.half_height_mm) + half + _wave(across, 0.3, rng)
        strip = np.abs(depth - middle) - half
        medial = (across - np.float32(lobe.across_mm)) * lobe.side < 0
        distance = np.where(medial, np.minimum(distance, strip), distance)
    return np.asarray(distance, dtype=np.float32)


def _paint_gland(echo: Map, attenuation: Map, grid: Grid, lobe: _Lobe, rng: np.random.Generator) -> None:
    distance = _gland_distance(grid, lobe, rng)
    inside = distance < 0
    fine = coarse_noise(echo.shape, (0.8 / grid.spacing_mm, 0.8 / grid.spacing_mm), rng)
    broad = coarse_noise(echo.shape, (6.0 / grid.spacing_mm, 6.0 / grid.spacing_mm), rng)
    np.copyto(echo, rng.uniform(0.4, 0.9) * fine + rng.uniform(0.4, 1.4) * broad, where=inside)
    attenuation[inside] = rng.normal(GLAND[1], 0.15)
    capsule = np.abs(distance) < 0.16
    echo[capsule] = CAPSULE_DB + 2 * broad[capsule]


def _paint_carotid(echo: Map, attenuation: Map, grid: Grid, lobe: _Lobe, rng: np.random.Generator) -> None:
    depth, across = grid.axes()
    radius = rng.uniform(2.7, 3.6)
    at_depth = lobe.depth_mm + rng.uniform(-0.2, 0.35) * lobe.half_height_mm
    at_across = lobe.across_mm + lobe.side * (lobe.half_width_mm + radius + rng.uniform(-0.3, 1.2))
    distance = np.hypot(depth - np.float32(at_depth), (across - np.float32(at_across)) * rng.uniform(0.9, 1.1)) - radius
    echo[distance < 0] = BLOOD[0]
    attenuation[distance < 0] = BLOOD[1]
    echo[np.abs(distance - 0.3) < 0.3] = VESSEL_WALL_DB


def _paint_trachea(echo: Map, attenuation: Map, grid: Grid, lobe: _Lobe, rng: np.random.Generator) -> None:
    """Dark cartilage, a bright line where the air begins, and fading echoes of that line below it."""
    depth, across = grid.axes()
    radius = rng.uniform(8.0, 9.5)
    at_depth = lobe.depth_mm - lobe.half_height_mm + rng.uniform(3.5, 4.5) + radius
    at_across = lobe.across_mm - lobe.side * (lobe.half_width_mm + radius - rng.uniform(0.0, 1.5))
    distance = np.hypot(depth - np.float32(at_depth), across - np.float32(at_across)) - np.float32(radius)
    below_front = np.where(np.abs(across - np.float32(at_across)) < radius, -distance, 0)
    echo[(distance < 0) & (distance > -1.3)] = CARTILAGE_DB
    air = distance <= -1.3
    echoes = 7 * np.cos((below_front - 1.3) * np.float32(2 * np.pi / 2.6)) - 2.2 * (below_front - 1.3) - 8
    np.copyto(echo, echoes, where=air)
    attenuation[air] = AIR_ATTENUATION
    front = (np.abs(distance + 1.45) < 0.2) & (depth < at_depth - 0.2 * radius)
    echo[front] = AIR_DB
