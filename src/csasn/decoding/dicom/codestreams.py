"""A compressed frame is checked by its own headers before it is decoded: kind, size, and that nothing is missing."""

import struct
from collections.abc import Iterator
from itertools import pairwise

from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from csasn.decoding.dicom.layout import Layout
from csasn.decoding.refused import RefusedPicture

SOS, EOI, PADDING = 0xDA, b"\xff\xd9", b"\0\xff"
NOT_FRAME_STARTS = (0xC4, 0xC8, 0xCC)
# The second byte of the marker that starts a frame, ISO 10918-1 table B.1 and ISO 14495-1.
FRAME_STARTS = {
    JPEGBaseline8Bit: (0xC0,),
    JPEGExtended12Bit: (0xC0, 0xC1),
    JPEGLossless: (0xC3,),
    JPEGLosslessSV1: (0xC3,),
    JPEGLSLossless: (0xF7,),
    JPEGLSNearLossless: (0xF7,),
}
J2K_START, J2K_TILE_PART, J2K_CODING = b"\xff\x4f\xff\x51", b"\xff\x90", b"\xff\x52"
ADOBE = 0xEE
RLE_HEAD_BYTES = 64


def refuse_codestream(content: bytes, layout: Layout) -> None:
    """Raise RefusedPicture where a compressed frame is not what its file says.

    Its codes: wrong-transfer-syntax (another kind), truncated, pixel-data-length (another size), no-decoder,
    bits-contradict, colour-contradicts (its own colour model is not the file's).
    """
    try:
        if layout.syntax in FRAME_STARTS:
            _refuse_jpeg(content, layout)
        elif layout.syntax in (JPEG2000, JPEG2000Lossless):
            _refuse_jpeg_2000(content, layout)
        elif layout.syntax == RLELossless:
            _refuse_run_length(content, layout)
    except struct.error:
        raise RefusedPicture("truncated", "a compressed frame stops within its header") from None


def _wrong_syntax(layout: Layout) -> RefusedPicture:
    return RefusedPicture("wrong-transfer-syntax", f"its frames are not of transfer syntax {layout.syntax}")


def _contradiction(photometric: str, found: str) -> RefusedPicture:
    return RefusedPicture("colour-contradicts", f"its colour model is {photometric}; it has {found}")


def jpeg_model(content: bytes, layout: Layout) -> str:
    """What a baseline or extended JPEG of three channels says of its colours; empty where it says nothing.

    "undone": Adobe's mark of a transform, which the decoder undoes. "RGB": Adobe's mark of none, or channels called R,
    G and B. "YCbCr": JFIF's mark, or a second channel coarser than the first, which no RGB has.
    """
    if layout.syntax not in (JPEGBaseline8Bit, JPEGExtended12Bit) or layout.channels != 3:
        return ""
    segments = dict(_segments(content))
    if ADOBE in segments and content[(place := segments[ADOBE]) : place + 5] == b"Adobe":
        return "undone" if content[place + 11 : place + 12] == b"\1" else "RGB"
    frame = next((segments[kind] for kind in FRAME_STARTS[layout.syntax] if kind in segments), None)
    if frame is None:
        return ""
    if content[frame + 7] != content[frame + 10] or content[6:10] == b"JFIF":
        return "YCbCr"
    return "RGB" if content[frame + 6 : frame + 13 : 3] == b"RGB" else ""


def _refuse_size(layout: Layout, rows: int, columns: int, channels: int) -> None:
    if (rows, columns, channels) != (layout.rows, layout.columns, layout.channels):
        raise RefusedPicture(
            "pixel-data-length",
            f"a compressed frame has {columns} x {rows} px of {channels} samples; its numbers say "
            f"{layout.columns} x {layout.rows} px of {layout.channels}",
        )


def _refuse_jpeg(content: bytes, layout: Layout) -> None:
    if content[:2] != b"\xff\xd8":
        raise _wrong_syntax(layout)
    for kind, place in _segments(content):
        if (0xC0 <= kind <= 0xCF and kind not in NOT_FRAME_STARTS) or kind == 0xF7:
            if kind not in FRAME_STARTS[layout.syntax]:
                raise _wrong_syntax(layout)
            if layout.syntax != JPEGBaseline8Bit and layout.photometric == "RGB" and content[6:10] == b"JFIF":
                raise _contradiction("RGB", "JFIF's mark, which stands for Y'CbCr")
            precision, rows, columns, channels = struct.unpack_from(">BHHB", content, place)
            _refuse_size(layout, rows, columns, channels)
            if precision > layout.bits_allocated:
                raise RefusedPicture("bits-contradict", f"{precision} bits in {layout.bits_allocated} allocated")
            if layout.syntax == JPEGExtended12Bit and precision != 8:
                raise RefusedPicture("no-decoder", f"{precision} bits in transfer syntax {layout.syntax}")
            break
    else:
        raise RefusedPicture("truncated", "a compressed frame stops before its picture")
    if not content.rstrip(PADDING).endswith(EOI):
        raise RefusedPicture("truncated", "a compressed frame stops before its end mark")


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Kinds of the marker segments up to the picture, and where their parameters begin."""
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return
        kind = content[place + 1]
        if kind == 0xFF:  # a fill byte
            place += 1
            continue
        if kind == SOS:
            return
        yield kind, place + 4
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def _refuse_jpeg_2000(content: bytes, layout: Layout) -> None:
    """Check the size and follow the tile-parts, which say their lengths, to the end mark (ISO 15444-1 annex A)."""
    start = content.find(J2K_START) if content[4:8] == b"jP  " else 0  # a JP2 file in a frame is wrong and common
    if content[start : start + 4] != J2K_START or start < 0:
        raise _wrong_syntax(layout)
    right, bottom, left, top = struct.unpack_from(">IIII", content, start + 8)
    (channels,) = struct.unpack_from(">H", content, start + 40)
    _refuse_size(layout, bottom - top, right - left, channels)
    place = start + 2
    while content[place : place + 2] not in (J2K_TILE_PART, b""):
        if content[place : place + 2] == J2K_CODING and channels == 3:
            transformed = content[place + 8 : place + 9] == b"\1"
            if transformed != (layout.photometric in ("YBR_ICT", "YBR_RCT")) and layout.photometric != "RGB":
                raise _contradiction(layout.photometric, f"frames {'with' if transformed else 'without'} a transform")
        place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    while content[place : place + 2] == J2K_TILE_PART:
        (n_bytes,) = struct.unpack_from(">I", content, place + 6)
        if n_bytes == 0:  # the last tile-part goes on to the end mark
            place = len(content.rstrip(PADDING)) - 2
            break
        place += n_bytes
    if content[place : place + 2] != EOI:
        raise RefusedPicture("truncated", "a compressed frame stops before its end mark")


def _refuse_run_length(content: bytes, layout: Layout) -> None:
    """Check the header (PS3.5 annex G.5): as many segments as bytes a pixel, each beginning after the one before."""
    n_segments, *places = struct.unpack_from("<16I", content)
    if n_segments != layout.channels * layout.bits_allocated // 8:
        raise RefusedPicture("wrong-transfer-syntax", "its run-length header does not fit its samples a pixel")
    used = [*places[:n_segments], len(content)]
    if used[0] != RLE_HEAD_BYTES or any(later <= earlier for earlier, later in pairwise(used)):
        raise RefusedPicture("truncated", "its run-length segments do not follow one another")
