"""Fault 106: TIFF whose channels lie in planes of their own (Planar Configuration 2), in strips and in tiles."""

import zlib

import numpy as np
from numpy.typing import NDArray

from tests.faults.encoders import (
    DEFLATE,
    EXTRA_SAMPLES,
    FILL_ORDER,
    INKS,
    NONE,
    PLANAR,
    SHORT,
    TRUE_COLOUR,
    WHITE_IS_ZERO,
    tiff,
)
from tests.faults.fault import Fault
from tests.faults.pictures import COLOUR, DEEP, LUMA
from tests.faults.sources import GREY, HEIGHT, WIDTH, one, windowed
from tests.faults.tones import ALPHA, OVER_BLACK, inks

TILE = 32
TO_GREY = ("colour-to-grey",)


def strips_of(values: NDArray[np.uint8], rows: int) -> list[bytes]:
    """The strips of the first channel, then those of the second, and so on."""
    return [
        values[top : top + rows, :, channel].tobytes()
        for channel in range(values.shape[2])
        for top in range(0, HEIGHT, rows)
    ]


def tiles_of(values: NDArray[np.uint8]) -> list[bytes]:
    """The tiles of the first channel, then those of the second, and so on, filled up with 7 at the edges."""
    whole = np.pad(values, ((0, -HEIGHT % TILE), (0, -WIDTH % TILE), (0, 0)), constant_values=7)
    return [
        whole[top : top + TILE, left : left + TILE, channel].tobytes()
        for channel in range(values.shape[2])
        for top in range(0, len(whole), TILE)
        for left in range(0, whole.shape[1], TILE)
    ]


def in_planes(
    name: str,
    values: NDArray[np.uint8],
    *,
    photometric: int = TRUE_COLOUR,
    rows: int = HEIGHT,
    tiled: bool = False,
    deflated: bool = False,
    tags: dict[int, tuple[int, list[int]]] | None = None,
    order: str = "<",
    **outcome: object,
) -> Fault:
    """One TIFF of values (H, W, C) in planes among sound pictures."""
    pieces = tiles_of(values) if tiled else strips_of(values, rows)
    content = tiff(
        values,
        photometric=photometric,
        order=order,
        compression=DEFLATE if deflated else NONE,
        tags={PLANAR: (SHORT, [2]), **(tags or {})},
        strips=[zlib.compress(piece) for piece in pieces] if deflated else pieces,
        rows_per_strip=rows,
        tile_size=TILE if tiled else None,
    )
    return one(106, name, "x.tif", content, **outcome)


OVERLAID = np.stack([GREY, GREY, GREY, ALPHA], axis=-1)
UNSAID = np.stack([*np.moveaxis(COLOUR, -1, 0), 0 * GREY], axis=-1)
ONE = {PLANAR: (SHORT, [2])}

FAULTS = (
    in_planes("one-strip-a-plane", COLOUR, pixels=LUMA, fixed=TO_GREY),
    in_planes("strips", COLOUR, rows=8, pixels=LUMA, fixed=TO_GREY),
    in_planes("strips-the-last-one-short", COLOUR, rows=7, order=">", pixels=LUMA, fixed=TO_GREY),
    in_planes("tiles", COLOUR, tiled=True, pixels=LUMA, fixed=TO_GREY),
    in_planes("deflated-tiles", COLOUR, tiled=True, deflated=True, pixels=LUMA, fixed=TO_GREY),
    in_planes("deflated-strips", COLOUR, rows=7, deflated=True, pixels=LUMA, fixed=TO_GREY),
    in_planes("alpha", OVERLAID, rows=9, pixels=OVER_BLACK, fixed=("alpha-composited",)),
    in_planes("alpha-tiles", OVERLAID, tiled=True, pixels=OVER_BLACK, fixed=("alpha-composited",)),
    in_planes("inks", inks(COLOUR), rows=5, photometric=INKS, pixels=LUMA, fixed=("cmyk-converted",)),
    in_planes(
        "unsaid-fourth-deflated",
        UNSAID,
        rows=5,
        deflated=True,
        tags={EXTRA_SAMPLES: (SHORT, [0])},
        pixels=LUMA,
        fixed=TO_GREY,
    ),
    in_planes("multiplied", OVERLAID, tags={EXTRA_SAMPLES: (SHORT, [1])}, refused="no-decoder"),
    in_planes(
        "grey-and-alpha",
        OVERLAID[..., 2:],
        photometric=1,
        deflated=True,
        tags={EXTRA_SAMPLES: (SHORT, [2])},
        refused="no-decoder",
    ),
    in_planes("ycbcr", COLOUR, photometric=6, tags={530: (SHORT, [1, 1])}, refused="no-decoder"),
    in_planes("bits-reversed", COLOUR, tags={FILL_ORDER: (SHORT, [2])}, refused="no-decoder"),
    one(106, "only-channel", "x.tif", tiff(GREY, tags=ONE, rows_per_strip=8), pixels=GREY),
    one(
        106,
        "only-channel-white-is-zero",
        "x.tif",
        tiff(GREY, tags=ONE, photometric=WHITE_IS_ZERO),
        pixels=255 - GREY,
    ),
    one(
        106,
        "only-channel-of-16-bits",
        "x.tif",
        tiff(DEEP, tags=ONE, order=">", rows_per_strip=7),
        pixels=windowed(DEEP),
        fixed=("windowed-16-bit",),
    ),
)
