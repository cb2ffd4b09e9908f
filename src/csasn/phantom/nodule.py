"""The nodule itself: outline, composition, halo and echogenic foci, painted into the maps of the neck."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.phantom.acoustics import Map, coarse_noise, enlarged
from csasn.phantom.attributes import Attributes
from csasn.phantom.geometry import Grid, Window

MOST_HEIGHT_MM = 25.0  # deeper nodules would not fit a picture of 38 mm
ECHO_DB = {"iso-or-hyper": (-2.5, 4.5), "hypo": (-9.0, -5.0), "marked": (-15.0, -11.5)}
EDGE_MM = {"smooth": (0.2, 0.4), "ill-defined": (2.0, 3.5), "irregular": (0.2, 0.5)}
ROUGHNESS = {"smooth": (0.01, 0.03), "ill-defined": (0.02, 0.05), "irregular": (0.07, 0.13)}
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
class Outline:
    """A nodule's shape in its part of the picture: `distance` (h, w) mm from its edge, negative inside.

    `angle` (h, w) is in radians; `dz` (h, 1) and `dx` (1, w) are depth and lateral position in half axes of `place`.
    """

    window: Window
    place: Place
    distance: Map
    angle: Map
    dx: Map
    dz: Map
    margin: str
    spacing_mm: float

    @property
    def smaller_mm(self) -> float:
        """The smaller of height and width."""
        return min(self.place.height_mm, self.place.width_mm)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Patch:
    """The nodule's part of the maps, both (h, w) views that are painted into, with its outline."""

    echo: Map
    attenuation: Map
    outline: Outline


def draw_diameters(attributes: Attributes, rng: np.random.Generator) -> Diameters:
    """Three diameters with the drawn largest one and the drawn shape in the transverse view."""
    size = attributes.size_mm
    if attributes.taller_than_wide:
        depth = min(size * rng.uniform(0.85, 1.0), MOST_HEIGHT_MM)
        return Diameters(depth_mm=depth, width_mm=depth * rng.uniform(0.65, 0.92), length_mm=size)
    width = size * rng.uniform(0.75, 1.0)
    depth = min(width * rng.uniform(0.55, 0.93), MOST_HEIGHT_MM)
    return Diameters(depth_mm=depth, width_mm=width, length_mm=size)


def outline_nodule(margin: str, place: Place, grid: Grid, rng: np.random.Generator) -> Outline:
    """The outline of a nodule with this margin at this place."""
    reach = 0.7 * place.height_mm + 3.0, 0.7 * place.width_mm + 3.0
    window = grid.around(place.depth_mm, place.across_mm, reach)
    axes = grid.axes()
    dz = (axes[0][window[0]] - np.float32(place.depth_mm)) / np.float32(place.height_mm / 2)
    dx = (axes[1][:, window[1]] - np.float32(place.across_mm)) / np.float32(place.width_mm / 2)
    edge = _edge(rng.uniform(*ROUGHNESS[margin]), fine=margin == "irregular", rng=rng)
    coarse_z, coarse_x = _every_second(dz[:, 0])[:, None], _every_second(dx[0])[None, :]
    angle = np.arctan2(coarse_z, coarse_x)
    turns = np.clip((angle + np.pi) * np.float32(len(edge) / (2 * np.pi)), 0, len(edge) - 1).astype(np.int32)
    distance = (np.hypot(coarse_z, coarse_x) - edge[turns]) * np.float32(np.sqrt(place.height_mm * place.width_mm) / 2)
    shape = len(dz), dx.shape[1]
    doubled = 2 * distance.shape[0], 2 * distance.shape[1]
    distance = enlarged(distance, doubled)[: shape[0], : shape[1]]
    angle = angle.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
    return Outline(
        window=window,
        place=place,
        distance=distance,
        angle=angle,
        dx=dx,
        dz=dz,
        margin=margin,
        spacing_mm=grid.spacing_mm,
    )


def paint_nodule(
    echo: Map,
    attenuation: Map,
    attributes: Attributes,
    outline: Outline,
    free: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Paint a nodule into `echo` (dB) and `attenuation` (dB/cm/MHz), (H, W), where `free` (h, w); its mask (H, W)."""
    before = echo[outline.window], attenuation[outline.window]
    patch = _Patch(echo=before[0].copy(), attenuation=before[1].copy(), outline=outline)
    level = rng.uniform(*ECHO_DB[attributes.echogenicity])
    level = float(np.copysign(max(abs(level), LEAST_CONTRAST_DB), level))
    texture = _noise(patch, 1.0, rng) * np.float32(rng.uniform(0.4, 1.2))
    texture += _noise(patch, 4.0, rng) * np.float32(rng.uniform(0.6, 1.6))
    weight = np.clip(0.5 - outline.distance / np.float32(rng.uniform(*EDGE_MM[outline.margin])), 0, 1)
    patch.echo[:] += weight * (np.float32(level) + texture - patch.echo)
    patch.attenuation[:] += weight * (SOLID_ATTENUATION - patch.attenuation)
    _paint_halo(patch, attributes.halo, rng)
    _paint_fluid(patch, attributes.composition, rng)
    _paint_foci(patch, attributes.foci, rng)
    np.copyto(before[0], patch.echo, where=free)
    np.copyto(before[1], patch.attenuation, where=free)
    mask = np.zeros(echo.shape, dtype=np.bool_)
    mask[outline.window] = (outline.distance < 0) & free
    return mask


def _noise(patch: _Patch, cell_mm: float, rng: np.random.Generator) -> Map:
    cell_px = cell_mm / patch.outline.spacing_mm
    return coarse_noise((patch.echo.shape[0], patch.echo.shape[1]), (cell_px, cell_px), rng)


def _every_second(positions: Map) -> Map:
    """Positions (n,) of pixel pairs, (n + 1) // 2 of them: an outline is smooth enough to be computed so."""
    step = positions[1] - positions[0] if len(positions) > 1 else np.float32(0)
    return np.asarray(positions[::2] + step / 2, dtype=np.float32)


def _edge(roughness: float, *, fine: bool, rng: np.random.Generator) -> Map:
    """Relative radius at 720 angles: waves of 2 to 4 periods, and of 5 to 13 where the margin is irregular."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = np.ones_like(angles)
    for periods in range(2, 14 if fine else 5):
        height = roughness * rng.uniform(0.3, 1.0) / (periods**0.5 if fine else 1.0)
        radius += height * np.cos(periods * angles + rng.uniform(0, 2 * np.pi))
    return np.clip(radius, 0.6, 1.35).astype(np.float32)


def _arcs(outline: Outline, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a rim is present around the nodule: about this share of its circumference, in arcs."""
    first, second = rng.uniform(0, 2 * np.pi, size=2)
    turns = np.linspace(-np.pi, np.pi, 720, dtype=np.float32)
    wave = np.cos(turns * 2 + first) + 0.7 * np.cos(turns * 3 + second)
    present = wave > np.quantile(wave, 1 - share)
    return np.asarray(present[((outline.angle + np.pi) * np.float32(719 / (2 * np.pi))).astype(np.int32)])


def _paint_halo(patch: _Patch, halo: str, rng: np.random.Generator) -> None:
    if halo == "absent":
        return
    thickness = rng.uniform(*HALO_MM[halo])
    ring = np.abs(patch.outline.distance) < thickness / 2
    ring &= _arcs(patch.outline, rng.uniform(0.7, 1.0), rng)
    patch.echo[ring] = np.minimum(patch.echo[ring], np.float32(rng.uniform(-15.0, -10.0)))


def _paint_fluid(patch: _Patch, composition: str, rng: np.random.Generator) -> None:
    """Fluid from thresholded smooth noise: a few pools if mixed, a sponge of small ones, or nearly all of it."""
    if composition == "solid":
        return
    smaller = patch.outline.smaller_mm
    sponge = composition == "spongiform-or-cystic" and rng.random() < 0.5
    if composition == "mixed":
        cell, share, wall = 0.4 * smaller, rng.uniform(0.15, 0.45), 0.8
    elif sponge:
        cell, share, wall = 0.9, rng.uniform(0.45, 0.6), 0.4
    else:
        cell, share, wall = 0.6 * smaller, rng.uniform(0.85, 0.98), 0.6
    inner = patch.outline.distance < -min(wall, 0.2 * smaller)
    if not inner.any():
        return
    noise = _noise(patch, cell, rng)
    fluid = inner & (noise > np.quantile(noise[inner], 1 - share))
    patch.echo[fluid] = -22.0 if sponge else FLUID_DB
    patch.attenuation[fluid] = FLUID_ATTENUATION


def _paint_foci(patch: _Patch, foci: str, rng: np.random.Generator) -> None:
    if foci == "none":
        return
    outline = patch.outline
    solid = patch.echo > FLUID_DB / 2
    calcium = np.zeros(outline.distance.shape, dtype=np.bool_)
    if foci == "rim":
        calcium |= np.abs(outline.distance + 0.2) < rng.uniform(0.25, 0.4)
        calcium &= _arcs(outline, rng.uniform(0.35, 0.7), rng)
    elif foci == "macro":
        for _ in range(rng.integers(1, 4)):
            width = min(rng.uniform(0.7, 2.0), 0.2 * outline.smaller_mm)
            _add_spot(calcium, outline, (width * rng.uniform(0.35, 0.8), width), rng)
    else:
        for _ in range(min(int(rng.integers(6, 26)), int(2 * outline.smaller_mm))):
            _add_spot(calcium, outline, (rng.uniform(0.1, 0.22), rng.uniform(0.12, 0.3)), rng)
    calcium &= solid
    patch.echo[calcium] = PUNCTATE_DB if foci == "punctate" else CALCIUM_DB
    if foci != "punctate":  # which is too small to cast a shadow
        patch.attenuation[calcium] = CALCIUM_ATTENUATION


def _add_spot(
    calcium: NDArray[np.bool_], outline: Outline, radii_mm: tuple[float, float], rng: np.random.Generator
) -> None:
    """Add a knobbly ellipse of these radii (depth, across) mm, somewhere in the inner four fifths of the nodule."""
    radius, turn = 0.8 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    radii = [max(each, 0.6 * outline.spacing_mm) for each in radii_mm]
    knobs = rng.uniform(0.0, 0.25, size=2), rng.uniform(0, 2 * np.pi, size=2)
    rows = np.abs(outline.dz[:, 0] - radius * np.sin(turn)) * (outline.place.height_mm / 2) < 1.5 * radii[0]
    columns = np.abs(outline.dx[0] - radius * np.cos(turn)) * (outline.place.width_mm / 2) < 1.5 * radii[1]
    z = (outline.dz[rows] - radius * np.sin(turn)) * (outline.place.height_mm / 2) / radii[0]
    x = (outline.dx[:, columns] - radius * np.cos(turn)) * (outline.place.width_mm / 2) / radii[1]
    angle = np.arctan2(z, x)
    reach = 1 + sum(height * np.cos(n * angle + phase) for n, height, phase in zip((2, 3), *knobs, strict=True))
    calcium[np.ix_(rows, columns)] |= np.hypot(z, x) < reach
