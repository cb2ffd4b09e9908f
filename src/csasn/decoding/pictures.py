"""One picture file becomes grey pixels, or is refused with a stable code: never a silently wrong pixel."""

import functools
import hashlib
import io
import stat
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from csasn.decoding.deep_colour import deep_colour_as_grey, is_deep_colour, load_as, raw_mode_of
from csasn.decoding.masks import inside_of
from csasn.decoding.pngs import PNG_SIGNATURE, checked_png
from csasn.decoding.refused import RefusedPicture
from csasn.decoding.tiffs import (
    TIFF_SIGNATURES,
    native_raw_mode,
    refuse_tiff,
    unidentified_tiff,
    unsigned_words,
    white_is_zero,
    with_bytes_as_palette,
    with_channel_as_pixels,
)

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 600_000_000  # with the pixels beside it, an item stays under 1 GiB
MIN_SIDE_PX = 32
MAX_ASPECT = 10
# Found by their first bytes, whatever the file is called; formats that run programs (EPS, WMF) are not among them.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
JPEG_SIGNATURE, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
JPEG_2000_SIZE = b"\xff\x4f\xff\x51"
ORIENTATION = 0x0112  # EXIF and TIFF tag
# By orientation: how rows and columns are put upright (EXIF 2.32, 4.6.4 A).
UPRIGHT: dict[object, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda grey: grey[:, ::-1],
    3: lambda grey: grey[::-1, ::-1],
    4: lambda grey: grey[::-1],
    5: lambda grey: grey.T,
    6: lambda grey: grey[::-1].T,
    7: lambda grey: grey[::-1, ::-1].T,
    8: lambda grey: grey.T[::-1],
}
ROWS_AT_ONCE = 1024
WINDOWED_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
FEW_BITS = {"L;2": 2, "L;4": 4}  # Pillow's raw modes of a PNG


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Grey `pixels` (H, W), the codes of what was done to them, and the SHA-256 of the very bytes they came from."""

    pixels: NDArray[np.uint8]
    fixes: tuple[str, ...]
    sha256: str


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The pixels of `open_picture`."""
    return open_picture(path).pixels


def open_picture(path: Path, declared_sha256: str | None = None) -> Picture:
    """A picture file as grey pixels (H, W), upright.

    8-bit grey comes as stored. Colour becomes grey by ITU-R 601 (palette and CMYK by way of RGB), transparency is
    composited over black, EXIF orientation is applied. Grey and colour of more than 8 bits or of floats is windowed:
    its smallest grey becomes 0, its largest 255, nothing is clipped.

    Raises RefusedPicture with one of the codes not-a-regular-file, unreadable, empty-file, file-too-large,
    hash-differs (from `declared_sha256`; nothing was decoded), not-a-picture, truncated, corrupt, no-decoder,
    photometric-unknown, bits-unsupported, too-many-pixels, too-small, extreme-aspect, multi-frame, not-finite, blank.
    """
    decoded = _decode(path, declared_sha256)
    if decoded.pixels.min() == decoded.pixels.max():
        raise RefusedPicture("blank", f"every pixel has the value {int(decoded.pixels[0, 0])}")
    return Picture(pixels=decoded.pixels, fixes=decoded.fixes, sha256=decoded.sha256)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The mask of `open_mask`."""
    return open_mask(path)[0]


def open_mask(path: Path) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """A mask (H, W), True inside the nodule, and the codes of what was done to it: mask-inverted, mask-empty.

    Raises RefusedPicture like `read_picture`, but for `blank`, and with mask-values and mask-full.
    """
    decoded = _decode(path)
    return inside_of(decoded.pixels, lossy=decoded.lossy)


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of the shape and the pixels: equal where two files show the same picture."""
    height, width = pixels.shape
    digest = hashlib.sha256(f"{height}x{width}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    pixels: NDArray[np.uint8]
    fixes: tuple[str, ...]
    sha256: str
    lossy: bool


def _decode(path: Path, declared_sha256: str | None = None) -> _Decoded:
    refuse_unopenable(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if declared_sha256 not in (None, sha256):
        raise RefusedPicture("hash-differs", f"its bytes have sha256 {sha256}, the table declares another")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pixels, lossy, fixes, suffixes = _decode_bytes(content)
    except (RefusedPicture, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedPicture("too-many-pixels", f"the cap is {MAX_PIXELS} pixels ({error})") from error
    except Exception as error:  # hostile bytes make decoders raise nearly anything
        stops = isinstance(error, EOFError) or "truncated" in str(error).lower() or _stops_early(content)
        code = "truncated" if stops else "corrupt"
        raise RefusedPicture(code, f"{type(error).__name__}: {error}") from error
    if path.suffix and path.suffix.lower() not in suffixes:
        fixes = (*fixes, "wrong-extension")
    return _Decoded(pixels=pixels, fixes=fixes, sha256=sha256, lossy=lossy)


def refuse_unopenable(path: Path) -> None:
    """Raise RefusedPicture for what is no regular file, cannot be reached or is empty; nothing is opened."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise RefusedPicture("not-a-regular-file", "it is a folder, pipe, socket or device; it was not opened")
    if status.st_size == 0:
        raise RefusedPicture("empty-file", "it holds 0 bytes")
    if status.st_size > MAX_FILE_BYTES:
        raise RefusedPicture("file-too-large", f"{status.st_size} bytes; the cap is {MAX_FILE_BYTES}")


def _decode_bytes(content: bytes) -> tuple[NDArray[np.uint8], bool, tuple[str, ...], frozenset[str]]:
    """Pixels, whether the format is lossy, the codes of what was done, and the endings that its format goes by."""
    if content.startswith(PNG_SIGNATURE):
        content = checked_png(content)
    try:
        picture: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        if content.startswith(JPEG_SIGNATURE) and JPEG_END not in content[-64:]:
            raise RefusedPicture("truncated", "the JPEG stops before its picture begins") from error
        if content.startswith(TIFF_SIGNATURES):
            raise unidentified_tiff(content) from error
        raise RefusedPicture("not-a-picture", f"its content is none of {', '.join(FORMATS)}") from error
    _check_header(picture, content)
    name = str(picture.format)
    if isinstance(picture, TiffImageFile):
        with_channel_as_pixels(picture)
        refuse_tiff(picture, content)
        with_bytes_as_palette(picture)
        orientation = picture.tag_v2.get(ORIENTATION)  # which loading applies and forgets
    pixels, fixes = _grey(picture, content)
    if not isinstance(picture, TiffImageFile):
        orientation = picture.getexif().get(ORIENTATION)
        pixels = np.ascontiguousarray(UPRIGHT[orientation](pixels)) if orientation in UPRIGHT else pixels
    fixes = ("exif-rotated", *fixes) if orientation in UPRIGHT else fixes
    return pixels, name in ("JPEG", "MPO", "WEBP", "JPEG2000"), fixes, _suffixes(name)


@functools.cache
def _suffixes(name: str) -> frozenset[str]:
    """The endings that a format goes by."""
    return frozenset(suffix for suffix, known in Image.registered_extensions().items() if known == name)


def _check_header(picture: Image.Image, content: bytes) -> None:
    """Refuse by size, number of frames and kind of colour, before any pixel is decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise RefusedPicture("too-many-pixels", f"{width} x {height} px; the cap is {MAX_PIXELS} pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise RefusedPicture("too-small", f"{width} x {height} px; each side needs {MIN_SIDE_PX} px")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RefusedPicture("extreme-aspect", f"{width} x {height} px; one side is over {MAX_ASPECT} times the other")
    if (n_frames := getattr(picture, "n_frames", 1)) != 1:
        raise RefusedPicture("multi-frame", f"it holds {n_frames} pictures; export each as a file of its own")
    if picture.format == "JPEG" and picture.mode == "CMYK" and "adobe" not in picture.info:
        raise RefusedPicture("photometric-unknown", "inks without Adobe's mark: whether 0 is none or all is not said")
    if len(picture.getbands()) > 1 and _is_cut_to_8_bits(picture, content):
        raise RefusedPicture("bits-unsupported", f"{picture.format} with colours of more than 8 bits")


def _is_cut_to_8_bits(picture: Image.Image, content: bytes) -> bool:
    """Whether a colour picture of a format that `deep_colour` does not know has more than 8 bits a channel."""
    if isinstance(picture, PpmImageFile):
        stored = picture.tile[0].args
        return isinstance(stored, tuple) and stored[-1] > 255
    if picture.format != "JPEG2000":
        return False
    place = content.index(JPEG_2000_SIZE)
    (n_channels,) = struct.unpack_from(">H", content, place + 40)
    return any(content[place + 42 + 3 * each] > 7 for each in range(n_channels))  # bits less one, the sign above


def _grey(picture: Image.Image, content: bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey (H, W) of a file that was opened from `content`, which is decoded here, and the codes of what was done."""
    if is_deep_colour(picture):
        values, composited = deep_colour_as_grey(picture, content)
        return _windowed(values), ("alpha-composited" if composited else "colour-to-grey", "windowed-16-bit")
    n_bits = FEW_BITS.get(raw_mode_of(picture), 8)
    # A colour JPEG stores its grey (the luma of BT.601) apart from its colours, which need not be decoded.
    fixes: list[str] = ["colour-to-grey"] if _takes_luma(picture) else []
    native = native_raw_mode(picture, raw_mode_of(picture)) if isinstance(picture, TiffImageFile) else None
    if native is None:
        picture.load()
    else:
        load_as(picture, native)
    key = picture.info.get("transparency")
    if picture.mode in WINDOWED_MODES:
        return _windowed_grey(picture, key)
    if isinstance(key, int) and picture.mode == "L":  # a grey that is transparent, as stored in n bits
        picture.info["transparency"] = (key & (1 << n_bits) - 1) * (255 // ((1 << n_bits) - 1))
    if picture.format == "BMP" and picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0):
        # Nothing would be left of it: programs that write BMP without alpha leave its bytes at 0.
        picture = picture.convert("RGB")
        fixes.append("alpha-ignored")
    if picture.mode in ("P", "PA"):
        fixes.append("palette-applied")
    if picture.has_transparency_data:
        fixes.append("alpha-composited")
    elif picture.mode not in ("1", "L"):
        fixes.append("cmyk-converted" if picture.mode == "CMYK" else "colour-to-grey")
    if picture.mode == "L" and not picture.has_transparency_data:
        return _values(picture), tuple(fixes)
    width, height = picture.size
    if height <= ROWS_AT_ONCE:
        return _values(_over_black(picture).convert("L")), tuple(fixes)
    grey = np.empty((height, width), dtype=np.uint8)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = picture.crop((0, top, width, min(top + ROWS_AT_ONCE, height)))
        grey[top : top + ROWS_AT_ONCE] = _values(_over_black(rows).convert("L"))
    return grey, tuple(fixes)


def _takes_luma(picture: Image.Image) -> bool:
    """Whether the decoder of a colour JPEG was told to give its luma alone."""
    return picture.format == "JPEG" and picture.mode == "RGB" and picture.draft("L", picture.size) is not None


def _values(picture: Image.Image) -> NDArray[np.uint8]:
    """Values (H, W) of an 8-bit grey picture, read where Pillow has them: a copy would cost as much as their hash."""
    width, height = picture.size
    try:
        return pl.Series(picture).to_numpy().reshape(height, width)
    except ValueError:  # a large picture lies in several blocks
        return np.asarray(picture)


def _over_black(picture: Image.Image) -> Image.Image:
    """The picture in grey or colour; what is transparent lets black through."""
    if picture.mode == "La":  # multiplied by its alpha already
        return picture.getchannel(0)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture).convert("RGB")
    return picture if picture.mode in ("1", "L", "RGB") else picture.convert("RGB")


def _windowed_grey(picture: Image.Image, key: object) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey of a decoded picture of more than 8 bits or of floats, where the value `key` is transparent."""
    values = np.asarray(picture)
    fixes: tuple[str, ...] = ("windowed-float" if picture.mode == "F" else "windowed-16-bit",)
    if isinstance(key, int):
        values, fixes = np.where(values == key, 0, values), ("alpha-composited", *fixes)
    if isinstance(picture, TiffImageFile):
        values = values.view(np.uint32) if unsigned_words(picture) else values
        grey = _windowed(values)
        return 255 - grey if white_is_zero(picture) else grey, fixes
    return _windowed(values), fixes


def _windowed(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Smallest value to 0, largest to 255, some rows at a time: 50 million pixels as float64 would take 400 MB."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise RefusedPicture("not-finite", f"{int((~np.isfinite(values)).sum())} pixels are NaN or infinite")
    if low == high:
        return np.full(values.shape, 255 if high > 0 else 0, dtype=np.uint8)
    grey = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), ROWS_AT_ONCE):
        block = values[start : start + ROWS_AT_ONCE].astype(np.float64)
        grey[start : start + ROWS_AT_ONCE] = np.rint((block - low) / (high - low) * 255.0)
    return grey


def _stops_early(content: bytes) -> bool:
    """Whether a WebP, BMP or JPEG 2000 file that does not decode is shorter than it says, or lacks its end mark."""
    if content.startswith(b"RIFF"):
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    if content.startswith(b"BM"):
        return int.from_bytes(content[2:6], "little") > len(content)
    return JPEG_2000_SIZE in content[:256] and not content.endswith(JPEG_END)
