"""What lies beside the gland in a transverse view: carotid, jugular vein, trachea, oesophagus and longus colli."""

from dataclasses import dataclass

import numpy as np

from csasn.phantom.acoustics import Map, coarse_noise
from csasn.phantom.geometry import Grid, Lobe

BLOOD_DB, BLOOD_ATTENUATION = -40.0, 0.2
MUSCLE_DB, MUSCLE_ATTENUATION = -11.0, 1.3
VESSEL_WALL_DB, FASCIA_DB, AIR_DB, CARTILAGE_DB = 5.0, 2.0, 14.0, -10.0
AIR_ATTENUATION = 1.6  # what is seen below air is ring-down, which fades faster than tissue
RINGS_MM = 1.7  # distance of the echoes that bounce between the trachea's front and the skin side


@dataclass(frozen=True, kw_only=True, slots=True)
class Trachea:
    """The windpipe's cross-section: centre and radius, mm."""

    depth_mm: float
    across_mm: float
    radius_mm: float


def draw_trachea(lobe: Lobe, rng: np.random.Generator) -> Trachea:
    """A trachea on the side away from the carotid, its front a little below the lobe's."""
    radius = rng.uniform(8.0, 9.5)
    return Trachea(
        depth_mm=lobe.depth_mm - lobe.half_height_mm + rng.uniform(3.2, 4.5) + radius,
        across_mm=lobe.across_mm - lobe.side * (lobe.half_width_mm + radius - rng.uniform(0.5, 2.0)),
        radius_mm=radius,
    )


def paint_longus_colli(echo: Map, grid: Grid, lobe: Lobe, rng: np.random.Generator) -> None:
    """A flat dark muscle behind the lobe, its sheath seen in front."""
    centre = lobe.depth_mm + lobe.half_height_mm + rng.uniform(4.5, 6.5)
    across = lobe.across_mm - lobe.side * rng.uniform(0.0, 4.0)
    half = (rng.uniform(2.4, 3.4), rng.uniform(8.0, 11.0))
    window = grid.around(centre, across, (half[0] + 1, half[1] + 1))
    if centre - half[0] > grid.depth_mm:
        return
    depth, lateral = _axes(grid, window)
    distance = (np.hypot((depth - centre) / half[0], (lateral - across) / half[1]) - 1) * half[0]
    part = echo[window]
    grain = coarse_noise((part.shape[0], part.shape[1]), (0.4 / grid.spacing_mm, 2.5 / grid.spacing_mm), rng)
    np.copyto(part, np.float32(MUSCLE_DB - 2) + np.float32(2.2) * grain, where=distance < 0)
    front = (np.abs(distance) < 0.18) & (depth < centre - 0.3 * half[0]) & (grain > -0.8)
    np.copyto(part, np.float32(FASCIA_DB - 3) + 2 * grain, where=front)


def paint_vessels(echo: Map, attenuation: Map, grid: Grid, lobe: Lobe, rng: np.random.Generator) -> None:
    """The carotid, round and bright-walled, and often the jugular vein, flat and in front of it."""
    radius = rng.uniform(2.7, 3.6)
    depth = lobe.depth_mm + rng.uniform(-0.2, 0.35) * lobe.half_height_mm
    across = lobe.across_mm + lobe.side * (lobe.half_width_mm + radius + rng.uniform(0.2, 1.4))
    has_vein, flat = rng.random() < 0.7, rng.uniform(0.35, 0.75)
    vein_radius, beside, above = rng.uniform(3.5, 5.5), rng.uniform(2.0, 5.5), rng.uniform(0.4, 1.2)
    if has_vein:
        vein_depth = max(depth - radius - above - vein_radius * flat, 5.5)
        _vessel(echo, attenuation, grid, (vein_depth, across + lobe.side * beside), (vein_radius * flat, vein_radius))
    _vessel(echo, attenuation, grid, (depth, across), (radius, radius), wall_mm=0.6)


def _vessel(
    echo: Map,
    attenuation: Map,
    grid: Grid,
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    wall_mm: float = 0.25,
) -> None:
    """Blood within a wall that is brightest where the beam meets it at a right angle."""
    window = grid.around(*centre, (radii[0] + wall_mm + 0.5, radii[1] + wall_mm + 0.5))
    depth, across = _axes(grid, window)
    z, x = (depth - np.float32(centre[0])) / radii[0], (across - np.float32(centre[1])) / radii[1]
    radius = np.hypot(z, x)
    distance = (radius - 1) * min(radii)
    facing = (z / np.maximum(radius, 0.1)) ** 2
    wall = (distance >= 0) & (distance < wall_mm)
    echo[window][wall] = (-7 + (VESSEL_WALL_DB + 7) * facing)[wall]
    echo[window][distance < 0] = BLOOD_DB
    attenuation[window][distance < 0] = BLOOD_ATTENUATION


def paint_trachea(echo: Map, attenuation: Map, grid: Grid, trachea: Trachea, rng: np.random.Generator) -> None:
    """Dark cartilage, the bright front of the air, and below it the ring-down that hides everything deeper."""
    depth, across = grid.axes()
    reach = np.abs(across - np.float32(trachea.across_mm)) / np.float32(trachea.radius_mm)
    columns = np.flatnonzero(reach[0] < 1)
    if not len(columns):
        return
    part = slice(int(columns[0]), int(columns[-1]) + 1)
    reach = reach[:, part]
    front = trachea.depth_mm - trachea.radius_mm * np.sqrt(1 - reach**2)
    below = depth - front - np.float32(1.3)
    shape = (grid.height_px, part.stop - part.start)
    grain = coarse_noise(shape, (1.0 / grid.spacing_mm, 5.0 / grid.spacing_mm), rng)
    rings = np.float32(6) * np.cos(below * np.float32(2 * np.pi / RINGS_MM)) * np.exp(-below / np.float32(7))
    air = -9 - np.float32(1.1) * below + rings + 2 * grain - 6 * reach**2
    bright = AIR_DB - np.float32(16) * reach**4 + grain
    echo_part, loss_part = echo[:, part], attenuation[:, part]
    np.copyto(echo_part, np.float32(CARTILAGE_DB) + grain, where=(below > -1.3) & (below <= 0))
    np.copyto(echo_part, np.asarray(air, dtype=np.float32), where=below > 0)
    np.copyto(echo_part, np.asarray(bright, dtype=np.float32), where=(below > 0) & (below < 0.45))
    np.copyto(loss_part, np.float32(AIR_ATTENUATION), where=below > 0)


def paint_oesophagus(echo: Map, grid: Grid, lobe: Lobe, trachea: Trachea, rng: np.random.Generator) -> None:
    """On the left, between trachea and longus colli: a dark muscular ring about a bright middle."""
    centre = lobe.depth_mm + lobe.half_height_mm + rng.uniform(0.5, 2.5)
    across = trachea.across_mm + lobe.side * (trachea.radius_mm + rng.uniform(2.0, 4.0))
    half = (rng.uniform(2.5, 3.5), rng.uniform(4.0, 5.5))
    window = grid.around(centre, across, (half[0] + 1, half[1] + 1))
    depth, lateral = _axes(grid, window)
    radius = np.hypot((depth - centre) / half[0], (lateral - across) / half[1])
    outside = lobe.distance(depth, lateral) > 0.4  # it lies behind the gland, never in it
    part = echo[window]
    part[outside & (radius < 1)] = MUSCLE_DB
    part[outside & (radius < 0.5)] = FASCIA_DB
    part[outside & (radius < 0.22)] = MUSCLE_DB
    part[outside & (np.abs(radius - 1) < 0.06)] = FASCIA_DB - 3


def _axes(grid: Grid, window: tuple[slice, slice]) -> tuple[Map, Map]:
    depth, across = grid.axes()
    return depth[window[0]], across[:, window[1]]
