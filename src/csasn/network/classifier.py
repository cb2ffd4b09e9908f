"""The residual multiscale classifier: 1x1, 3x3 and 5x5 views of the refined map beside a shortcut."""

import torch
from torch import Tensor, nn

from csasn.network.attention import Attended
from csasn.network.distributed import BatchNorm2d

KERNEL_SIZES = (1, 3, 5)


class DepthwiseSeparable(nn.Sequential):
    """A k x k convolution a channel, then a 1 x 1 across channels, BatchNorm and ReLU."""

    def __init__(self, channels: int, *, kernel_size: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            BatchNorm2d(channels),
            nn.ReLU(),
        )


class ResidualMultiscale(nn.Module):
    """y = reduce(F); out = relu(y + merge([view_1(y); view_3(y); view_5(y)])); pooled over the map.

    `reduce` is a 1 x 1 convolution from C to `width` channels with BatchNorm and ReLU, so that the three views cost
    the same whatever the branches; `merge` is a 1 x 1 convolution from 3 * width to width with BatchNorm, whose
    scale starts at zero: training starts from the shortcut (Goyal 2017, arXiv 1706.02677, section 5.1). Without
    `residual` the sum loses y and merge starts at one.
    """

    def __init__(self, channels: int, *, width: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), BatchNorm2d(width), nn.ReLU())
        self.views = nn.ModuleList(DepthwiseSeparable(width, kernel_size=size) for size in KERNEL_SIZES)
        self.merge = nn.Sequential(
            nn.Conv2d(width * len(KERNEL_SIZES), width, 1, bias=False), norm := BatchNorm2d(width)
        )
        if residual:
            nn.init.zeros_(norm.weight)

    def forward(self, attended: Attended) -> Tensor:
        """Attended map (B, C, h, w) -> embedding (B, width)."""
        narrow = self.reduce[0](attended.map)
        if attended.last is not None:  # the convolution and the gate of places may change places
            narrow = narrow * attended.last
        reduced = self.reduce[1:](narrow)
        merged = self.merge(torch.cat([view(reduced) for view in self.views], dim=1))
        if self.residual:
            merged = merged + reduced
        return torch.relu(merged).mean(dim=(2, 3))


class Pooling(nn.Module):
    """The plain alternative: global average pooling alone."""

    def forward(self, attended: Attended) -> Tensor:
        """Attended map (B, C, h, w) -> embedding (B, C)."""
        return attended.refined().mean(dim=(2, 3))
