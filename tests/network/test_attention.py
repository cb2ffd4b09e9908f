"""Attention against loops written from CBAM's formulae, without torch's layers."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from csasn.network.attention import CascadedAttention, ChannelAttention, SpatialAttention

Array = NDArray[np.float64]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def channel_gate(features: Array, squeeze: Array, excite: Array) -> Array:
    """sigmoid(W1 relu(W0 avg) + W1 relu(W0 max)), one image and one channel at a time."""
    n, c, h, w = features.shape
    gate = np.zeros((n, c, 1, 1))
    for b in range(n):
        total = [0.0] * c
        for pool in (lambda v: sum(v) / len(v), max):
            pooled = [pool([features[b, k, i, j] for i in range(h) for j in range(w)]) for k in range(c)]
            hidden = [max(0.0, sum(row[k] * pooled[k] for k in range(c))) for row in squeeze]
            for k in range(c):
                total[k] += sum(excite[k, m] * hidden[m] for m in range(len(hidden)))
        gate[b, :, 0, 0] = [sigmoid(each) for each in total]
    return gate


def spatial_gate(features: Array, module: SpatialAttention, *, training: bool) -> Array:
    """sigmoid(BN(conv7x7([max; mean]))) with zero padding; BN over the batch in training, else over its history."""
    n, _, h, w = features.shape
    kernel = module.conv.weight.detach().numpy()[0]
    reach = kernel.shape[1] // 2
    summary = np.stack([features.max(axis=1), features.sum(axis=1) / features.shape[1]], axis=1)
    response = np.zeros((n, 1, h, w))
    for b in range(n):
        for i in range(h):
            for j in range(w):
                for part in range(2):
                    for di in range(-reach, reach + 1):
                        for dj in range(-reach, reach + 1):
                            if 0 <= i + di < h and 0 <= j + dj < w:
                                weight = kernel[part, di + reach, dj + reach]
                                response[b, 0, i, j] += weight * summary[b, part, i + di, j + dj]
    norm = module.norm
    mean, variance = norm.running_mean.item(), norm.running_var.item()
    if training:
        mean = response.sum() / response.size
        variance = ((response - mean) ** 2).sum() / response.size
    scaled = (response - mean) / math.sqrt(variance + norm.eps) * norm.weight.item() + norm.bias.item()
    return np.vectorize(sigmoid)(scaled)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 8, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def parts_of(
    module: CascadedAttention, features: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Refined map and both gates."""
    attended = module(features)
    return attended.refined(), attended.channel_gate, attended.spatial_gate


def settled(module: SpatialAttention) -> SpatialAttention:
    """BatchNorm with a history and an affine part that are not the initial ones."""
    with torch.no_grad():
        module.norm.running_mean.fill_(0.3)
        module.norm.running_var.fill_(1.7)
        module.norm.weight.fill_(1.4)
        module.norm.bias.fill_(-0.2)
    return module


def test_channel_attention_is_the_formula(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = ChannelAttention(8, reduction=2).double()
    expected = channel_gate(
        features.numpy(), module.squeeze.weight.detach().numpy(), module.excite.weight.detach().numpy()
    )
    assert expected.std() > 1e-3
    np.testing.assert_allclose(module(features)[1].detach().numpy(), expected, atol=1e-12)


def test_channel_attention_keeps_one_hidden_unit_beyond_its_ratio() -> None:
    assert ChannelAttention(8, reduction=2).squeeze.weight.shape == (4, 8)
    assert ChannelAttention(8, reduction=16).squeeze.weight.shape == (1, 8)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_spatial_attention_is_the_formula(features: torch.Tensor, training: bool) -> None:
    torch.manual_seed(0)
    module = settled(SpatialAttention().double()).train(training)
    expected = spatial_gate(features.numpy(), module, training=training)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(module(features)[1].detach().numpy(), expected, atol=1e-12)


def test_spatial_batchnorm_follows_one_hundredth_of_the_batch(features: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = settled(SpatialAttention().double()).train()
    response = module.conv(
        torch.cat([features.amax(dim=1, keepdim=True), features.mean(dim=1, keepdim=True)], dim=1)
    ).detach()
    module(features)
    assert module.norm.running_mean.item() == pytest.approx(0.99 * 0.3 + 0.01 * response.mean().item())


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_cascade_is_channel_first_then_spatial(features: torch.Tensor, training: bool) -> None:
    torch.manual_seed(0)
    module = CascadedAttention(8, order="channel-spatial", reduction=4).double()
    settled(module.spatial)
    module.train(training)
    x = features.numpy()
    channel = channel_gate(
        x, module.channel.squeeze.weight.detach().numpy(), module.channel.excite.weight.detach().numpy()
    )
    refined = x * channel
    spatial = spatial_gate(refined, module.spatial, training=training)
    found = [each.detach().numpy() for each in parts_of(module, features)]
    for got, expected in zip(found, (refined * spatial, channel, spatial), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(("parts", "channel", "spatial"), [("channel", 1, 0), ("spatial", 0, 1), ("none", 0, 0)])
def test_a_part_switched_off_has_no_gate(features: torch.Tensor, parts: str, channel: int, spatial: int) -> None:
    module = CascadedAttention(8, order=parts, reduction=4).double().eval()
    refined, channel_gate, spatial_gate = parts_of(module, features)
    assert (channel_gate is not None, spatial_gate is not None) == (bool(channel), bool(spatial))
    expected = features
    for gate in (channel_gate, spatial_gate):
        expected = expected if gate is None else expected * gate
    assert torch.equal(refined, expected)
    assert (sum(p.numel() for p in module.parameters()) > 0) == (parts != "none")


@pytest.mark.parametrize("order", ["reversed", "parallel"])
def test_the_other_orders_are_their_formulae(features: torch.Tensor, order: str) -> None:
    torch.manual_seed(0)
    module = CascadedAttention(8, order=order, reduction=4).double().eval()
    settled(module.spatial)
    x = features.numpy()
    weights = module.channel.squeeze.weight.detach().numpy(), module.channel.excite.weight.detach().numpy()
    spatial = spatial_gate(x, module.spatial, training=False)
    channel = channel_gate(x * spatial if order == "reversed" else x, *weights)
    found = [each.detach().numpy() for each in parts_of(module, features)]
    for got, expected in zip(found, (x * spatial * channel, channel, spatial), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_the_orders_differ_and_cost_the_same(features: torch.Tensor) -> None:
    refined, sizes = [], set()
    for order in ("channel-spatial", "reversed", "parallel"):
        torch.manual_seed(0)
        module = CascadedAttention(8, order=order, reduction=4).double().eval()
        refined.append(module(features).refined())
        sizes.add(sum(each.numel() for each in module.parameters()))
    assert len(sizes) == 1
    assert all((one - other).abs().max() > 1e-4 for one, other in combinations(refined, 2))
