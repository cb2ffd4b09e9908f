"""Test-time augmentation: the fixed views of a picture, whose predictions are averaged."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.config import AugmentationSettings
from csasn.imaging.letterbox import as_images
from csasn.imaging.store import PixelStore
from csasn.imaging.transforms import apply, draw

PLAIN_VIEW, MIRRORED_VIEW = 0, 1


CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewSource:
    """Pixels and the fixed list of views of each picture: the plain one, its mirror, then augmented ones.

    View v of a picture is the same in any cohort: its random draw depends on the seed, v and the content hash alone.
    """

    store: PixelStore
    n_views: int
    augmentation: AugmentationSettings
    seed: int

    def images(self, rows: NDArray[np.int64], view: int, device: torch.device = CPU) -> Tensor:
        """View `view` of the store's rows, (B, 1, S, S) in [0, 1], made on the device."""
        images = as_images(self.store.pixels[rows]).to(device)
        if view == PLAIN_VIEW:
            return images
        if view == MIRRORED_VIEW:
            return images.flip(-1)
        return apply(images, draw(self.augmentation, self.store.numbers[rows], seed=self.seed, epoch=view))

    def key(self) -> str:
        """What a view depends on besides the picture and the view's number, as a string for hashing."""
        return json.dumps([self.store.key, self.augmentation.model_dump(), self.seed])
