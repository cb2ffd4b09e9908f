"""BatchNorm that keeps its statistics is folded into the convolution before it, with the same values and gradients."""

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn import functional


def fold_norms(network: EfficientNet) -> int:
    """Let each convolution of an EfficientNet take over the BatchNorm that follows it; how many did.

    With the statistics m, v kept, gamma (W x - m) / sqrt(v + eps) + beta is one convolution with s W and beta - s m,
    where s = gamma / sqrt(v + eps): two passes over the map fewer forwards, and three backwards, where the gradients
    of gamma and beta come from the small s W instead of the map. Parameters, buffers and their names stay. While a
    BatchNorm learns its statistics, it runs as ever.
    """
    n_folded = 0
    for block in network.modules():
        before: nn.Module | None = None
        for child in block.children():
            if isinstance(before, nn.Conv2d) and isinstance(child, BatchNormAct2d):
                before.__dict__["norm"] = child  # no submodule: its parameters keep their one name
                before.__class__ = _FoldedSame if isinstance(before, Conv2dSame) else _Folded
                child.__class__ = _FoldedNorm
                n_folded += 1
            before = child
    return n_folded


class _Folded(nn.Conv2d):
    """A convolution that scales and shifts as the BatchNorm after it says."""

    def forward(self, given: Tensor) -> Tensor:
        """Map (B, C, H, W) -> map, normalised already where the BatchNorm keeps its statistics."""
        norm: Any = self.__dict__["norm"]
        if norm.training:
            return super().forward(given)
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight, shift = self.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        return self.convolved(given, weight, shift)

    def convolved(self, given: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        """The convolution with other weights."""
        return functional.conv2d(given, weight, shift, self.stride, self.padding, self.dilation, self.groups)


class _FoldedSame(_Folded, Conv2dSame):
    """The same, padded as TensorFlow pads."""

    def convolved(self, given: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        """The convolution with other weights."""
        padded = pad_same(given, list(self.kernel_size), list(self.stride), list(self.dilation))
        return functional.conv2d(padded, weight, shift, self.stride, (0, 0), self.dilation, self.groups)


class _FoldedNorm(BatchNormAct2d):
    """What is left of a BatchNorm that its convolution has taken over: dropout and activation."""

    def forward(self, given: Tensor) -> Tensor:
        """Map (B, C, H, W) -> the same shape."""
        found: Tensor = super().forward(given) if self.training else self.act(self.drop(given))  # type: ignore[no-untyped-call]
        return found
