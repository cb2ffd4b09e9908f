"""Faults 6 to 12: picture files whose values are not what a reader would think."""

import struct

import numpy as np
from numpy.typing import NDArray

from tests.faults.encoders import (
    COLOUR_MAP,
    DEFLATE,
    EXTRA_SAMPLES,
    GREY_ALPHA,
    INKS,
    ORIENTATION,
    PALETTE,
    PALETTE_COLOUR,
    PLANAR,
    RGB,
    RGBA,
    SHORT,
    TRUE_COLOUR,
    WHITE_IS_ZERO,
    bmp,
    chunk,
    png,
    tiff,
)
from tests.faults.pictures import COLOUR, DEEP, LUMA, NEAR, encoded
from tests.faults.sources import GREY, HEIGHT, WIDTH, one, windowed

DEEP_COLOUR = np.stack([DEEP, 4095 - DEEP // 2, DEEP // 4], axis=-1).astype(np.uint16)
DEEP_GREY = windowed(np.rint(DEEP_COLOUR @ np.array([0.299, 0.587, 0.114])))
UNIT = GREY.astype(np.float32) / 255
ALPHA = np.where(np.indices(GREY.shape).sum(axis=0) % 2, 255, 51).astype(np.uint8)  # 1 and a fifth
OVER_BLACK = np.rint(GREY * (ALPHA / 255.0)).astype(np.uint8)


def with_values(*places: tuple[int, int, float]) -> bytes:
    values = UNIT.copy()
    for row, column, value in places:
        values[row, column] = value
    return tiff(values)


def palette_png() -> bytes:
    """Indices 0 to 3, whose colours a reader of indices never sees."""
    entries = chunk(b"PLTE", bytes([0, 0, 0, 200, 10, 30, 10, 220, 40, 90, 90, 90]))
    return png(GREY % 4, depth=2, colour=PALETTE, before=entries)


PALETTE_GREYS = np.array([0, 69, 137, 90], dtype=np.uint8)[GREY % 4]  # 299 R + 587 G + 114 B, thousandths


def colour_map(scale: int) -> dict[int, tuple[int, list[int]]]:
    """A TIFF's table that turns a grey into its opposite, of words of 16 bits (scale 257) or of bytes in them (1)."""
    return {COLOUR_MAP: (SHORT, [(255 - value) * scale for _ in range(3) for value in range(256)])}


def inks(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cyan, magenta and yellow without black: 255 - ink is the colour."""
    return np.stack([255 - values[..., 0], 255 - values[..., 1], 255 - values[..., 2], 0 * values[..., 0]], axis=-1)


def without_adobe(content: bytes) -> bytes:
    """A JPEG without its APP14 segment, which alone says how inks are counted."""
    place = content.index(b"\xff\xee")
    return content[:place] + content[place + 2 + int.from_bytes(content[place + 2 : place + 4], "big") :]


def transparent(value: int) -> bytes:
    """The chunk that makes one stored grey transparent."""
    return chunk(b"tRNS", struct.pack(">H", value))


def exif(orientation: int) -> bytes:
    """EXIF with nothing but an orientation."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)


# EXIF 2.32, 4.6.4: by orientation, where the stored first row and first column are when seen: row, column of a pixel.
SEEN = {
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1, :],
    5: GREY.transpose(),
    6: np.rot90(GREY, -1),
    7: GREY[::-1, ::-1].transpose(),
    8: np.rot90(GREY),
}
KEY = 9
GREY_4 = GREY % 16
PREMULTIPLIED = (GREY // 2).astype(np.uint8)
HALF = np.full_like(GREY, 128)

FAULTS = (
    one(6, "png", "x.png", png(DEEP, depth=16), pixels=windowed(DEEP), fixed=("windowed-16-bit",)),
    one(6, "tiff-little-endian", "x.tif", tiff(DEEP), pixels=windowed(DEEP), fixed=("windowed-16-bit",)),
    one(6, "tiff-big-endian", "x.tif", tiff(DEEP, order=">"), pixels=windowed(DEEP), fixed=("windowed-16-bit",)),
    one(
        6, "tiff-signed", "x.tif", tiff(DEEP.astype(np.int16) - 2000), pixels=windowed(DEEP), fixed=("windowed-16-bit",)
    ),
    one(
        6,
        "tiff-white-is-zero",
        "x.tif",
        tiff(DEEP, photometric=WHITE_IS_ZERO),
        pixels=255 - windowed(DEEP),
        fixed=("windowed-16-bit",),
    ),
    one(
        6, "tiff-32-bit", "x.tif", tiff(GREY * np.uint32(16_843_009)), pixels=windowed(GREY), fixed=("windowed-16-bit",)
    ),
    one(
        6,
        "png-colour",
        "x.png",
        png(DEEP_COLOUR, depth=16, colour=RGB),
        pixels=DEEP_GREY,
        fixed=("colour-to-grey", "windowed-16-bit"),
    ),
    one(
        6,
        "tiff-colour",
        "x.tif",
        tiff(DEEP_COLOUR, photometric=TRUE_COLOUR, compression=DEFLATE),
        pixels=DEEP_GREY,
        fixed=("colour-to-grey", "windowed-16-bit"),
    ),
    one(
        6,
        "tiff-colour-big-endian",
        "x.tif",
        tiff(DEEP_COLOUR, photometric=TRUE_COLOUR, order=">"),
        pixels=DEEP_GREY,
        fixed=("colour-to-grey", "windowed-16-bit"),
    ),
    one(
        6,
        "tiff-colour-in-planes",
        "x.tif",
        tiff(
            DEEP_COLOUR,
            photometric=TRUE_COLOUR,
            tags={PLANAR: (SHORT, [2])},
            strips=[DEEP_COLOUR[..., each].tobytes() for each in range(3)],
        ),
        refused="bits-unsupported",
    ),
    one(
        6, "tiff-signed-bytes", "x.tif", tiff((GREY.astype(np.int16) - 128).astype(np.int8)), refused="bits-unsupported"
    ),
    one(7, "nan", "x.tif", with_values((3, 3, np.nan)), refused="not-finite"),
    one(7, "infinity", "x.tif", with_values((47, 63, np.inf)), refused="not-finite"),
    one(7, "both-infinities", "x.tif", with_values((0, 0, -np.inf), (0, 1, np.inf)), refused="not-finite"),
    one(8, "little-endian", "x.tif", tiff(UNIT), pixels=windowed(UNIT), fixed=("windowed-float",)),
    one(
        8,
        "big-endian-deflate",
        "x.tif",
        tiff(UNIT, order=">", compression=DEFLATE),
        pixels=windowed(UNIT),
        fixed=("windowed-float",),
    ),
    one(
        8,
        "around-zero",
        "x.tif",
        tiff(UNIT - np.float32(0.5)),
        pixels=windowed(UNIT - np.float32(0.5)),
        fixed=("windowed-float",),
    ),
    one(
        8,
        "white-is-zero",
        "x.tif",
        tiff(UNIT, photometric=WHITE_IS_ZERO),
        pixels=255 - windowed(UNIT),
        fixed=("windowed-float",),
    ),
    one(
        8,
        "signed-words-big-endian-deflate",
        "x.tif",
        tiff(DEEP.astype(np.int16) - 2000, order=">", compression=DEFLATE),
        pixels=windowed(DEEP),
        fixed=("windowed-16-bit",),
    ),
    one(8, "double", "x.tif", tiff(UNIT.astype(np.float64)), refused="no-decoder"),
    one(9, "tiff", "x.tif", tiff(inks(COLOUR), photometric=INKS), pixels=LUMA, fixed=("cmyk-converted",)),
    one(
        9,
        "tiff-deflate-big-endian",
        "x.tif",
        tiff(inks(COLOUR), photometric=INKS, order=">", compression=DEFLATE),
        pixels=LUMA,
        fixed=("cmyk-converted",),
    ),
    one(
        9,
        "jpeg-of-adobe",
        "x.jpg",
        encoded(inks(COLOUR), "JPEG", "CMYK", quality=100),
        pixels=LUMA,
        tolerance=NEAR,
        fixed=("cmyk-converted",),
    ),
    one(
        9,
        "jpeg-of-unsaid-polarity",
        "x.jpg",
        without_adobe(encoded(inks(COLOUR), "JPEG", "CMYK", quality=100)),
        refused="photometric-unknown",
    ),
    one(10, "png-2-bit", "x.png", palette_png(), pixels=PALETTE_GREYS, fixed=("palette-applied", "colour-to-grey")),
    one(
        10,
        "tiff-words",
        "x.tif",
        tiff(GREY, photometric=PALETTE_COLOUR, tags=colour_map(257)),
        pixels=255 - GREY,
        fixed=("palette-applied", "colour-to-grey"),
    ),
    one(
        10,
        "tiff-bytes",
        "x.tif",
        tiff(GREY, photometric=PALETTE_COLOUR, tags=colour_map(1)),
        pixels=255 - GREY,
        fixed=("palette-applied", "colour-to-grey"),
    ),
    one(
        10,
        "bmp",
        "x.bmp",
        bmp(GREY[::-1], WIDTH, HEIGHT, bits=8, palette=[(255 - v,) * 3 for v in range(256)]),
        pixels=255 - GREY,
        fixed=("palette-applied", "colour-to-grey"),
    ),
    one(
        10,
        "bmp-white-first",
        "x.bmp",
        bmp(GREY[::-1] % 2, WIDTH, HEIGHT, bits=1, palette=[(255,) * 3, (0,) * 3]),
        pixels=255 - GREY % 2 * 255,
        fixed=("palette-applied", "colour-to-grey"),
    ),
    one(
        11,
        "png-grey",
        "x.png",
        png(np.stack([GREY, ALPHA], axis=-1), colour=GREY_ALPHA),
        pixels=OVER_BLACK,
        fixed=("alpha-composited",),
    ),
    one(
        11,
        "png-colour",
        "x.png",
        png(np.stack([GREY, GREY, GREY, ALPHA], axis=-1), colour=RGBA),
        pixels=OVER_BLACK,
        fixed=("alpha-composited",),
    ),
    one(
        11,
        "png-16-bit",
        "x.png",
        png(np.stack([DEEP, ALPHA * np.uint16(257)], axis=-1), depth=16, colour=GREY_ALPHA),
        pixels=windowed(np.rint(DEEP * (ALPHA / 255.0))),
        fixed=("alpha-composited", "windowed-16-bit"),
    ),
    one(
        11,
        "png-one-grey",
        "x.png",
        png(GREY, before=transparent(KEY)),
        pixels=np.where(GREY == KEY, 0, GREY),
        fixed=("alpha-composited",),
    ),
    one(
        11,
        "png-one-grey-of-4-bits",
        "x.png",
        png(GREY_4, depth=4, before=transparent(KEY)),
        pixels=np.where(GREY_4 == KEY, 0, GREY_4 * 17),
        fixed=("alpha-composited",),
    ),
    one(
        11,
        "png-one-grey-of-16-bits",
        "x.png",
        png(DEEP, depth=16, before=transparent(int(DEEP[5, 5]))),
        pixels=windowed(np.where(DEEP[5, 5] == DEEP, 0, DEEP)),
        fixed=("alpha-composited", "windowed-16-bit"),
    ),
    one(
        11,
        "tiff-multiplied",
        "x.tif",
        tiff(np.stack([PREMULTIPLIED, HALF], axis=-1), tags={EXTRA_SAMPLES: (SHORT, [1])}),
        pixels=PREMULTIPLIED,
        fixed=("alpha-composited",),
    ),
    one(
        11,
        "tiff-colour",
        "x.tif",
        tiff(np.stack([GREY, GREY, GREY, ALPHA], axis=-1), photometric=TRUE_COLOUR),
        pixels=OVER_BLACK,
        fixed=("alpha-composited",),
    ),
    *(
        one(
            12,
            f"tiff-{number}",
            "x.tif",
            tiff(GREY, tags={ORIENTATION: (SHORT, [number])}),
            pixels=seen,
            fixed=("exif-rotated",),
        )
        for number, seen in SEEN.items()
    ),
    *(
        one(
            12,
            f"png-{number}",
            "x.png",
            png(GREY, before=chunk(b"eXIf", exif(number)[6:])),
            pixels=seen,
            fixed=("exif-rotated",),
        )
        for number, seen in SEEN.items()
    ),
    *(
        one(
            12,
            f"jpeg-{number}",
            "x.jpg",
            encoded(GREY, "JPEG", quality=100, exif=exif(number)),
            pixels=seen,
            tolerance=NEAR,
            fixed=("exif-rotated",),
        )
        for number, seen in SEEN.items()
    ),
    one(12, "png-of-no-orientation", "x.png", png(GREY, before=chunk(b"eXIf", exif(9)[6:])), pixels=GREY),
)
