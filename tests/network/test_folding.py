"""An EfficientNet whose BatchNorm is folded into its convolutions gives what timm's own gives, gradients included."""

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from csasn.network.folding import fold_norms

SMALL = "tf_efficientnet_lite0", "efficientnet_b0"  # TensorFlow's padding, and torch's own


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """timm's network in float64 with statistics and scales that are no identity, and its folded twin."""
    torch.manual_seed(0)
    plain = timm.create_model(name, pretrained=False, num_classes=0, global_pool="").double()
    for module in plain.modules():
        if isinstance(module, BatchNormAct2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    folded = copy.deepcopy(plain)
    n_norms = sum(isinstance(module, BatchNormAct2d) for module in plain.modules())
    assert fold_norms(folded) == n_norms > 40
    return plain.eval(), folded.eval()


def mapped(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The map after the stem and three stages, where every kind of block has been: float64 takes its time."""
    return network.blocks[:3](network.bn1(network.conv_stem(images)))


def test_names_and_values_of_the_state_stay():
    plain, folded = pair(SMALL[0])
    assert list(plain.state_dict()) == list(folded.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in folded.named_parameters()]


@pytest.mark.parametrize("name", SMALL)
def test_map_and_every_gradient_are_those_of_the_plain_network(name):
    plain, folded = pair(name)
    folded = copy.deepcopy(folded)  # as the moving average of the weights does
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    maps = [mapped(network, images) for network in (plain, folded)]
    assert maps[0].std() > 0.1
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-9, atol=1e-9)
    for found in maps:
        found.square().mean().backward()
    for (key, one), other in zip(plain.named_parameters(), folded.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-7, atol=1e-12, msg=key)


def test_a_copy_answers_by_its_own_statistics():
    _, folded = pair(SMALL[0])
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    before = mapped(folded, images)
    twin = copy.deepcopy(folded)
    twin.bn1.weight.data.mul_(2)
    torch.testing.assert_close(mapped(folded, images), before, rtol=0, atol=0)
    assert not torch.allclose(mapped(twin, images), before)


def test_statistics_are_learned_where_they_are_meant_to_be():
    plain, folded = pair(SMALL[0])
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    maps = [mapped(network.train(), images) for network in (plain, folded)]
    torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=0)
    assert torch.equal(folded.bn1.running_mean, plain.bn1.running_mean)
