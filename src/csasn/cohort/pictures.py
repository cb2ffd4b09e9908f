"""One picture file becomes grey pixels, or is refused with a stable code: never a silently wrong pixel."""

import hashlib
import io
import stat
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from csasn.cohort.ledger import RefusedPicture

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 600_000_000  # with the pixels beside it, an item stays under 1 GiB
MIN_SIDE_PX = 32
MAX_ASPECT = 10
# Found by their first bytes, whatever the file is called; formats that run programs (EPS, WMF) are not among them.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
ORIENTATION = 0x0112  # EXIF tag
ROWS_AT_ONCE = 256
WINDOWED_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Grey `pixels` (H, W), the codes of what was done to them, and the SHA-256 of the very bytes they came from."""

    pixels: NDArray[np.uint8]
    fixes: tuple[str, ...]
    sha256: str


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The pixels of `open_picture`."""
    return open_picture(path).pixels


def open_picture(path: Path) -> Picture:
    """A picture file as grey pixels (H, W), upright.

    8-bit grey comes as stored. Colour becomes grey by ITU-R 601 (palette and CMYK by way of RGB), transparency is
    composited over black, EXIF orientation is applied. Grey of more than 8 bits or of floats is windowed: its
    smallest value becomes 0, its largest 255, nothing is clipped. (Pillow reads 16-bit colour by its upper byte.)

    Raises RefusedPicture with one of the codes not-a-regular-file, unreadable, empty-file, truncated, corrupt,
    file-too-large, not-a-picture, too-many-pixels, too-small, extreme-aspect, multi-frame, not-finite, blank.
    """
    decoded = _decode(path)
    if decoded.pixels.min() == decoded.pixels.max():
        raise RefusedPicture("blank", f"every pixel has the value {int(decoded.pixels[0, 0])}")
    return Picture(pixels=decoded.pixels, fixes=decoded.fixes, sha256=decoded.sha256)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask (H, W), True inside the nodule: every value above 0, or above 127 where JPEG blurred the edges.

    An empty mask is a mask. Raises RefusedPicture like `read_picture`, but for `blank`.
    """
    decoded = _decode(path)
    return decoded.pixels > (127 if decoded.lossy else 0)


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of the shape and the pixels: equal where two files show the same picture."""
    height, width = pixels.shape
    return hashlib.sha256(f"{height}x{width}:".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    pixels: NDArray[np.uint8]
    fixes: tuple[str, ...]
    sha256: str
    lossy: bool


def _decode(path: Path) -> _Decoded:
    refuse_unopenable(path)
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pixels, lossy, fixes, suffixes = _decode_stream(io.BytesIO(content))
        if path.suffix.lower() not in suffixes:
            fixes = (*fixes, "wrong-extension")
        return _Decoded(pixels=pixels, fixes=fixes, sha256=hashlib.sha256(content).hexdigest(), lossy=lossy)
    except (RefusedPicture, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise RefusedPicture("too-many-pixels", f"the cap is {MAX_PIXELS} pixels ({error})") from error
    except Exception as error:  # hostile bytes make decoders raise nearly anything
        code = "truncated" if isinstance(error, EOFError) or "truncated" in str(error).lower() else "unreadable"
        raise RefusedPicture(code, f"{type(error).__name__}: {error}") from error


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


def _decode_stream(stream: BinaryIO) -> tuple[NDArray[np.uint8], bool, tuple[str, ...], set[str]]:
    """Pixels, whether the format is lossy, the codes of what was done, and the endings that its format goes by."""
    signature = stream.read(8)
    stream.seek(0)
    if signature == PNG_SIGNATURE:
        _check_png(stream)
    try:
        picture: Image.Image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as error:
        if signature.startswith(JPEG_SIGNATURE) and not _ends_like_jpeg(stream):
            raise RefusedPicture("truncated", "the JPEG stops before its picture begins") from error
        raise RefusedPicture("not-a-picture", f"its content is none of {', '.join(FORMATS)}") from error
    _check_header(picture)
    name = str(picture.format)
    suffixes = {suffix for suffix, known in Image.registered_extensions().items() if known == name}
    picture.load()
    turned = picture.getexif().get(ORIENTATION, 1) != 1
    pixels, fixes = _grey(ImageOps.exif_transpose(picture) if turned else picture)
    fixes = ("exif-rotated", *fixes) if turned else fixes
    return pixels, name in ("JPEG", "MPO", "WEBP", "JPEG2000"), fixes, suffixes


def _check_header(picture: Image.Image) -> None:
    """Refuse by size and number of frames, before any pixel is decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise RefusedPicture("too-many-pixels", f"{width} x {height} px; the cap is {MAX_PIXELS} pixels")
    if min(width, height) < MIN_SIDE_PX:
        raise RefusedPicture("too-small", f"{width} x {height} px; each side needs {MIN_SIDE_PX} px")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RefusedPicture("extreme-aspect", f"{width} x {height} px; one side is over {MAX_ASPECT} times the other")
    if (n_frames := getattr(picture, "n_frames", 1)) != 1:
        raise RefusedPicture("multi-frame", f"it holds {n_frames} pictures; export each as a file of its own")


def _grey(picture: Image.Image) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if picture.mode in WINDOWED_MODES:
        if "transparency" in picture.info:
            raise RefusedPicture("unreadable", f"mode {picture.mode} with a transparent colour is not supported")
        code = "windowed-float" if picture.mode == "F" else "windowed-16-bit"
        return _windowed(np.asarray(picture)), (code,)
    fixes: list[str] = []
    if picture.mode == "P":
        fixes.append("palette-applied")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
        fixes.append("alpha-composited")
    elif picture.mode not in ("1", "L"):
        fixes.append("cmyk-converted" if picture.mode == "CMYK" else "colour-to-grey")
        picture = picture.convert("RGB")
    return np.array(picture.convert("L"), dtype=np.uint8), tuple(fixes)


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


def _check_png(stream: BinaryIO) -> None:
    """Walk the chunks to IEND and check each CRC, which Pillow does for neither the pixels nor the end."""
    stream.seek(len(PNG_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        head = stream.read(8)
        n_bytes = int.from_bytes(head[:4], "big")
        kind = head[4:]
        body = stream.read(n_bytes + 4)
        if len(head) < 8 or len(body) < n_bytes + 4:
            raise RefusedPicture("truncated", "the PNG stops before its IEND chunk")
        if zlib.crc32(kind + body[:-4]) != int.from_bytes(body[-4:], "big"):
            raise RefusedPicture("corrupt", f"the checksum of the PNG chunk {kind!r} is wrong")
    stream.seek(0)


def _ends_like_jpeg(stream: BinaryIO) -> bool:
    stream.seek(0)
    return b"\xff\xd9" in stream.read()[-64:]
