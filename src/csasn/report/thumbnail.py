"""A small grey picture for the page, or why there is none."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from csasn.files import opened

THUMBNAIL_PX = 200
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "TIFF",
    "GIF",
    "WEBP",
    "PPM",
    "JPEG2000",
)  # none that starts another program, as EPS does
MAX_FILE_BYTES = 600_000_000
MAX_PIXELS = 50_000_000


def thumbnail(root: Path, image_path: str, sha256: str | None = None) -> tuple[bytes | None, str]:
    """A grey PNG of at most THUMBNAIL_PX a side, or None and why there is none."""
    grey, missing = small_grey(root, image_path, sha256)
    return (None if grey is None else as_png(grey)), missing


def small_grey(root: Path, image_path: str, sha256: str | None = None) -> tuple[Image.Image | None, str]:
    """An upright grey picture of at most THUMBNAIL_PX a side, or None and why there is none.

    The file lies below `root`, and its bytes have the manifest's `sha256` where that is given: the page of a run from
    elsewhere shows no other file of the disk, and no picture that was changed since.
    """
    path = (root / image_path).resolve()
    if not path.is_relative_to(root.resolve()):
        return None, "the path leads out of the images' folder"
    try:
        with opened(path) as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            return None, "the picture's file is too large"
        if sha256 not in (None, hashlib.sha256(content).hexdigest()):
            return None, "the picture is not the one of the manifest: its bytes differ"
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None, "the picture has too many pixels"
            picture.load()
            grey = _grey(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        return None, "the picture is missing"
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return None, f"the picture cannot be shown ({type(error).__name__})"
    grey.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return grey, ""


def as_png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _grey(picture: Image.Image) -> Image.Image:
    """Eight-bit grey; deeper pixels are spread over their own range rather than clipped."""
    if not picture.mode.startswith(("I", "F")):
        return picture.convert("L")
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    span = float(values.max() - values.min()) or 1.0
    return Image.fromarray(np.uint8((values - values.min()) / span * 255))
