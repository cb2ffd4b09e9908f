"""One scanner a site: from tissue to the grey picture that its screen shows, with ruler, text and calipers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from csasn.phantom.acoustics import (
    SOUND_SPEED_MM_PER_US,
    compress,
    echo_envelope,
    loss_db,
    time_gain_db,
)
from csasn.phantom.anatomy import Tissue, View
from csasn.phantom.geometry import Grid
from csasn.phantom.overlays import Screen, draw_calipers, draw_ruler, draw_text

DEPTH_PX = 512  # every scanner computes its echoes on a grid of this depth
STORED_PX = (190, 330, 730)  # smallest, median and largest height in which scanners store that grid
COLUMNS_A_LINE = 2  # of the grid; what lies between two scan lines is interpolated
PULSE_WAVELENGTHS = 0.55  # SD of the pulse, in wavelengths
BEAM_WAVELENGTHS = 1.25  # SD of the beam at its focus, in wavelengths
NOISE_DB = -36.0  # of the electronics, against the gland
_STREAM = 9_001  # keeps the scanners apart from the patients of the same seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanner:
    """A site's scanner: frequency, focus and depth, dynamic range, grey map, picture size and what is drawn on it.

    Echoes are computed on `grid` and stored `zoom` times as large, with margins in stored px. `smoothing_px` is the SD
    of its speckle reduction, `fade_db` what its gain curve leaves uncompensated at full depth.
    """

    name: str
    frequency_mhz: float
    focus_mm: float
    dynamic_range_db: float
    gain_db: float
    gamma: float
    smoothing_px: float
    fade_db: float
    grid: Grid
    zoom: float
    margin_left_px: int
    margin_right_px: int
    margin_top_px: int
    margin_bottom_px: int
    ruler: bool
    text: bool
    caliper_share: float

    @property
    def stored_px(self) -> tuple[int, int]:
        """Height and width of the insonified region as stored, without margins."""
        return round(self.grid.height_px * self.zoom), round(self.grid.width_px * self.zoom)

    @property
    def pixel_spacing_mm(self) -> float:
        """Millimetres a pixel of the stored picture."""
        return self.grid.depth_mm / self.stored_px[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What is saved: grey `pixels` (H, W) uint8 and the nodule's `mask` (H, W) uint8, 0 or 255."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_scanner(site_number: int, seed: int) -> Scanner:
    """The scanner of a site, fixed by the cohort's seed; neighbouring sites get unlike ones."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, _STREAM, site_number]))
    turn = (site_number * 0.618 + rng.uniform(0, 0.15)) % 1  # golden ratio steps spread the sites over the range
    frequency = round(7.5 + 6.5 * turn, 1)
    depth_mm = rng.uniform(38.0, 48.0)
    spacing_mm = depth_mm / DEPTH_PX
    smallest, median, largest = STORED_PX
    stored = float(np.clip(median * np.exp(rng.normal(0, 0.35)), smallest, largest))
    return Scanner(
        name=f"phantom {chr(ord('A') + site_number % 26)}{site_number // 26 or ''} {frequency} MHz",
        frequency_mhz=frequency,
        focus_mm=rng.uniform(12.0, 20.0),
        dynamic_range_db=rng.uniform(54.0, 76.0),
        gain_db=rng.uniform(-4.0, 4.0),
        gamma=rng.uniform(0.85, 1.2),
        smoothing_px=rng.uniform(0.5, 1.2),
        fade_db=rng.uniform(2.0, 9.0),
        grid=Grid(height_px=DEPTH_PX, width_px=round(rng.uniform(42.0, 54.0) / spacing_mm), spacing_mm=spacing_mm),
        zoom=stored / DEPTH_PX,
        margin_left_px=int(rng.integers(0, 30)),
        margin_right_px=int(rng.integers(0, 30)),
        margin_top_px=int(rng.integers(0, 24)),
        margin_bottom_px=int(rng.integers(0, 16)),
        ruler=bool(rng.random() < 0.7),
        text=bool(rng.random() < 0.7),
        caliper_share=rng.uniform(0.1, 0.5),
    )


def take_picture(
    scanner: Scanner,
    tissue: Tissue,
    view: View,
    rng: np.random.Generator,
    *,
    calipers: bool | None = None,
    frame: int = 0,
) -> Picture:
    """The scanner's picture of some tissue; settings vary a little from picture to picture.

    Calipers are drawn as told, or by chance where nothing is told. Frames of one loop, made from equal generators,
    share their settings and differ in their speckle.
    """
    speckle = rng.spawn(frame + 1)[frame]
    pressure, chance = rng.uniform(0.6, 1.3), rng.random()
    gain_db, fade_db = rng.normal((scanner.gain_db, scanner.fade_db), 1.5)
    pixels = _insonify(scanner, tissue, gain_db, fade_db, speckle)
    if calipers is None:
        calipers = bool(chance < scanner.caliper_share)
    height, width = scanner.stored_px
    around = (
        (scanner.margin_top_px, scanner.margin_bottom_px),
        (scanner.margin_left_px, scanner.margin_right_px),
    )
    mask = np.pad(_resized(tissue.mask.astype(np.uint8) * np.uint8(255), width, height) >= 128, around)
    screen = Screen(
        pixels=Image.fromarray(np.pad(_resized(pixels, width, height), around)),
        left_px=scanner.margin_left_px,
        top_px=scanner.margin_top_px,
        width_px=width,
        height_px=height,
        spacing_mm=scanner.pixel_spacing_mm,
    )
    if scanner.ruler:
        draw_ruler(screen)
    if scanner.text:
        upper = f"{scanner.frequency_mhz}MHz {scanner.grid.depth_mm / 10:.1f}cm MI{pressure:.1f}"
        draw_text(screen, upper, f"THYROID {'TRANS' if view == 'transverse' else 'LONG'}")
    if calipers:
        draw_calipers(screen, mask)
    return Picture(pixels=np.asarray(screen.pixels), mask=mask.astype(np.uint8) * np.uint8(255))


def _insonify(
    scanner: Scanner, tissue: Tissue, gain_db: float, fade_db: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey levels (H, W) on the scanner's grid."""
    spacing = scanner.grid.spacing_mm
    wavelength_px = SOUND_SPEED_MM_PER_US / scanner.frequency_mhz / spacing
    depth_mm = scanner.grid.axes()[0][:, 0].astype(np.float64)
    spread = np.sqrt(1 + ((depth_mm - scanner.focus_mm) / 14.0) ** 2)
    beam = BEAM_WAVELENGTHS * wavelength_px * spread / COLUMNS_A_LINE
    lines = slice(None), slice(None, None, COLUMNS_A_LINE)
    echo_db, attenuation = tissue.echo_db[lines], tissue.attenuation[lines]
    loss = loss_db(attenuation, spacing, scanner.frequency_mhz, beam_px=float(beam.mean()))
    evened = time_gain_db(attenuation, spacing, scanner.frequency_mhz) - loss
    pulse = PULSE_WAVELENGTHS * wavelength_px
    envelope = echo_envelope(echo_db + evened, pulse, beam, rng, columns_a_line=COLUMNS_A_LINE)
    envelope = envelope[:, : scanner.grid.width_px]
    floor = np.sqrt(envelope * envelope + np.float32(10 ** (NOISE_DB / 10)))
    share = depth_mm[:, None] / depth_mm[-1]
    operator = gain_db - fade_db * (share - 0.3)
    grey = compress(floor, operator.astype(np.float32), scanner.dynamic_range_db, scanner.gamma)
    for axis in (0, 1):
        grey = gaussian_filter1d(grey, scanner.smoothing_px, axis=axis, truncate=2.0)
    return np.asarray(grey, dtype=np.uint8)


def _resized(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
