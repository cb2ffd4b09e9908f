"""Pixels, labels and order: what one training step reads."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.errors import BadInputError, listing
from csasn.schema import ClassList

UNKNOWN_CLASS = -1
_ORDER_STREAM = 1  # keeps the order apart from other draws of the same seed and epoch


def as_images(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels (B, H, W) uint8 as images (B, 1, H, W) float32 in 0..1, copied."""
    return torch.from_numpy(np.array(pixels)).unsqueeze(1).to(torch.float32).div_(255)


def epoch_order(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of 0..n-1 fixed by seed and epoch, (n,)."""
    stream = np.random.SeedSequence([seed, epoch, _ORDER_STREAM])
    return np.random.default_rng(stream).permutation(n)


def batches(order: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The order in runs of `batch_size`; a last image on its own joins the batch before it (batch normalisation)."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for at, start in enumerate(starts):
        yield order[start : starts[at + 1] if at + 1 < len(starts) else len(order)]


def labels(manifest: pl.DataFrame, classes: ClassList) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Class index (N,), -1 where the subtype is unknown, and malignant (N,), in the manifest's row order.

    Raises BadInputError where a subtype is not in the class list or stands in the other group.
    """
    malignant = manifest["malignant"].to_numpy().astype(np.bool_)
    subtypes = manifest["subtype"].to_list()
    if strange := sorted({name for name in subtypes if name is not None} - set(classes.names)):
        raise BadInputError(
            f"The class list is {list(classes.names)}; the manifest also has\n{listing(strange)}\n"
            "Take the class list from the same manifest."
        )
    number = {name: index for index, name in enumerate(classes.names)}
    index = np.array([UNKNOWN_CLASS if name is None else number[name] for name in subtypes], dtype=np.int64)
    crossed = (index >= 0) & ((index >= classes.n_non_malignant) != malignant)
    if crossed.any():
        rows = [
            f"{path}: {name}"
            for path, name, wrong in zip(manifest["image_path"], subtypes, crossed, strict=True)
            if wrong
        ]
        raise BadInputError(f"These rows' `malignant` contradicts their class:\n{listing(rows)}\nCorrect the source.")
    return index, malignant
