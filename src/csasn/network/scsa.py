"""Spatial and channel synergistic attention (SCSA: Si et al. 2024, arXiv 2407.05128), the alternative to CBAM."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.errors import BadInputError
from csasn.network.attention import Attended
from csasn.network.fused_pooling import over_lines

KERNEL_SIZES = (3, 5, 7, 9)  # one for each quarter of the channels
N_HEADS = 8
WINDOW = 7  # cells a side that are averaged before the channels attend to each other


class MultiSemanticSpatial(nn.Module):
    """Where to look, by row and by column: A_h = sigmoid(GN4_h(DW(mean_w F))), A_w = sigmoid(GN4_w(DW(mean_h F))).

    DW are four one-dimensional depthwise convolutions, of 3, 5, 7 and 9 cells, each on a quarter of the channels; rows
    and columns share them. The normalisations over the four quarters are their own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // len(KERNEL_SIZES)
        self.views = nn.ModuleList(
            nn.Conv2d(quarter, quarter, (size, 1), padding=(size // 2, 0), groups=quarter) for size in KERNEL_SIZES
        )
        self.norm_rows = nn.GroupNorm(len(KERNEL_SIZES), channels)
        self.norm_columns = nn.GroupNorm(len(KERNEL_SIZES), channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) -> the same map, to go on with, and its gate (B, C, h, w) in (0, 1), the product A_h A_w."""
        features, rows, columns = over_lines(features)
        down = torch.sigmoid(self.norm_rows(self._seen(rows)))
        across = torch.sigmoid(self.norm_columns(self._seen(columns.transpose(2, 3))))
        # Multiplied as the maps lie in memory, channels last: products of two layouts are several times as slow.
        gate = down.permute(0, 2, 3, 1).contiguous() * across.permute(0, 3, 2, 1).contiguous()
        return features, gate.permute(0, 3, 1, 2)

    def _seen(self, line: Tensor) -> Tensor:
        """Profile (B, C, L, 1) -> the same shape, each quarter of the channels through its own convolution."""
        quarters = line.contiguous(memory_format=torch.channels_last).chunk(len(KERNEL_SIZES), dim=1)
        return torch.cat([view(quarter) for view, quarter in zip(self.views, quarters, strict=True)], dim=1)


class ProgressiveChannel(nn.Module):
    """Which channels matter, told by channels that attend to each other: sigmoid(mean(softmax(Q K' / sqrt d) V)).

    Q, K and V are depthwise 1x1 projections of GN1(pool F'), dealt to heads of d channels; each position of the pooled
    map is one number of a channel's query. Pooled are windows of 7 x 7 cells, or the whole map where it is smaller.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.query, self.key, self.value = (
            nn.Conv2d(channels, channels, 1, bias=False, groups=channels) for _ in range(3)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> gate (B, C, 1, 1) in (0, 1)."""
        window = (min(WINDOW, features.shape[2]), min(WINDOW, features.shape[3]))
        pooled = self.norm(functional.avg_pool2d(features, window))
        query, key, value = (
            part(pooled).flatten(2).clone(memory_format=torch.contiguous_format).unflatten(1, (N_HEADS, -1))
            for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, scale=query.shape[2] ** -0.5)
        return torch.sigmoid(seen.flatten(1, 2).mean(dim=2))[:, :, None, None]


class SynergisticAttention(nn.Module):
    """Spatial attention of each channel guides channel attention: F' = A_h A_w F, F'' = Mc(F') F'."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % N_HEADS:
            raise BadInputError(
                f"network.attention scsa deals the joint map's channels to {N_HEADS} heads; received {channels}. "
                "Take branches whose channels add up to a multiple of it, or another network.attention."
            )
        self.spatial = MultiSemanticSpatial(channels)
        self.channel = ProgressiveChannel(channels)

    def forward(self, features: Tensor) -> Attended:
        """Map (B, C, h, w) -> the map with its gates."""
        features, spatial_gate = self.spatial(features)
        seen = features * spatial_gate
        channel_gate = self.channel(seen)
        return Attended(map=seen * channel_gate, channel_gate=channel_gate, spatial_gate=spatial_gate)
