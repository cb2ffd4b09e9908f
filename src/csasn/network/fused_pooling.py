"""Averages and peaks of a map over its positions or its channels, which attention reads beside the map itself."""

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn import functional


def over_positions(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Map (B, C, h, w) -> the same map, its mean and its maximum over the positions, (B, C, 1, 1) each."""
    return _OverPositions.apply(features)  # type: ignore[no-any-return]


def over_channels(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Map (B, C, h, w) -> the same map, its mean and its maximum over the channels, (B, 1, h, w) each."""
    return _OverChannels.apply(features)  # type: ignore[no-any-return]


def over_lines(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Map (B, C, h, w) -> the same map, the means of its rows (B, C, h, 1) and of its columns (B, C, 1, w)."""
    return _OverLines.apply(features)  # type: ignore[no-any-return]


class _Summary(Function):
    """The map goes through, so that whoever goes on with it sends all three gradients back at once.

    torch would make a whole map of each summary's gradient, laid out otherwise than the map, and add the three up: on a
    CPU the head of a frozen network waits for memory, and what such a step moves is what it costs.
    """

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        of_map, of_mean, of_peak = gradients
        (at,) = context.saved_tensors
        b, c, h, w = of_map.shape
        axis = context.axis  # of (B, C, h w): what was summarised, and where in it each maximum was
        whole = of_map + of_mean / (b, c, h * w)[axis]
        whole.view(b, c, h * w).scatter_add_(axis, at, of_peak.reshape(at.shape))
        return whole


class _OverPositions(_Summary):
    @staticmethod
    def forward(context: Any, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        peak, at = functional.adaptive_max_pool2d(features, 1, return_indices=True)
        context.save_for_backward(at.flatten(2))
        context.axis = 2
        return features.view_as(features), features.mean(dim=(2, 3), keepdim=True), peak


class _OverChannels(_Summary):
    @staticmethod
    def forward(context: Any, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        peak, at = features.max(dim=1, keepdim=True)
        context.save_for_backward(at.flatten(2))
        context.axis = 1
        return features.view_as(features), features.mean(dim=1, keepdim=True), peak


class _OverLines(Function):
    @staticmethod
    def forward(_context: Any, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return features.view_as(features), features.mean(dim=3, keepdim=True), features.mean(dim=2, keepdim=True)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        of_map, of_rows, of_columns = gradients
        h, w = of_map.shape[2:]
        return of_map + of_rows / w + of_columns / h
