"""Random changes of images: drawn per image and epoch, apart from applying them to a batch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from csasn.config import AugmentationSettings

SPECKLE_GRAIN_PX = 4  # correlation length of the multiplicative noise
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COLUMNS = ("flip", "rotation", "scale", "gain", "contrast", "speckle_sd", "speckle_seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What happens to each image of a batch; every array is (B,).

    `flip` mirrors left and right; `rotation_deg` turns counter-clockwise; `scale` enlarges about the centre;
    `gain` is added and `contrast` multiplies about mid-grey, on the scale 0..1; `speckle_sd` is the standard
    deviation of the multiplicative noise that `speckle_seed` fixes.
    """

    flip: NDArray[np.bool_]
    rotation_deg: NDArray[np.float32]
    scale: NDArray[np.float32]
    gain: NDArray[np.float32]
    contrast: NDArray[np.float32]
    speckle_sd: NDArray[np.float32]
    speckle_seed: NDArray[np.int64]

    def moves(self) -> NDArray[np.bool_]:
        """Which images are resampled at all, (B,)."""
        return np.asarray(self.flip | (self.rotation_deg != 0) | (self.scale != 1))


def draw(settings: AugmentationSettings, image_numbers: NDArray[np.uint64], *, seed: int, epoch: int) -> Draws:
    """One draw an image: a function of (seed, epoch, image number) alone, whatever batch the image is in.

    `image_numbers` (B,) are `PixelStore.numbers`, which come from the content.
    """
    column = dict(zip(_COLUMNS, _hashed(image_numbers, seed=seed, epoch=epoch), strict=True))
    uniform = {name: (bits >> np.uint64(11)) * 2.0**-53 for name, bits in column.items()}

    def within(name: str, largest: float) -> NDArray[np.float32]:
        return np.asarray((2 * uniform[name] - 1) * largest, dtype=np.float32)

    return Draws(
        flip=uniform["flip"] < settings.flip_probability,
        rotation_deg=within("rotation", settings.rotation_deg),
        scale=1 + within("scale", settings.scale),
        gain=within("gain", settings.gain),
        contrast=1 + within("contrast", settings.contrast),
        speckle_sd=(uniform["speckle_sd"] * settings.speckle).astype(np.float32),
        speckle_seed=(column["speckle_seed"] >> np.uint64(1)).astype(np.int64),
    )


def plain(n: int) -> Draws:
    """Identity draws for `n` images: applying them returns the images bit for bit."""
    zeros, ones = np.zeros(n, dtype=np.float32), np.ones(n, dtype=np.float32)
    return Draws(
        flip=np.zeros(n, dtype=np.bool_),
        rotation_deg=zeros,
        scale=ones,
        gain=zeros,
        contrast=ones,
        speckle_sd=zeros,
        speckle_seed=np.zeros(n, dtype=np.int64),
    )


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Images (B, 1, H, W) float32 in 0..1, changed as drawn: x' = clamp((x + m((c-1)(x-1/2) + g)) (1 + sd n)).

    x is the image after the affine map (bilinear, black outside); c contrast, g gain, n unit noise of 4 px grain. m is
    the support: the smallest rectangle around all pixels that are not black, moved with the image, so that the black
    of the letterbox stays black while dark pixels within the picture change like their neighbours.
    """
    support = _support(images)
    moves = torch.from_numpy(np.flatnonzero(draws.moves())).to(images.device)
    if len(moves):
        grid = F.affine_grid(_theta(images, draws)[moves], [len(moves), 2, *images.shape[2:]], align_corners=False)
        still = torch.cat([images, support], dim=1)
        moved = F.grid_sample(still[moves], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        still = still.index_copy(0, moves, moved)
        images, support = still[:, :1], still[:, 1:]
    contrast, gain = _column(draws.contrast, images), _column(draws.gain, images)
    images = images + support * ((contrast - 1) * (images - 0.5) + gain)
    if draws.speckle_sd.any():
        images = images * (1 + _column(draws.speckle_sd, images) * _noise(images, draws.speckle_seed))
    return images.clamp(0, 1)


def _hashed(image_numbers: NDArray[np.uint64], *, seed: int, epoch: int) -> NDArray[np.uint64]:
    """64 hashed bits per column and image, (7, B): SplitMix64 (Steele 2014) as a counter-based generator."""
    start = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    counters = np.arange(1, len(_COLUMNS) + 1, dtype=np.uint64)[:, None]
    return _mixed(_mixed(start ^ _mixed(image_numbers))[None, :] + counters * _GOLDEN)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _column(values: NDArray[np.float32], images: Tensor) -> Tensor:
    """Values (B,) as (B, 1, 1, 1) beside the images."""
    return torch.from_numpy(values).to(images.device)[:, None, None, None]


def _support(images: Tensor) -> Tensor:
    """1 within the smallest rectangle around all pixels that are not black, else 0; (B, 1, H, W) float32."""
    lit = images > 0
    rows, columns = lit.any(dim=3, keepdim=True), lit.any(dim=2, keepdim=True)
    return (_filled(rows, 2) & _filled(columns, 3)).to(images.dtype)


def _filled(lit: Tensor, dim: int) -> Tensor:
    """True from the first to the last True along a dimension."""
    return (lit.cumsum(dim) > 0) & (lit.flip(dim).cumsum(dim).flip(dim) > 0)


def _theta(images: Tensor, draws: Draws) -> Tensor:
    """Output to input coordinates, (B, 2, 3): the inverse of turning, enlarging and then mirroring the image."""
    height, width = images.shape[2:]
    angle = np.deg2rad(draws.rotation_deg)
    cosine, sine = np.cos(angle) / draws.scale, np.sin(angle) / draws.scale
    mirror = np.where(draws.flip, -1, 1)
    zeros = np.zeros_like(angle)
    rows = [[mirror * cosine, -sine * height / width, zeros], [mirror * sine * width / height, cosine, zeros]]
    theta = np.stack([np.stack(row, axis=-1) for row in rows], axis=1).astype(np.float32)
    return torch.from_numpy(theta).to(images.device)


def _noise(images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
    """Unit-variance noise of 4 px grain, (B, 1, H, W); drawn on the CPU so that every device sees the same."""
    height, width = images.shape[2:]
    coarse = (1, -(-height // SPECKLE_GRAIN_PX), -(-width // SPECKLE_GRAIN_PX))
    drawn = [torch.randn(coarse, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    smooth = F.interpolate(torch.stack(drawn).to(images.device), size=(height, width), mode="bilinear")
    return smooth / smooth.std(dim=(2, 3), keepdim=True)
