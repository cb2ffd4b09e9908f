"""A TIFF is checked by its tags before it is decoded: Pillow gives some kinds wrongly, or in part, without a word."""

import struct
from typing import Any

from PIL import ImagePalette
from PIL.TiffImagePlugin import TiffImageFile

from csasn.decoding.refused import RefusedPicture

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Tags of TIFF 6.0.
BITS, COMPRESSION, PHOTOMETRIC, STRIP_PLACES, CHANNELS, ROWS_PER_STRIP, STRIP_BYTES = 258, 259, 262, 273, 277, 278, 279
PLANES, COLOUR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_PLACES, TILE_BYTES, INK_SET = 284, 320, 322, 323, 324, 325, 332
SAMPLE_FORMAT, ORIENTATION, FILL_ORDER = 339, 274, 266
PLAIN, JPEG = 1, 7
# LZW, deflate by its two names, packed bits, LZMA, zstandard. Fax codes are absent: what is broken in them decodes.
COMPRESSIONS = (PLAIN, 5, JPEG, 8, 32946, 32773, 34925, 50000)
WHITE_IS_ZERO, PALETTE, INKS, Y_CB_CR = 0, 3, 5, 6
IN_PLANES = 2
# Channels that a plane of its own is read as; Pillow has no such reader of Y'CbCr, or of colours multiplied by alpha.
PLANE_MODES = frozenset("RGBAXCMYKL")
PHOTOMETRICS = (WHITE_IS_ZERO, 1, 2, PALETTE, INKS, Y_CB_CR)
UNSIGNED, SIGNED = 1, 2
JPEG_END = b"\xff\xd9"


def refuse_tiff(picture: TiffImageFile, content: bytes) -> None:
    """Raise RefusedPicture where an opened TIFF, whose bytes are `content`, would not decode to what it says.

    Its codes: photometric-unknown, no-decoder, bits-unsupported, truncated (strips or tiles that are missing, too
    short, or lie beyond the file), corrupt (more of them than it has room for).
    """
    tags: Any = picture.tag_v2
    if _directory_end(content) > len(content):
        raise RefusedPicture("truncated", "the TIFF stops within its directory")
    if tags.get(PHOTOMETRIC) not in PHOTOMETRICS or (tags[PHOTOMETRIC] == INKS and tags.get(INK_SET, 1) != 1):
        raise RefusedPicture("photometric-unknown", f"TIFF of photometric interpretation {tags.get(PHOTOMETRIC)}")
    if tags.get(COMPRESSION, PLAIN) not in COMPRESSIONS:
        raise RefusedPicture("no-decoder", f"TIFF compressed by method {tags[COMPRESSION]}")
    bits, n_channels = max(tags.get(BITS, (1,))), int(tags.get(CHANNELS, 1))
    if bits == 8 and SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise RefusedPicture("bits-unsupported", "TIFF of signed bytes")
    in_planes = n_channels > 1 and tags.get(PLANES, 1) == IN_PLANES
    if bits > 8 and n_channels > 1 and (in_planes or tags[PHOTOMETRIC] in (INKS, Y_CB_CR)):
        raise RefusedPicture("bits-unsupported", f"TIFF of {bits} bits a channel, in planes, inks or Y'CbCr")
    if in_planes and not _planes_are_read(picture, tags):
        raise RefusedPicture("no-decoder", "TIFF in planes of a kind that its decoder would mix up")
    _refuse_pieces(tags, content, bits, n_channels)


def _planes_are_read(picture: TiffImageFile, tags: Any) -> bool:
    """Whether each plane becomes its own channel; of planes that are not compressed Pillow forgets a reversed order."""
    if tags[PHOTOMETRIC] == Y_CB_CR or picture.mode == "LA":
        return False
    if tags.get(COMPRESSION, PLAIN) == PLAIN and tags.get(FILL_ORDER, 1) != 1:
        return False
    modes = [str(piece.args[0] if isinstance(piece.args, tuple) else piece.args) for piece in picture.tile]
    return PLANE_MODES.issuperset("".join(modes))


def with_channel_as_pixels(picture: TiffImageFile) -> None:
    """Take Planar Configuration 2 from one channel: it means nothing there, and Pillow forgets the kind of value."""
    tags: Any = picture.tag_v2
    if int(tags.get(CHANNELS, 1)) == 1 and tags.get(PLANES, 1) == IN_PLANES:
        tags[PLANES] = 1
        picture._setup()


def _refuse_pieces(tags: Any, content: bytes, bits: int, n_channels: int) -> None:
    """Check that strips or tiles are as many and as long as the picture needs, and lie within the file."""
    width, height, n_planes = int(tags[256]), int(tags[257]), n_channels if tags.get(PLANES, 1) == IN_PLANES else 1
    tiled = TILE_PLACES in tags
    places = tags.get(TILE_PLACES if tiled else STRIP_PLACES, ())
    lengths = tags.get(TILE_BYTES if tiled else STRIP_BYTES)
    across, rows = (tags.get(TILE_WIDTH, 0), tags.get(TILE_LENGTH, 0)) if tiled else (width, 0)
    rows = rows if tiled else min(tags.get(ROWS_PER_STRIP, height), height)
    if not across or not rows:
        raise RefusedPicture("corrupt", "TIFF of tiles or strips without a size")
    n_down = -(-height // rows)
    n_wanted = -(-width // across) * n_down * n_planes
    if len(places) != n_wanted:
        code = "truncated" if len(places) < n_wanted else "corrupt"
        raise RefusedPicture(code, f"TIFF of {len(places)} strips or tiles; its size needs {n_wanted}")
    row_bytes = -(-across * bits * (n_channels // n_planes) // 8)
    plain = tags.get(COMPRESSION, PLAIN) == PLAIN
    if lengths is not None and len(lengths) != n_wanted:
        raise RefusedPicture("truncated", "TIFF of strips or tiles of which some have no length")
    for number, (start, n_bytes) in enumerate(zip(places, lengths or [None] * n_wanted, strict=True)):
        last = not tiled and number % n_down == n_down - 1
        needed = row_bytes * (height - rows * (n_down - 1) if last else rows) if plain else 1
        n_bytes = needed if n_bytes is None else n_bytes
        if n_bytes < needed or start + n_bytes > len(content):
            raise RefusedPicture("truncated", "a strip or tile of the TIFF is too short, or lies beyond the file")
        if tags.get(COMPRESSION) == JPEG and JPEG_END not in content[start + n_bytes - 4 : start + n_bytes]:
            raise RefusedPicture("truncated", "a strip or tile of the TIFF stops before its JPEG end mark")


def unidentified_tiff(content: bytes) -> RefusedPicture:
    """Why a file that begins like a TIFF was not opened as one."""
    if _directory_end(content) > len(content):
        return RefusedPicture("truncated", "the TIFF stops before its directory")
    return RefusedPicture("no-decoder", "TIFF of a kind, or with tags, that its decoder does not know")


def _directory_end(content: bytes) -> int:
    """Where the first directory ends, by the number of its entries; beyond the file where that is cut."""
    order, wide = "<" if content[:2] == b"II" else ">", b"+" in content[2:4]
    try:
        (place,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", content, 8 if wide else 4)
        (n_entries,) = struct.unpack_from(f"{order}{'Q' if wide else 'H'}", content, place)
    except (struct.error, OverflowError):
        return len(content) + 1
    return int(place + (16 + 20 * n_entries if wide else 6 + 12 * n_entries))


def with_bytes_as_palette(picture: TiffImageFile) -> None:
    """Read a colour map of numbers up to 255 as bytes: it holds words, of which Pillow takes the upper byte."""
    tags: Any = picture.tag_v2
    entries = tags.get(COLOUR_MAP, ())
    if tags.get(PHOTOMETRIC) == PALETTE and entries and max(entries) < 256:
        picture.palette = ImagePalette.raw("RGB;L", bytes(entries))


def white_is_zero(picture: TiffImageFile) -> bool:
    """Whether dark and bright are still exchanged after decoding: Pillow turns them for up to 8 bits alone."""
    return picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO and picture.mode in ("I;16", "F")


def unsigned_words(picture: TiffImageFile) -> bool:
    """Whether the values are unsigned numbers of 32 bits, which Pillow gives as signed ones."""
    tags: Any = picture.tag_v2
    return picture.mode == "I" and tuple(tags.get(BITS, ())) == (32,) and tags.get(SAMPLE_FORMAT, (1,))[0] == UNSIGNED


def native_raw_mode(picture: TiffImageFile, raw_mode: str) -> str | None:
    """Pillow's raw mode for what libtiff decompresses, which comes in this machine's byte order whatever the file's.

    None where nothing was compressed: then each piece has its own raw mode, a plane that of its channel.
    """
    if picture.tag_v2.get(COMPRESSION, PLAIN) == PLAIN:
        return None
    return {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}.get(raw_mode, raw_mode)
