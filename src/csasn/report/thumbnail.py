"""A small grey picture for the page, or why there is none."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

THUMBNAIL_PX = 200


def thumbnail(root: Path, image_path: str) -> tuple[bytes | None, str]:
    """A grey PNG of at most THUMBNAIL_PX a side, or None and why there is none."""
    grey, missing = small_grey(root, image_path)
    return (None if grey is None else as_png(grey)), missing


def small_grey(root: Path, image_path: str) -> tuple[Image.Image | None, str]:
    """An upright grey picture of at most THUMBNAIL_PX a side, or None and why there is none."""
    path = (root / image_path).resolve()
    if not path.is_relative_to(root.resolve()):
        return None, "the path leads out of the images' folder"
    try:
        with Image.open(path) as picture:
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
