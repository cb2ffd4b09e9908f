"""SCSA against loops written from its formulae (Si et al. 2024), without torch's layers."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from csasn.errors import BadInputError
from csasn.network.scsa import KERNEL_SIZES, N_HEADS, MultiSemanticSpatial, ProgressiveChannel, SynergisticAttention

Array = NDArray[np.float64]
C = 16


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def numbers(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def group_normalised(x: Array, norm: torch.nn.GroupNorm) -> Array:
    """x (C, ...) of one image, standardised within each group of channels."""
    out = np.empty_like(x)
    n = len(x) // norm.num_groups
    for group in range(norm.num_groups):
        own = x[group * n : (group + 1) * n]
        out[group * n : (group + 1) * n] = (own - own.mean()) / math.sqrt(own.var() + norm.eps)
    shape = (-1, *(1,) * (x.ndim - 1))
    return out * numbers(norm.weight).reshape(shape) + numbers(norm.bias).reshape(shape)


def convolved(line: Array, module: MultiSemanticSpatial) -> Array:
    """A profile (C, L), one channel and one place at a time, zeros beyond the ends."""
    out, quarter = np.zeros_like(line), len(line) // 4
    for c in range(len(line)):
        view, size = module.views[c // quarter], KERNEL_SIZES[c // quarter]
        kernel, bias = numbers(view.weight)[c % quarter, 0, :, 0], numbers(view.bias)[c % quarter]
        for at in range(line.shape[1]):
            reached = [(at + d, d + size // 2) for d in range(-(size // 2), size // 2 + 1)]
            out[c, at] = bias + sum(line[c, i] * kernel[d] for i, d in reached if 0 <= i < line.shape[1])
    return out


def spatial_gate(x: Array, module: MultiSemanticSpatial) -> Array:
    h, w = x.shape[1:]
    rows = np.array([[sum(x[c, i]) / w for i in range(h)] for c in range(len(x))])
    columns = np.array([[sum(x[c, :, j]) / h for j in range(w)] for c in range(len(x))])
    rows = sigmoid(group_normalised(convolved(rows, module), module.norm_rows))
    columns = sigmoid(group_normalised(convolved(columns, module), module.norm_columns))
    return np.array([[[rows[c, i] * columns[c, j] for j in range(w)] for i in range(h)] for c in range(len(x))])


def channel_gate(x: Array, module: ProgressiveChannel) -> Array:
    h, w = x.shape[1:]
    high, wide = min(7, h), min(7, w)
    places = [(i, j) for i in range(h // high) for j in range(w // wide)]
    pooled = np.array(
        [[x[c, i * high : (i + 1) * high, j * wide : (j + 1) * wide].mean() for i, j in places] for c in range(len(x))]
    )
    y = group_normalised(pooled, module.norm)
    q, k, v = (y * numbers(each.weight)[:, 0, :, 0] for each in (module.query, module.key, module.value))
    gate, d = np.zeros(len(x)), len(x) // N_HEADS
    for head in range(N_HEADS):
        own = range(head * d, (head + 1) * d)
        for c in own:
            likeness = np.exp([q[c] @ k[other] / math.sqrt(d) for other in own])
            weights = likeness / likeness.sum()
            gate[c] = np.mean(sum(weight * v[other] for weight, other in zip(weights, own, strict=True)))
    return sigmoid(gate)[:, None, None]


@pytest.mark.parametrize("shape", [(7, 7), (5, 6), (14, 21), (1, 1)], ids=str)
def test_it_is_the_formula(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module = SynergisticAttention(C).double()
    with torch.no_grad():
        for name, each in module.named_parameters():
            if "norm" in name:
                each.normal_(1.0 if name.endswith("weight") else 0.0, 0.3)
            elif "channel" in name:
                each.normal_()
    features = torch.randn(2, C, *shape, dtype=torch.float64)
    attended = module(features)
    refined, of_channel, of_place = attended.refined(), attended.channel_gate, attended.spatial_gate
    for b, x in enumerate(features.numpy()):
        place = spatial_gate(x, module.spatial)
        channel = channel_gate(x * place, module.channel)
        np.testing.assert_allclose(numbers(of_place)[b], place, atol=1e-12)
        np.testing.assert_allclose(numbers(of_channel)[b], channel, atol=1e-12)
        np.testing.assert_allclose(numbers(refined)[b], x * place * channel, atol=1e-12)
    assert of_channel.std() > 1e-3


def test_it_has_the_parameters_of_the_paper() -> None:
    """Convolutions of C/4 channels with a bias, three affine normalisations of C, three numbers a channel."""
    expected = sum(C // 4 * (size + 1) for size in (3, 5, 7, 9)) + 3 * 2 * C + 3 * C
    assert sum(each.numel() for each in SynergisticAttention(C).parameters()) == expected


def test_channels_that_no_heads_can_share_are_refused() -> None:
    with pytest.raises(BadInputError, match="8 heads; received 20"):
        SynergisticAttention(20)
