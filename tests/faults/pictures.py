"""Faults 1 to 5: picture files that are broken or too large, and the values that other faults store."""

import hashlib
import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.faults.encoders import (
    DEFLATE,
    LONG,
    PNG_SIGNATURE,
    RGB,
    ROWS_PER_STRIP,
    bmp,
    chunk,
    header,
    png,
    tiff,
)
from tests.faults.fault import Fault
from tests.faults.sources import GREY, HEIGHT, WIDTH, grey_of, one, table_of

# 12 bits of 16: cut to the upper byte, these are nearly black.
DEEP: NDArray[np.uint16] = GREY.astype(np.uint16) * 16 + 3
RED, GREEN, BLUE = GREY, 255 - GREY, GREY // 2
COLOUR = np.stack([RED, GREEN, BLUE], axis=-1)
LUMA = grey_of(RED, GREEN, BLUE)
NEAR = 4  # grey levels of a JPEG of quality 95 and more


def encoded(values: NDArray[np.generic], kind: str, mode: str | None = None, **options: object) -> bytes:
    """A file by Pillow's encoder, for the formats that `encoders` does not write."""
    stream = io.BytesIO()
    Image.fromarray(values, mode=mode).save(stream, kind, **options)
    return stream.getvalue()


def flipped(content: bytes, place: float, bit: int = 3) -> bytes:
    """The content with one bit turned at a share of its length."""
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    return bytes(changed)


JPEG_GREY = encoded(GREY, "JPEG", quality=95)
PROGRESSIVE = encoded(COLOUR, "JPEG", quality=95, progressive=True)


def declared(name: str, content: bytes, stored: bytes) -> Fault:
    """A row whose sha256 was taken of `stored`, over a file that has become `content`."""
    row = {"image_path": "x.bin", "patient_id": "x", "label": "PTC", "sha256": hashlib.sha256(stored).hexdigest()}
    return Fault(
        number=3,
        name=name,
        make=table_of([row], {"x.bin": content}),
        source="source/table.csv",
        used=("benign/b/sound.png", "PTC/p/sound.png"),
        refused={"x.bin": "hash-differs"},
    )


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header is all that it has."""
    return PNG_SIGNATURE + header(width, height, 8, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_bomb() -> bytes:
    content = bytearray(JPEG_GREY)
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(content)


def cut_tiff_strip() -> bytes:
    """A TIFF with one strip fewer than its height needs: the missing rows would be black."""
    rows = [GREY[top : top + 8].tobytes() for top in range(0, 40, 8)]
    return tiff(GREY, strips=rows, rows_per_strip=8)


LARGE = np.tile(GREY, (146, 110))[:7000, :7000]  # 49 million pixels


FAULTS = (
    one(1, "png", "x.png", b"", refused="empty-file"),
    one(1, "jpeg", "x.jpg", b"", refused="empty-file"),
    one(1, "tiff", "x.tif", b"", refused="empty-file"),
    one(2, "jpeg-half", "x.jpg", JPEG_GREY[: len(JPEG_GREY) // 2], refused="truncated"),
    one(2, "jpeg-without-end", "x.jpg", JPEG_GREY[:-2], refused="truncated"),
    one(2, "jpeg-progressive", "x.jpg", PROGRESSIVE[: len(PROGRESSIVE) * 2 // 3], refused="truncated"),
    one(2, "png-half", "x.png", png(GREY)[:150], refused="truncated"),
    one(2, "png-without-end", "x.png", png(GREY)[:-12], refused="truncated"),
    one(2, "png-16-bit", "x.png", png(DEEP, depth=16)[:-200], refused="truncated"),
    one(2, "tiff-directory", "x.tif", tiff(GREY)[:-40], refused="truncated"),
    one(2, "tiff-strip-missing", "x.tif", cut_tiff_strip(), refused="truncated"),
    one(2, "tiff-strip-short", "x.tif", tiff(GREY, strips=[GREY.tobytes()[:-64]]), refused="truncated"),
    one(
        2,
        "tiff-deflate",
        "x.tif",
        tiff(GREY, strips=[zlib.compress(GREY.tobytes())[:-30]], compression=DEFLATE),
        refused="corrupt",
    ),
    one(2, "tiff-jpeg", "x.tif", tiff(GREY, strips=[JPEG_GREY[:-300]], compression=7), refused="truncated"),
    one(2, "bmp", "x.bmp", bmp(COLOUR, WIDTH, HEIGHT)[:-99], refused="truncated"),
    one(2, "gif", "x.gif", encoded(GREY, "GIF")[:-300], refused="truncated"),
    one(2, "webp", "x.webp", encoded(COLOUR, "WEBP", lossless=True)[:-99], refused="truncated"),
    declared("jpeg-flipped", flipped(JPEG_GREY, 0.7), JPEG_GREY),
    declared("jpeg-colour-flipped", flipped(PROGRESSIVE, 0.5), PROGRESSIVE),
    declared("tiff-flipped", flipped(tiff(GREY), 0.4), tiff(GREY)),
    declared("bmp-flipped", flipped(bmp(COLOUR, WIDTH, HEIGHT), 0.6), bmp(COLOUR, WIDTH, HEIGHT)),
    declared("jpeg-no-longer-a-picture", flipped(JPEG_GREY, 0.0), JPEG_GREY),
    one(4, "in-pixels", "x.png", flipped(png(GREY), 0.5), refused="corrupt"),
    one(4, "in-header", "x.png", flipped(png(GREY), 20 / len(png(GREY))), refused="corrupt"),
    one(4, "in-16-bit-pixels", "x.png", flipped(png(DEEP, depth=16), 0.6), refused="corrupt"),
    one(4, "in-one-of-many-chunks", "x.png", flipped(png(COLOUR, colour=RGB, n_parts=3), 0.8), refused="corrupt"),
    one(5, "png", "x.png", bomb(100_000, 100_000), refused="too-many-pixels"),
    one(5, "png-just-over-the-cap", "x.png", bomb(10_000, 5_001), refused="too-many-pixels"),
    one(5, "jpeg", "x.jpg", jpeg_bomb(), refused="too-many-pixels"),
    one(
        5,
        "tiff",
        "x.tif",
        tiff(GREY, tags={256: (LONG, [60_000]), 257: (LONG, [60_000]), ROWS_PER_STRIP: (LONG, [60_000])}),
        refused="too-many-pixels",
    ),
    one(5, "bmp", "x.bmp", bmp(b"\0" * 100, 30_000, 30_000), refused="too-many-pixels"),
    one(5, "under-the-cap", "x.png", lambda path: path.write_bytes(png(LARGE)), pixels=LARGE, heavy=True),
    one(
        5,
        "under-the-cap-with-alpha",
        "x.bmp",
        lambda path: path.write_bytes(
            bmp(
                np.stack([LARGE, LARGE, LARGE, LARGE | 255], axis=-1)[::-1],
                7000,
                7000,
                bits=32,
                compression=3,
                masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000),
                size=108,
            )
        ),
        pixels=LARGE,
        heavy=True,
        fixed=("alpha-composited",),
    ),
)
