"""PNG, TIFF and BMP written byte by byte from given values, so that what a file holds is known without any reader."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of PNG
# TIFF 6.0: tags, and the types of their values.
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
PREDICTOR, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING = 317, 320, 338, 339, 530
SHORT, LONG = 3, 4
NONE, JPEG, DEFLATE = 1, 7, 8
WHITE_IS_ZERO, BLACK_IS_ZERO, TRUE_COLOUR, PALETTE_COLOUR, INKS = 0, 1, 2, 3, 5
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    """The IHDR chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def packed(values: NDArray[np.generic], depth: int) -> list[bytes]:
    """Rows (H, W) or (H, W, C) as a file stores them: `depth` bits a value, the first in the upper bits."""
    rows = values.reshape(len(values), -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in rows]
    if depth == 8:
        return [row.astype(np.uint8).tobytes() for row in rows]
    places = np.arange(depth - 1, -1, -1)
    bits = (rows.astype(np.uint8)[:, :, None] >> places & 1).reshape(len(rows), -1)
    return [np.packbits(row).tobytes() for row in bits]


def png(
    values: NDArray[np.generic],
    *,
    depth: int = 8,
    colour: int = GREY,
    before: bytes = b"",
    after: bytes = b"",
    n_parts: int = 1,
) -> bytes:
    """A PNG of values (H, W) or (H, W, C); `before` and `after` are chunks beside the pixels, kept in `n_parts`."""
    body = zlib.compress(b"".join(b"\0" + row for row in packed(values, depth)))
    size = -(-len(body) // n_parts)
    parts = b"".join(chunk(b"IDAT", body[start : start + size]) for start in range(0, len(body), size))
    head = header(values.shape[1], values.shape[0], depth, colour)
    return PNG_SIGNATURE + head + before + parts + after + chunk(b"IEND", b"")


def tiff(
    values: NDArray[np.generic],
    *,
    photometric: int = BLACK_IS_ZERO,
    order: str = "<",
    compression: int = NONE,
    bits: int | None = None,
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    strips: Sequence[bytes] | None = None,
    rows_per_strip: int | None = None,
    tile_size: int | None = None,
) -> bytes:
    """A TIFF of values (H, W) or (H, W, C) of any type, in strips; `tags` adds or replaces (type, numbers).

    `strips` are the strips as they are stored, where the file shall not hold what `values` says; they are square tiles
    where `tile_size` is given.
    """
    height, width = values.shape[:2]
    n_samples = values.shape[2] if values.ndim == 3 else 1
    kind = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[values.dtype.kind]
    n_rows = rows_per_strip or height
    if strips is None:
        stored = values.astype(values.dtype.newbyteorder(order))
        strips = [stored[top : top + n_rows].tobytes() for top in range(0, height, n_rows)]
        if compression == DEFLATE:
            strips = [zlib.compress(strip) for strip in strips]
    entries: dict[int, tuple[int, Sequence[int]]] = {
        WIDTH: (LONG, [width]),
        LENGTH: (LONG, [height]),
        BITS: (SHORT, [bits or 8 * values.dtype.itemsize] * n_samples),
        COMPRESSION: (SHORT, [compression]),
        PHOTOMETRIC: (SHORT, [photometric]),
        SAMPLES: (SHORT, [n_samples]),
        ROWS_PER_STRIP: (LONG, [n_rows]),
        SAMPLE_FORMAT: (SHORT, [kind] * n_samples),
        COUNTS: (LONG, [len(strip) for strip in strips]),
        **(tags or {}),
    }
    if n_samples == 4 and photometric == TRUE_COLOUR:
        entries.setdefault(EXTRA_SAMPLES, (SHORT, [2]))
    if tile_size:
        entries |= {TILE_WIDTH: (SHORT, [tile_size]), TILE_LENGTH: (SHORT, [tile_size])}
        entries[TILE_COUNTS] = entries.pop(COUNTS)
        del entries[ROWS_PER_STRIP]
    return _tiff_file(entries, strips, order)


def _tiff_file(entries: dict[int, tuple[int, Sequence[int]]], strips: Sequence[bytes], order: str) -> bytes:
    """Header, strips, values too long for the directory, and the directory last."""
    body = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    places = []
    for strip in strips:
        places.append(len(body))
        body += strip + b"\0" * (len(strip) % 2)
    offsets = TILE_OFFSETS if TILE_COUNTS in entries else OFFSETS
    entries = dict(sorted({offsets: (LONG, places), **entries}.items()))
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (kind, numbers) in entries.items():
        cell = struct.pack(f"{order}{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
        if len(cell) > 4:
            place = len(body)
            body += cell + b"\0" * (len(cell) % 2)
            cell = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + cell.ljust(4, b"\0")
    body[4:8] = struct.pack(f"{order}I", len(body))
    return bytes(body + directory + b"\0\0\0\0")


def bmp(
    values: NDArray[np.uint8] | bytes,
    width: int,
    height: int,
    *,
    bits: int = 24,
    palette: Sequence[tuple[int, int, int]] = (),
    compression: int = 0,
    masks: Sequence[int] = (),
    size: int = 40,
) -> bytes:
    """A BMP of stored rows, bottom row first (a negative height: top first); arrays (H, W, C) hold blue first.

    `masks` are the four bit masks of a header of `size` 108 and compression 3.
    """
    if isinstance(values, bytes):
        content = values
    else:
        rows = packed(values, bits if bits < 8 else 8)
        content = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    colours = b"".join(struct.pack("BBBB", blue, green, red, 0) for red, green, blue in palette)
    place = 14 + size + len(colours)
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(content), 0, 0, len(palette), 0)
    if size > 40:
        head = (head + struct.pack("<IIII", *masks) + b"BGRs").ljust(size, b"\0")
    return b"BM" + struct.pack("<IHHI", place + len(content), 0, 0, place) + head + colours + content
