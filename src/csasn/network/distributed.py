"""Sums over all processes that share a training, and the batch normalisation that needs them."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function


def world_size() -> int:
    """How many processes share the work; 1 where there is no parallel training."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with its gradient; the tensor itself where there is one process."""
    return _Total.apply(tensor) if world_size() > 1 else tensor


class _Total(Function):
    """y = sum_p x_p; every process's x receives the sum of all processes' gradients of y."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        summed = tensor.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed


class _OverAllProcesses(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of the whole batch, however many processes share it.

    y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var per channel over the batch and the map, weight and
    bias where it is affine. torch's SyncBatchNorm does the same on a GPU only. With one process this is torch's layer.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, ...) -> the same shape."""
        if not self.training or world_size() == 1:
            return super().forward(features)
        axes = [0, *range(2, features.ndim)]
        column = (1, -1, *(1,) * (features.ndim - 2))
        n = all_reduce_sum(features.new_tensor(features.numel() // features.shape[1]))
        mean = all_reduce_sum(features.sum(axes)) / n
        centred = features - mean.view(column)
        variance = all_reduce_sum(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return centred * scale.view(column)
        return centred * (self.weight * scale).view(column) + self.bias.view(column)


class BatchNorm1d(_OverAllProcesses, nn.BatchNorm1d):
    """Over (B, C)."""


class BatchNorm2d(_OverAllProcesses, nn.BatchNorm2d):
    """Over (B, C, H, W)."""
