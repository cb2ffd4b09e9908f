"""Colour of 16 bits a channel becomes grey of 16 bits; Pillow alone would keep the upper byte of every channel."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Weigh = Callable[[NDArray[np.uint16]], NDArray[np.float64]]

WEIGHTS = np.array((0.299, 0.587, 0.114))  # of red, green and blue in grey, ITU-R BT.601
ROWS_AT_ONCE = 256
OPAQUE = 65535
GREY_ALPHA = "LA;16B"
FIVE_SIX_FIVE = "BGR;16"  # of BMP: 16 bits a pixel, not a channel
# The unpacker that keeps a number's upper byte, and the one that keeps the other: B takes the first byte of two, L and,
# on the little endian machines that Pillow is built for, N the second.
OTHER_BYTE = {"B": "L", "L": "B", "N": "B"}


def is_deep_colour(picture: Image.Image) -> bool:
    """Whether an opened file, not yet decoded, holds colour or alpha of 16 bits that Pillow would cut to 8."""
    raw_mode = raw_mode_of(picture)
    return picture.mode in ("RGB", "RGBA") and ";16" in raw_mode and raw_mode != FIVE_SIX_FIVE


def deep_colour_as_grey(picture: Image.Image, content: bytes) -> tuple[NDArray[np.uint16], bool]:
    """Grey (H, W) of 16 bits, and whether transparency was composited over black.

    `picture` was opened from `content` and is decoded here: once for the upper bytes, once for the lower ones.
    """
    raw_mode = raw_mode_of(picture)
    if raw_mode == GREY_ALPHA:  # four bytes a pixel, all of which the unpacker of four colours keeps
        load_as(picture, "RGBA")
        return _grey(picture, None, _grey_alpha), True
    if "a;" in raw_mode:  # colours multiplied by alpha already are what lies over black
        raw_mode = raw_mode.replace("a;", "A;")
        weigh = _opaque
    else:
        weigh = _with_alpha if picture.mode == "RGBA" else _opaque
    key = picture.info.get("transparency")
    lower = Image.open(io.BytesIO(content), formats=[str(picture.format)])
    load_as(picture, raw_mode)
    load_as(lower, raw_mode[:-1] + OTHER_BYTE[raw_mode[-1]])
    if isinstance(key, tuple):
        return _grey(picture, lower, lambda colours: np.where((colours == key).all(axis=2), 0, _opaque(colours))), True
    return _grey(picture, lower, weigh), "a" in raw_mode.lower()


def raw_mode_of(picture: Image.Image) -> str:
    """Pillow's name of how an opened file, not yet decoded, stores its values; empty where it does not say."""
    tiles: Any = getattr(picture, "tile", None)
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def load_as(picture: Any, raw_mode: str) -> None:
    """Decode an opened file as if it stored its values by another of Pillow's raw modes."""
    picture.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in picture.tile
    ]
    picture.load()


def _grey(upper: Image.Image, lower: Image.Image | None, weigh: Weigh) -> NDArray[np.uint16]:
    """`weigh` of the values, some rows at a time."""
    width, height = upper.size
    grey = np.empty((height, width), dtype=np.uint16)
    for top in range(0, height, ROWS_AT_ONCE):
        box = (0, top, width, min(top + ROWS_AT_ONCE, height))
        values = np.asarray(upper.crop(box), dtype=np.uint16)
        if lower is not None:
            values = values << 8 | np.asarray(lower.crop(box))
        grey[top : box[3]] = np.rint(weigh(values))
    return grey


def _opaque(colours: NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.asarray(colours[:, :, :3] @ WEIGHTS)


def _with_alpha(colours: NDArray[np.uint16]) -> NDArray[np.float64]:
    return _opaque(colours) * colours[:, :, 3] / OPAQUE


def _grey_alpha(pairs: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Four bytes are grey and alpha, the upper byte first."""
    return (pairs[:, :, 0] << 8 | pairs[:, :, 1]).astype(np.float64) * (pairs[:, :, 2] << 8 | pairs[:, :, 3]) / OPAQUE
