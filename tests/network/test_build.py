"""A network from settings, classes and weights alone."""

import subprocess
import sys

import torch

from csasn.config import NetworkSettings
from csasn.network.build import build_network, network_settings, over_branches
from csasn.schema import ClassList

SETTINGS = NetworkSettings(
    cnn="test_efficientnet", cnn_channels=256, vit="test_vit", vit_channels=64, classifier_channels=16
)
CLASSES = ClassList(names=("benign", "PTC", "MTC"), n_non_malignant=1)


def test_a_network_reads_images_and_has_neither_loss_nor_rows() -> None:
    network = build_network(SETTINGS, CLASSES, size_px=64).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, 1, 64, 64))
    assert output.logits.shape == (2, 3)
    torch.testing.assert_close(output.logits.exp().sum(dim=1), torch.ones(2))
    assert {name.split(".")[0] for name in network.state_dict()} == {"branches", "head"}


def test_a_model_of_one_branch_is_the_same_network_with_that_branch() -> None:
    whole = build_network(SETTINGS, CLASSES, size_px=64)
    alone = over_branches(dict(whole.branches), network_settings("cnn-only", SETTINGS), CLASSES)
    assert list(alone.branches) == ["cnn"]
    assert alone.branches["cnn"] is whole.branches["cnn"]
    assert network_settings("csasn", SETTINGS) == SETTINGS


def test_building_a_network_imports_nothing_of_training() -> None:
    code = "import sys, csasn.network.build; print([name for name in sys.modules if name.startswith('csasn.learning')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
