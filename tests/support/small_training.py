"""A module of two small branches, its cohort, and features in which the classes can be told apart."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from csasn.config import AugmentationSettings, Configuration, FitSettings, NetworkSettings, PredictSettings
from csasn.imaging.views import ViewSource
from csasn.learning.module import TrainingModule, build_training_module
from csasn.learning.optimisation import Stage
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource
from csasn.network.backbones import Branch, Features, build_cnn, build_vit
from csasn.schema import ClassList
from tests.support.pixel_stores import store_of

CPU = torch.device("cpu")
CLASSES = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
N, SIZE_PX = 48, 64
WIDTHS = {"cnn": 256, "vit": 64}
CONFIGURATION = Configuration(
    network=NetworkSettings(
        cnn="test_efficientnet", cnn_channels=256, vit="test_vit", vit_channels=64, classifier_channels=16
    ),
    fit=FitSettings(batch_size=8, cached_views=2, ema_decay=0.5),
    predict=PredictSettings(n_views=2),
)
FROZEN = Stage(name="frozen", n_epochs=6, learning_rate=3e-3)
ROWS = FoldRows(fold=3, train=np.arange(0, 36), tuning=np.arange(36, N))


def cohort() -> LabelledRows:
    index = np.arange(N) % 3
    rows = np.arange(N)
    return LabelledRows(
        classes=CLASSES, store_rows=rows, class_index=index, malignant=index > 0, patient=rows // 2, site=rows // 3 % 4
    )


def branches() -> dict[str, Branch]:
    return {
        "cnn": build_cnn("test_efficientnet", channels=256, overlay=None),
        "vit": build_vit("test_vit", channels=64, size_px=SIZE_PX, overlay=None),
    }


@dataclass
class Separable:
    """Cached features in which each class has its own direction, beside unit noise."""

    channels: int
    spoiled: bool = False

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Features:
        rng = np.random.default_rng(self.channels)
        directions = rng.normal(size=(3, self.channels))
        noise = rng.normal(size=(N, 2, self.channels, 2, 2))
        values = directions[rows % 3][:, :, None, None] + noise[rows, views]
        if self.spoiled:
            values[0] = math.nan
        maps = torch.from_numpy(values).float()
        return Features(map=maps, token=maps.mean(dim=(2, 3)) if self.channels == WIDTHS["vit"] else None)


def input_source(*, frozen: bool = True, spoiled: bool = False, device: torch.device = CPU) -> InputSource:
    pixels = np.random.default_rng(0).integers(1, 255, (N, SIZE_PX, SIZE_PX), dtype=np.uint8)
    source = ViewSource(store=store_of(pixels), n_views=2, augmentation=AugmentationSettings(), seed=0)
    caches = {name: Separable(width, spoiled) for name, width in WIDTHS.items()} if frozen else None
    return InputSource(cohort=cohort(), source=source, caches=caches, device=device)


def fresh_module(configuration: Configuration = CONFIGURATION) -> TrainingModule:
    torch.manual_seed(0)
    return build_training_module("csasn", branches(), cohort(), ROWS.train, configuration)
