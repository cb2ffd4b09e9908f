"""Fault 111: BMP and PNG as programs of offices and cameras write them: few bits, alpha of 0, long texts, profiles."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from tests.faults.encoders import RGB, bmp, chunk, png
from tests.faults.fault import Fault
from tests.faults.pictures import BLUE, COLOUR, DEEP, GREEN, LUMA, RED
from tests.faults.sources import GREY, HEIGHT, WIDTH, grey_of, one, windowed
from tests.faults.tones import exif

TO_GREY = ("colour-to-grey",)
RED_FIRST = (0xF800, 0x07E0, 0x001F, 0)
BY_CHANNEL = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
CLEAR = np.stack([BLUE, GREEN, RED, 0 * RED], axis=-1)[::-1]
LONG = bytes(range(32, 127)) * 30_000
KINDS = {
    "text": chunk(b"tEXt", b"Comment\0" + LONG * 30),
    "compressed-text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
    "international-text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LONG)),
    "profile": chunk(b"iCCP", b"ICC\0\0" + zlib.compress(LONG)),
    "broken-profile": chunk(b"iCCP", b"ICC\0\1nonsense"),
    "empty-profile": chunk(b"iCCP", b""),
}


def few_bits(values: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """What a channel of so many bits gives in 8: its share of the largest, rounded down, as Windows does."""
    return (values.astype(np.int64) >> 8 - bits) * 255 // ((1 << bits) - 1)


def words(*shifts: tuple[NDArray[np.uint8], int, int]) -> bytes:
    """Pixels of 16 bits, bottom row first: each channel by its bits and its place."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    for values, bits, shift in shifts:
        pixels |= (values.astype(np.uint16) >> 8 - bits) << shift
    return pixels[::-1].astype("<u2").tobytes()


def masked_bmp(content: bytes, masks: tuple[int, ...], bits: int) -> bytes:
    """A BMP of the old header, the masks behind it."""
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, 3, len(content), 0, 0, 0, 0)
    head += struct.pack(f"<{len(masks)}I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(content), 0, 0, 14 + len(head)) + head + content


FIVE_SIX_FIVE = words((RED, 5, 11), (GREEN, 6, 5), (BLUE, 5, 0))
GREY_565 = grey_of(few_bits(RED, 5), few_bits(GREEN, 6), few_bits(BLUE, 5))
FIVE_FIVE_FIVE = words((RED, 5, 10), (GREEN, 5, 5), (BLUE, 5, 0))
GREY_555 = grey_of(few_bits(RED, 5), few_bits(GREEN, 5), few_bits(BLUE, 5))


def of_bmp(name: str, content: bytes, pixels: NDArray[np.uint8], *fixes: str) -> Fault:
    return one(111, name, "x.bmp", content, pixels=pixels, fixed=(*fixes, *TO_GREY))


def alpha(masks: tuple[int, ...], size: int) -> bytes:
    """A BMP of 32 bits whose alpha is 0 in every pixel."""
    return bmp(CLEAR, WIDTH, HEIGHT, bits=32, compression=3, masks=masks, size=size)


FAULTS = (
    of_bmp("bmp-565-old-header", masked_bmp(FIVE_SIX_FIVE, RED_FIRST[:3], 16), GREY_565),
    *(
        of_bmp(
            f"bmp-565-header-of-{size}",
            bmp(FIVE_SIX_FIVE, WIDTH, HEIGHT, bits=16, compression=3, masks=RED_FIRST, size=size),
            GREY_565,
        )
        for size in (108, 124)
    ),
    of_bmp("bmp-555", bmp(FIVE_FIVE_FIVE, WIDTH, HEIGHT, bits=16), GREY_555),
    of_bmp("bmp-alpha-0", alpha(BY_CHANNEL, 108), LUMA, "alpha-ignored"),
    of_bmp("bmp-alpha-0-newest-header", alpha(BY_CHANNEL, 124), LUMA, "alpha-ignored"),
    of_bmp("bmp-32-bits-unsaid-fourth", bmp(CLEAR, WIDTH, HEIGHT, bits=32), LUMA),
    *(one(111, f"png-{name}", "x.png", png(GREY, before=words), pixels=GREY) for name, words in KINDS.items()),
    one(111, "png-text-at-the-end", "x.png", png(GREY, after=KINDS["compressed-text"], n_parts=2), pixels=GREY),
    one(
        111,
        "png-colour-profile",
        "x.png",
        png(COLOUR, colour=RGB, before=KINDS["profile"]),
        pixels=LUMA,
        fixed=TO_GREY,
    ),
    one(
        111,
        "png-16-bit-with-text",
        "x.png",
        png(DEEP, depth=16, before=KINDS["international-text"]),
        pixels=windowed(DEEP),
        fixed=("windowed-16-bit",),
    ),
    one(
        111,
        "png-turned-with-text",
        "x.png",
        png(GREY, before=KINDS["profile"] + chunk(b"eXIf", exif(3)[6:]) + KINDS["text"]),
        pixels=GREY[::-1, ::-1],
        fixed=("exif-rotated",),
    ),
)
