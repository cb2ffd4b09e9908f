"""The residual multiscale classifier against loops written from its formula."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from csasn.network.attention import Attended
from csasn.network.classifier import KERNEL_SIZES, Pooling, ResidualMultiscale

Array = NDArray[np.float64]


def pointwise(x: Array, weight: Array) -> Array:
    """1 x 1 convolution: y_o = sum_c w_oc x_c at every place."""
    y = np.zeros((x.shape[0], weight.shape[0], *x.shape[2:]))
    for o in range(weight.shape[0]):
        for c in range(x.shape[1]):
            y[:, o] += weight[o, c, 0, 0] * x[:, c]
    return y


def depthwise(x: Array, weight: Array) -> Array:
    """k x k cross-correlation of each channel with its own kernel, zeros outside."""
    n, channels, h, w = x.shape
    reach = weight.shape[2] // 2
    y = np.zeros_like(x)
    for b in range(n):
        for c in range(channels):
            for i in range(h):
                for j in range(w):
                    for di in range(-reach, reach + 1):
                        for dj in range(-reach, reach + 1):
                            if 0 <= i + di < h and 0 <= j + dj < w:
                                y[b, c, i, j] += weight[c, 0, di + reach, dj + reach] * x[b, c, i + di, j + dj]
    return y


def normalised(x: Array, norm: nn.BatchNorm2d, *, training: bool) -> Array:
    """Batch normalisation channel by channel; the biased variance of the batch in training."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        mean, variance = norm.running_mean[c].item(), norm.running_var[c].item()
        if training:
            values = x[:, c]
            mean = values.sum() / values.size
            variance = ((values - mean) ** 2).sum() / values.size
        y[:, c] = (x[:, c] - mean) / math.sqrt(variance + norm.eps) * norm.weight[c].item() + norm.bias[c].item()
    return y


def reference(x: Array, module: ResidualMultiscale, *, training: bool) -> Array:
    def weights(layer: nn.Module) -> Array:
        return layer.weight.detach().numpy()

    reduced = np.maximum(normalised(pointwise(x, weights(module.reduce[0])), module.reduce[1], training=training), 0)
    views = []
    for view in module.views:
        mixed = pointwise(depthwise(reduced, weights(view[0])), weights(view[1]))
        views.append(np.maximum(normalised(mixed, view[2], training=training), 0))
    joint = np.concatenate(views, axis=1)
    merged = normalised(pointwise(joint, weights(module.merge[0])), module.merge[1], training=training)
    out = np.maximum(merged + reduced if module.residual else merged, 0)
    return out.reshape(*out.shape[:2], -1).sum(axis=2) / (out.shape[2] * out.shape[3])


def unsettled(*, residual: bool) -> ResidualMultiscale:
    """Every BatchNorm away from its initial values, the merge's zero scale included."""
    torch.manual_seed(3)
    module = ResidualMultiscale(6, width=4, residual=residual).double()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(std=0.3)
    return module


@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_it_is_the_formula(residual: bool, training: bool) -> None:
    module = unsettled(residual=residual).train(training)
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = reference(x.numpy(), module, training=training)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(module(Attended(map=x)).detach().numpy(), expected, atol=1e-12)


def test_there_is_one_view_a_kernel_size() -> None:
    module = ResidualMultiscale(6, width=4, residual=True)
    assert [view[0].kernel_size for view in module.views] == [(1, 1), (3, 3), (5, 5)]
    assert len(KERNEL_SIZES) == 3


def test_training_starts_from_the_shortcut() -> None:
    torch.manual_seed(0)
    module = ResidualMultiscale(6, width=4, residual=True).eval()
    x = torch.randn(2, 6, 4, 5)
    assert torch.equal(module(Attended(map=x)), module.reduce(x).mean(dim=(2, 3)))


def test_without_the_shortcut_the_merge_starts_at_one() -> None:
    torch.manual_seed(0)
    module = ResidualMultiscale(6, width=4, residual=False).eval()
    assert torch.equal(module.merge[1].weight, torch.ones(4))
    assert module(Attended(map=torch.randn(2, 6, 4, 5))).abs().sum() > 0


def test_pooling_is_the_mean_over_the_map() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert Pooling()(Attended(map=x)).tolist() == [[5.5, 17.5]]


NECKS = {"residual": unsettled(residual=True), "plain": unsettled(residual=False), "pooling": Pooling()}


@pytest.mark.parametrize("module", NECKS.values(), ids=NECKS)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_gate_left_to_the_classifier_is_a_gate_of_the_map(module: nn.Module, training: bool) -> None:
    numbers = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64, generator=numbers)
    gate = torch.rand(2, 1, 4, 5, dtype=torch.float64, generator=numbers)
    module.train(training)
    left, applied = (module(each) for each in (Attended(map=x, last=gate), Attended(map=x * gate)))
    assert not torch.allclose(left, module(Attended(map=x)))
    torch.testing.assert_close(left, applied, rtol=0, atol=1e-12)
