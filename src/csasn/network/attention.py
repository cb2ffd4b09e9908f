"""Channel and spatial attention, one after the other or side by side (CBAM: Woo 2018, arXiv 1807.06521)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csasn.network.distributed import BatchNorm2d
from csasn.network.fused_pooling import over_channels, over_positions

# Which parts act, in turn.
ORDERS = {
    "channel-spatial": ("channel", "spatial"),
    "reversed": ("spatial", "channel"),
    "parallel": ("channel", "spatial"),
    "channel": ("channel",),
    "spatial": ("spatial",),
    "none": (),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attended:
    """A map and its gates.

    Attributes:
        map: (B, C, h, w), with every gate but `last`.
        last: gate of places (B, 1, h, w) that the reader of the map has still to multiply, or None. A 1 x 1
            convolution without bias may do so after it, on fewer channels, with the same result.
        channel_gate: (B, C, 1, 1), None where channel attention is off.
        spatial_gate: (B, 1, h, w), or of each channel (B, C, h, w) for SCSA; None where spatial attention is off.
    """

    map: Tensor
    last: Tensor | None = None
    channel_gate: Tensor | None = None
    spatial_gate: Tensor | None = None

    def refined(self) -> Tensor:
        """The map with every gate, (B, C, h, w)."""
        return self.map if self.last is None else self.map * self.last


class ChannelAttention(nn.Module):
    """Which channels matter: Mc(F) = sigmoid(MLP(avgpool F) + MLP(maxpool F)).

    One bias-free perceptron C -> C/r -> C with ReLU is shared by both poolings.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) -> the same map, to go on with, and its gate (B, C, 1, 1) in (0, 1)."""
        features, average, peak = over_positions(features)
        pooled = torch.cat([average, peak]).flatten(1)
        of_average, of_peak = self.excite(torch.relu(self.squeeze(pooled))).chunk(2)
        return features, torch.sigmoid(of_average + of_peak)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Where to look: Ms(F') = sigmoid(BN(conv7x7([max_c F'; mean_c F']))).

    The order max, mean, the convolution without bias and BatchNorm's momentum 0.01 follow the authors' code.
    """

    def __init__(self, *, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm2d(1, momentum=0.01)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, h, w) -> the same map, to go on with, and its gate (B, 1, h, w) in (0, 1)."""
        features, average, peak = over_channels(features)
        return features, torch.sigmoid(self.norm(self.conv(torch.cat([peak, average], dim=1))))


class CascadedAttention(nn.Module):
    """Channel attention, then spatial attention of its result: F' = Mc(F) * F, F'' = Ms(F') * F'.

    `order` is one of ORDERS: either part alone, or none (its gate is then None); reversed, F' = Ms(F) * F and
    F'' = Mc(F') * F'; or parallel, F'' = Mc(F) * Ms(F) * F, where both see the map as it came (the orders that Woo
    2018 compares in table 3, whose parallel formula is not printed: this one is ours).
    """

    def __init__(self, channels: int, *, order: str, reduction: int) -> None:
        super().__init__()
        self.order, self.parallel = ORDERS[order], order == "parallel"
        self.channel = ChannelAttention(channels, reduction=reduction) if "channel" in self.order else None
        self.spatial = SpatialAttention() if "spatial" in self.order else None

    def forward(self, features: Tensor) -> Attended:
        """Map (B, C, h, w) -> the map with its gates; a gate of places that comes last is left to the reader."""
        parts = {"channel": self.channel, "spatial": self.spatial}
        gates: dict[str, Tensor] = {}
        for name in self.order:
            features, gates[name] = parts[name](features)  # type: ignore[misc]
            if name != self.order[-1] and not self.parallel:
                features = features * gates[name]
        if self.parallel or self.order[-1:] == ("channel",):
            features = features * gates["channel"]
        spatial_comes_last = self.parallel or self.order[-1:] == ("spatial",)
        return Attended(
            map=features,
            last=gates["spatial"] if spatial_comes_last else None,
            channel_gate=gates.get("channel"),
            spatial_gate=gates.get("spatial"),
        )
