"""Cascaded channel-spatial attention (CBAM: Woo et al., ECCV 2018, arXiv 1807.06521)."""

import torch
from torch import Tensor, nn

from csasn.network.sharing import BatchNorm2d


class ChannelAttention(nn.Module):
    """Which channels matter: Mc(F) = sigmoid(MLP(avgpool F) + MLP(maxpool F)).

    One bias-free perceptron C -> C/r -> C with ReLU is shared by both poolings.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> gate (B, C, 1, 1) in (0, 1)."""
        average, peak = features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
        gate = self.excite(torch.relu(self.squeeze(average))) + self.excite(torch.relu(self.squeeze(peak)))
        return torch.sigmoid(gate)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Where to look: Ms(F') = sigmoid(BN(conv7x7([max_c F'; mean_c F']))).

    The order max, mean, the convolution without bias and BatchNorm's momentum 0.01 follow the authors' code.
    """

    def __init__(self, *, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm2d(1, momentum=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> gate (B, 1, h, w) in (0, 1)."""
        summary = torch.cat([features.amax(dim=1, keepdim=True), features.mean(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.norm(self.conv(summary)))


class CascadedAttention(nn.Module):
    """Channel attention, then spatial attention of its result: F' = Mc(F) * F, F'' = Ms(F') * F'.

    `parts` switches either off; its gate is then None.
    """

    def __init__(self, channels: int, *, parts: str, reduction: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction=reduction) if "channel" in parts else None
        self.spatial = SpatialAttention() if "spatial" in parts else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Map (B, C, h, w) -> refined map (B, C, h, w), channel gate (B, C, 1, 1), spatial gate (B, 1, h, w)."""
        channel_gate = spatial_gate = None
        if self.channel is not None:
            channel_gate = self.channel(features)
            features = features * channel_gate
        if self.spatial is not None:
            spatial_gate = self.spatial(features)
            features = features * spatial_gate
        return features, channel_gate, spatial_gate
