"""A network from its settings, its class list and its weights; no loss, no rows, no run."""

import torch

from csasn.config import NetworkSettings
from csasn.network.backbones import Branch
from csasn.network.csasn import Csasn, FusionHead
from csasn.network.weights import build_branches
from csasn.schema import ClassList

# Models that are CSASN with one branch; the other baseline is no network.
SINGLE_BRANCH = {"cnn-only": "cnn", "vit-only": "vit"}


def build_network(settings: NetworkSettings, classes: ClassList, weights: str = "none", *, size_px: int = 224) -> Csasn:
    """CSASN for images (B, 1, size_px, size_px): branches with pretrained weights, a fresh head for these classes.

    `weights` is a folder with `<timm name>.safetensors`, "hub", "none" or "auto", as `fit.weights` has it. Raises
    WeightsError where weights are missing or do not fit, BadInputError where timm has no such network.
    """
    branches, _ = build_branches(settings, weights=weights, size_px=size_px)
    return over_branches(branches, settings, classes)


def over_branches(branches: dict[str, Branch], settings: NetworkSettings, classes: ClassList) -> Csasn:
    """CSASN over branches that are there already, with a fresh head."""
    return Csasn(branches, FusionHead(settings, classes).to(memory_format=torch.channels_last))


def network_settings(model: str, settings: NetworkSettings) -> NetworkSettings:
    """Settings of CSASN, or of it with one branch alone."""
    if model not in SINGLE_BRANCH:
        return settings
    return settings.model_copy(update={"branches": SINGLE_BRANCH[model]})
