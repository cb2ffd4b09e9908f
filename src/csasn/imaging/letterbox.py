"""A picture fitted into the network's square, and pixels as tensors."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def as_images(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels (B, H, W) uint8 as images (B, 1, H, W) float32 in 0..1, copied."""
    return torch.from_numpy(np.array(pixels)).unsqueeze(1).to(torch.float32).div_(255)


def letterbox(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """A grey picture (H, W) uint8 fitted into (S, S): aspect ratio kept, antialiased, centred on black."""
    top, left, height, width = letterbox_place(pixels.shape, size_px)
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0))
    square = np.zeros((size_px, size_px), dtype=np.uint8)
    square[top : top + height, left : left + width] = resized
    return square


def letterbox_place(shape: tuple[int, ...], size_px: int) -> tuple[int, int, int, int]:
    """Where a picture (H, W) lies in its letterboxed square: top, left, height, width, px."""
    longest = max(shape)
    height, width = (max(1, round(side * size_px / longest)) for side in shape)
    return (size_px - height) // 2, (size_px - width) // 2, height, width
