"""What a scanner writes over its picture: depth ruler, text, and calipers with their reading."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

BRIGHT, DIM = 235, 190


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """A region of `height_px` rows and `width_px` columns on the screen, from row `top_px` and column `left_px`."""

    pixels: Image.Image
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    spacing_mm: float


def draw_ruler(screen: Screen) -> None:
    """Ticks every 5 mm of depth along the right side, longer ones every 10 mm."""
    draw = ImageDraw.Draw(screen.pixels)
    edge = screen.pixels.width - 1
    n_ticks = int(screen.height_px * screen.spacing_mm / 5)
    for tick in range(n_ticks + 1):
        row = screen.top_px + round(tick * 5 / screen.spacing_mm)
        draw.line([(edge - (7 if tick % 2 == 0 else 3), row), (edge, row)], fill=DIM)


def draw_text(screen: Screen, upper: str, lower: str) -> None:
    """A line in the upper left corner and one in the lower left corner."""
    draw = ImageDraw.Draw(screen.pixels)
    font = ImageFont.load_default_imagefont()
    draw.text((3, 2), upper, fill=DIM + 10, font=font)
    draw.text((3, screen.pixels.height - 13), lower, fill=DIM + 10, font=font)


def draw_calipers(screen: Screen, mask: NDArray[np.bool_]) -> None:
    """Crosses at the ends of the nodule's height and width, dotted lines between them, and both lengths in cm."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    draw = ImageDraw.Draw(screen.pixels)
    middle_row, middle_column = int(rows.mean()), int(columns.mean())
    ends = [
        (int(columns[0]), middle_row),
        (int(columns[-1]), middle_row),
        (middle_column, int(rows[0])),
        (middle_column, int(rows[-1])),
    ]
    for x, y in ends:
        draw.line([(x - 3, y), (x + 3, y)], fill=BRIGHT)
        draw.line([(x, y - 3), (x, y + 3)], fill=BRIGHT)
    draw.point([(x, middle_row) for x in range(ends[0][0] + 6, ends[1][0] - 5, 5)], fill=BRIGHT)
    draw.point([(middle_column, y) for y in range(ends[2][1] + 6, ends[3][1] - 5, 5)], fill=BRIGHT)
    font = ImageFont.load_default_imagefont()
    for line, length_px in enumerate((columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1), start=1):
        place = screen.pixels.width - 78, screen.pixels.height - 36 + 11 * line
        draw.text(place, f"+{line} {length_px * screen.spacing_mm / 10:.2f}cm", fill=BRIGHT, font=font)
