"""One scanner a site: from tissue to the grey picture that its screen shows, with ruler, text and calipers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from csasn.cohort.phantom.acoustics import (
    SOUND_SPEED_MM_PER_US,
    compress,
    echo_envelope,
    loss_db,
    time_gain_db,
)
from csasn.cohort.phantom.anatomy import Grid, Tissue, View

PULSE_WAVELENGTHS = 0.55  # SD of the pulse, in wavelengths
BEAM_WAVELENGTHS = 1.25  # SD of the beam at its focus, in wavelengths
_STREAM = 9_001  # keeps the scanners apart from the patients of the same seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanner:
    """A site's scanner: frequency, focus and depth, dynamic range, grey map, picture size and what is drawn on it.

    `smoothing_px` is the SD of its speckle reduction, `fade_db` what its gain curve leaves uncompensated at full depth.
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
    margin_left_px: int
    margin_right_px: int
    margin_top_px: int
    margin_bottom_px: int
    ruler: bool
    text: bool
    caliper_share: float


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
    height = int(rng.integers(270, 340))
    left, right = int(rng.integers(0, 30)), int(rng.integers(0, 30))
    return Scanner(
        name=f"phantom {chr(ord('A') + site_number % 26)}{site_number // 26 or ''} {frequency} MHz",
        frequency_mhz=frequency,
        focus_mm=rng.uniform(12.0, 20.0),
        dynamic_range_db=rng.uniform(54.0, 76.0),
        gain_db=rng.uniform(-4.0, 4.0),
        gamma=rng.uniform(0.85, 1.2),
        smoothing_px=rng.uniform(0.4, 1.0),
        fade_db=rng.uniform(2.0, 9.0),
        grid=Grid(height_px=height, width_px=int(rng.integers(320, 400)) - left, spacing_mm=depth_mm / height),
        margin_left_px=left,
        margin_right_px=right,
        margin_top_px=int(rng.integers(0, 24)),
        margin_bottom_px=int(rng.integers(0, 16)),
        ruler=bool(rng.random() < 0.7),
        text=bool(rng.random() < 0.7),
        caliper_share=rng.uniform(0.1, 0.5),
    )


def take_picture(scanner: Scanner, tissue: Tissue, view: View, rng: np.random.Generator) -> Picture:
    """The scanner's picture of some tissue; settings vary a little from picture to picture, overlays at random."""
    pixels = _insonify(scanner, tissue, rng)
    place = (
        (scanner.margin_top_px, scanner.margin_bottom_px),
        (scanner.margin_left_px, scanner.margin_right_px),
    )
    screen = Image.fromarray(np.pad(pixels, place))
    mask = np.pad(tissue.mask, place)
    draw = ImageDraw.Draw(screen)
    if scanner.ruler:
        _draw_ruler(draw, scanner)
    if scanner.text:
        _draw_text(draw, scanner, view, rng)
    if rng.random() < scanner.caliper_share:
        _draw_calipers(draw, mask)
    return Picture(pixels=np.asarray(screen), mask=mask.astype(np.uint8) * np.uint8(255))


def _insonify(scanner: Scanner, tissue: Tissue, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey levels (H, W) of the insonified region."""
    spacing = scanner.grid.spacing_mm
    wavelength_px = SOUND_SPEED_MM_PER_US / scanner.frequency_mhz / spacing
    depth_mm = scanner.grid.axes()[0][:, 0].astype(np.float64)
    spread = np.sqrt(1 + ((depth_mm - scanner.focus_mm) / 14.0) ** 2)
    beam = BEAM_WAVELENGTHS * wavelength_px * spread
    loss = loss_db(tissue.attenuation, spacing, scanner.frequency_mhz, beam_px=float(beam.mean()))
    evened = time_gain_db(loss) - loss
    envelope = echo_envelope(tissue.echo_db + evened, PULSE_WAVELENGTHS * wavelength_px, beam, rng)
    floor = np.hypot(envelope, np.float32(10 ** (-36 / 20)))
    share = depth_mm[:, None] / depth_mm[-1]
    operator = rng.normal(scanner.gain_db, 1.5) - rng.normal(scanner.fade_db, 1.5) * (share - 0.3)
    grey = compress(floor, operator.astype(np.float32), scanner.dynamic_range_db, scanner.gamma)
    return np.asarray(gaussian_filter(grey, scanner.smoothing_px, truncate=2.0), dtype=np.uint8)


def _draw_ruler(draw: ImageDraw.ImageDraw, scanner: Scanner) -> None:
    """Ticks every 5 mm of depth along the right side, longer ones every 10 mm."""
    edge = scanner.margin_left_px + scanner.grid.width_px + scanner.margin_right_px - 1
    n_ticks = int(scanner.grid.height_px * scanner.grid.spacing_mm / 5)
    for tick in range(n_ticks + 1):
        row = scanner.margin_top_px + round(tick * 5 / scanner.grid.spacing_mm)
        draw.line([(edge - (7 if tick % 2 == 0 else 3), row), (edge, row)], fill=190)


def _draw_text(draw: ImageDraw.ImageDraw, scanner: Scanner, view: View, rng: np.random.Generator) -> None:
    """Frequency, depth and view, as scanners print them; no word of the patient or the nodule."""
    font = ImageFont.load_default_imagefont()
    depth_cm = scanner.grid.height_px * scanner.grid.spacing_mm / 10
    draw.text((3, 2), f"{scanner.frequency_mhz}MHz {depth_cm:.1f}cm MI{rng.uniform(0.6, 1.3):.1f}", fill=200, font=font)
    word = "TRANS" if view == "transverse" else "LONG"
    corner = scanner.margin_top_px + scanner.grid.height_px + scanner.margin_bottom_px - 13
    draw.text((3, corner), f"THYROID {word}", fill=200, font=font)


def _draw_calipers(draw: ImageDraw.ImageDraw, mask: NDArray[np.bool_]) -> None:
    """Crosses at the ends of the nodule's height and width."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    middle_row, middle_column = int(rows.mean()), int(columns.mean())
    ends = [
        (columns[0], middle_row),
        (columns[-1], middle_row),
        (middle_column, rows[0]),
        (middle_column, rows[-1]),
    ]
    for x, y in ends:
        draw.line([(int(x) - 3, int(y)), (int(x) + 3, int(y))], fill=235)
        draw.line([(int(x), int(y) - 3), (int(x), int(y) + 3)], fill=235)
