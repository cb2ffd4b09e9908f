"""What a variant costs, against a published count and a count by the shapes of a network's convolutions."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from csasn.config import Configuration, NetworkSettings
from csasn.runs import Run
from csasn.study.cost import operations
from tests.support.synthetic_run import make_run

PLAIN = {"attention": "none", "classifier": "linear", "head": "flat"}


def counted(folder: Path, settings: NetworkSettings) -> int:
    return operations(Run(folder=make_run(folder).folder, configuration=Configuration(network=settings)))


def test_a_plain_vit_takes_the_published_work(tmp_path: Path) -> None:
    """DeiT-Ti/16, the same network as ViT-Ti/16, at 224 px: 1.26 thousand million multiply-adds."""
    vit = {"branches": "vit", "vit": "vit_tiny_patch16_224", "vit_channels": 192, "fusion": "pooled"}
    assert counted(tmp_path, NetworkSettings(**vit, **PLAIN)) / 2 == pytest.approx(1.26e9, rel=0.03)


def test_a_plain_cnn_takes_the_work_of_its_convolutions(tmp_path: Path) -> None:
    """Of each: places x kernel x channels read by a filter x filters; and of the head: channels x classes."""
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    products = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda conv, _, out: products.append(out.shape[2] * out.shape[3] * conv.weight.numel())
            )
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    expected = sum(products) + 1280 * 5
    assert counted(tmp_path, NetworkSettings(branches="cnn", **PLAIN)) == 2 * expected
