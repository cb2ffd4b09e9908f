"""The neck around a nodule: maps of echo strength and attenuation, with skin, fat, muscles, gland and capsule."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from csasn.phantom.acoustics import Map, coarse_noise, enlarged
from csasn.phantom.attributes import Attributes
from csasn.phantom.geometry import Grid, Lobe, wave
from csasn.phantom.landmarks import (
    FASCIA_DB,
    MUSCLE_ATTENUATION,
    MUSCLE_DB,
    Trachea,
    draw_trachea,
    paint_longus_colli,
    paint_oesophagus,
    paint_trachea,
    paint_vessels,
)
from csasn.phantom.nodule import Diameters, Place, outline_nodule, paint_nodule

View = Literal["transverse", "longitudinal"]
VIEWS: tuple[View, ...] = ("transverse", "longitudinal")

# Echo strength in dB against the gland, and attenuation in dB/cm/MHz.
SKIN, FAT, GLAND, DEEP = (5.0, 1.2), (-6.0, 0.9), (0.0, 1.5), (-10.0, 1.3)
CAPSULE_DB, CAPSULE_MM = 7.0, 0.16
COARSER = 4  # the gland's outline is smooth enough to be computed on so many times fewer rows and columns
# How far a nodule reaches beyond the gland's outline, mm, by its relation to the capsule; negative: it stays inside.
PROTRUSION_MM = {"away": (-2.2, -1.4), "contact": (-0.3, 0.0), "bulging": (1.3, 2.6), "extension": (1.6, 3.4)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tissue:
    """What the beam meets: `echo_db` (H, W) dB, `attenuation` (H, W) dB/cm/MHz, the nodule's `mask` (H, W)."""

    echo_db: Map
    attenuation: Map
    mask: NDArray[np.bool_]

    def moved(self, columns: int) -> Self:
        """The same tissue so many columns further right; what leaves on one side comes in on the other."""
        if not columns:
            return self
        maps = (np.roll(each, columns, axis=1) for each in (self.echo_db, self.attenuation))
        echo_db, attenuation = maps
        return type(self)(echo_db=echo_db, attenuation=attenuation, mask=np.roll(self.mask, columns, axis=1))


def draw_tissue(
    attributes: Attributes, diameters: Diameters, view: View, grid: Grid, rng: np.random.Generator
) -> Tissue:
    """The neck of one patient in one view with the nodule in its gland; nothing else follows the class."""
    height_mm = diameters.depth_mm
    width_mm = diameters.width_mm if view == "transverse" else diameters.length_mm
    lobe = _draw_lobe(height_mm, width_mm, view, grid, rng)
    place = _place(attributes, lobe, height_mm, width_mm, grid, rng)
    outline = outline_nodule(attributes.margin, place, grid, rng)
    trachea = draw_trachea(lobe, rng) if view == "transverse" else None
    gland = _gland_distance(grid, lobe, trachea, rng)
    around = gland[outline.window]
    if attributes.capsule == "bulging":  # the capsule is lifted over the nodule
        np.minimum(around, outline.distance - np.float32(0.4), out=around)
    echo, attenuation = _layers(grid, lobe, view, rng)
    if trachea is not None:
        paint_longus_colli(echo, grid, lobe, rng)
        if rng.random() < 0.5:
            paint_oesophagus(echo, grid, lobe, trachea, rng)
    _paint_gland(echo, attenuation, gland, grid, rng)
    if trachea is not None:
        paint_vessels(echo, attenuation, grid, lobe, rng)
        paint_trachea(echo, attenuation, grid, trachea, rng)
    # A nodule within the capsule keeps to the gland; one that extends goes through capsule, fascia and muscle.
    free = np.ones_like(around, dtype=np.bool_) if attributes.capsule == "extension" else around < -CAPSULE_MM
    mask = paint_nodule(echo, attenuation, attributes, outline, free, rng)
    return Tissue(echo_db=echo, attenuation=attenuation, mask=mask)


def _draw_lobe(height_mm: float, width_mm: float, view: View, grid: Grid, rng: np.random.Generator) -> Lobe:
    """A lobe that holds a nodule of this height and width with 2.5 mm around it, where the picture is deep enough."""
    top = min(rng.uniform(7.0, 12.5), grid.depth_mm - height_mm - 7.0)
    deepest = (grid.depth_mm - top - 1.0) / 2
    half_height = min(max(rng.uniform(7.0, 9.5), height_mm / 2 + rng.uniform(2.3, 3.5)), deepest)
    if view == "transverse":
        half_width, across, side = rng.uniform(8.5, 12.5), rng.uniform(-5.0, 5.0), 1 if rng.random() < 0.5 else -1
    else:
        half_width, across, side = rng.uniform(20.0, 27.0), rng.uniform(-9.0, 9.0), 0
    return Lobe(
        depth_mm=top + half_height,
        across_mm=across,
        half_height_mm=half_height,
        half_width_mm=max(half_width, width_mm / 2 + rng.uniform(2.5, 4.0)),
        power=rng.uniform(2.0, 2.8),
        side=side,
    )


def _place(
    attributes: Attributes, lobe: Lobe, height_mm: float, width_mm: float, grid: Grid, rng: np.random.Generator
) -> Place:
    """Where the nodule lies, so that it stays away from the capsule, touches it, lifts it or goes through it."""
    sideways = max(lobe.half_width_mm - width_mm / 2 - 2.0, 0.0)
    reach = max((grid.width_px * grid.spacing_mm - width_mm) / 2 - 1.0, 0.0)
    across = float(np.clip(lobe.across_mm + rng.uniform(-0.55, 0.55) * sideways, -reach, reach))
    protrusion = rng.uniform(*PROTRUSION_MM[attributes.capsule])
    if attributes.capsule in ("bulging", "extension"):
        protrusion = min(protrusion, 0.3 * height_mm)
    slack = max(lobe.half_height_at(across) - height_mm / 2 + protrusion, 0.0)
    inwards = rng.uniform(0.0, 1.2) * slack if attributes.capsule == "away" else 0.0
    towards_front = -1 if not attributes.posterior else 1
    return Place(
        depth_mm=lobe.depth_mm + towards_front * (slack - inwards),
        across_mm=across,
        height_mm=height_mm,
        width_mm=width_mm,
    )


def _layers(grid: Grid, lobe: Lobe, view: View, rng: np.random.Generator) -> tuple[Map, Map]:
    """Skin, fat, sternocleidomastoid and strap muscles above the gland, deep tissue under it: echo and attenuation."""
    depth, across = grid.axes()
    spacing = grid.spacing_mm
    skin = np.float32(rng.uniform(1.0, 1.8)) + np.zeros_like(across)
    fat = np.float32(rng.uniform(2.8, 4.6)) + wave(across, 0.5, rng)
    strap = np.float32(lobe.depth_mm - lobe.half_height_mm + rng.uniform(-0.5, 0.3)) + wave(across, 0.4, rng)
    strap = np.maximum(strap, fat + np.float32(1.5))
    under = np.float32(lobe.depth_mm + lobe.half_height_mm + rng.uniform(2.0, 6.0)) + wave(across, 1.2, rng)
    # The sternocleidomastoid lies on the strap muscles at the carotid's side and thins out towards the midline.
    lateral = across * np.float32(lobe.side or 1) / np.float32(10)
    share = 0.5 if lobe.side == 0 else 0.75 / (1 + np.exp(-lateral + np.float32(0.4)))
    between = fat + (strap - fat) * np.asarray(share, dtype=np.float32) + wave(across, 0.2, rng)
    rest = np.maximum(strap + 3, under)
    rows = [min(grid.height_px, int(boundary.max() / spacing) + 3) for boundary in (rest, fat, skin)]
    length = 9.0 if view == "longitudinal" else 3.0  # muscle fibres are seen along or across
    fibre = coarse_noise((rows[0], grid.width_px), (0.35 / spacing, length / spacing), rng)
    echo = coarse_noise(grid.shape, (1.2 / spacing, 3.5 / spacing), rng)
    echo *= np.float32(2.4)
    lobule = echo[: rows[1]].copy()
    echo += np.float32(DEEP[0])
    attenuation = np.full(grid.shape, DEEP[1], dtype=np.float32)
    for n_rows, boundary, values, loss in (
        (rows[0], rest, np.float32(MUSCLE_DB) + np.float32(3.0) * fibre, MUSCLE_ATTENUATION),
        (rows[1], fat, np.float32(FAT[0]) + lobule, FAT[1]),
        (rows[2], skin, np.float32(SKIN[0]) + np.float32(0.8) * fibre[: rows[2]], SKIN[1]),
    ):
        layer = depth[:n_rows] < boundary
        np.copyto(echo[:n_rows], values, where=layer)
        np.copyto(attenuation[:n_rows], np.float32(loss), where=layer)
    for boundary, strength in ((fat, 0.0), (between, -1.0), (strap, 0.0), (rest, -3.0)):
        _paint_line(echo, boundary, FASCIA_DB + strength, fibre, grid)
    return echo, attenuation


def _paint_line(echo: Map, boundary: Map, level_db: float, grain: Map, grid: Grid) -> None:
    """A fascia 0.36 mm thick along a boundary (1, W) in mm, fainter where the grain is dark."""
    half = max(1, round(0.18 / grid.spacing_mm))
    rows = np.rint(boundary[0] / grid.spacing_mm).astype(np.int64)
    columns = np.arange(grid.width_px)
    for offset in range(-half, half + 1):
        at = rows + offset
        seen = (at >= 0) & (at < len(grain))
        echo[at[seen], columns[seen]] = level_db + 2.5 * grain[at[seen], columns[seen]]


def _gland_distance(grid: Grid, lobe: Lobe, trachea: Trachea | None, rng: np.random.Generator) -> Map:
    """Distance (H, W) in mm from the gland's outline, negative inside; an isthmus arches over the trachea."""
    depth, across = grid.axes(coarser=COARSER)
    distance = lobe.distance(depth, across) + wave(across, 0.3, rng)
    if trachea is not None:
        half = np.float32(rng.uniform(1.1, 1.9))
        from_trachea = np.hypot(depth - np.float32(trachea.depth_mm), across - np.float32(trachea.across_mm))
        strip = np.abs(from_trachea - np.float32(trachea.radius_mm) - half - np.float32(0.3)) - half
        strip = np.maximum(strip, depth - np.float32(trachea.depth_mm - 0.35 * trachea.radius_mm))
        blend = np.float32(2.0)  # mm over which lobe and isthmus run into each other
        share = np.clip(0.5 + 0.5 * (strip - distance) / blend, 0, 1)
        distance = strip + (distance - strip) * share - blend * share * (1 - share)
    return enlarged(distance, grid.shape)


def _paint_gland(echo: Map, attenuation: Map, distance: Map, grid: Grid, rng: np.random.Generator) -> None:
    """Even tissue within a thin capsule that shines where the beam meets it at a right angle."""
    inside = distance < 0
    grain, cloud = (tuple(max(2, int(side * grid.spacing_mm / cell)) for side in grid.shape) for cell in (0.8, 6.0))
    fine = rng.standard_normal(grain, dtype=np.float32) * np.float32(rng.uniform(0.5, 1.1))
    broad = rng.standard_normal(cloud, dtype=np.float32) * np.float32(rng.uniform(0.4, 1.3))
    texture = enlarged(fine + enlarged(broad, (grain[0], grain[1])), grid.shape)
    np.copyto(echo, texture, where=inside)
    np.copyto(attenuation, np.float32(rng.normal(GLAND[1], 0.15)), where=inside)
    rows, columns = np.nonzero(np.abs(distance) < CAPSULE_MM)
    above, below = np.maximum(rows - 2, 0), np.minimum(rows + 2, grid.height_px - 1)
    slope = (distance[below, columns] - distance[above, columns]) / ((below - above) * np.float32(grid.spacing_mm))
    facing = np.clip(np.abs(slope), 0, 1) ** 2
    echo[rows, columns] = np.maximum(-2 + (CAPSULE_DB + 2) * facing + 2 * texture[rows, columns], echo[rows, columns])
