"""Channel and spatial attention, one after the other or side by side (CBAM: Woo 2018, arXiv 1807.06521)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.network.sharing import BatchNorm2d

# Which parts act, in turn.
ORDERS = {
    "channel-spatial": ("channel", "spatial"),
    "reversed": ("spatial", "channel"),
    "parallel": ("channel", "spatial"),
    "channel": ("channel",),
    "spatial": ("spatial",),
    "none": (),
}


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
        average = features.mean(dim=(2, 3))
        peak = functional.adaptive_max_pool2d(features, 1).flatten(1)  # amax: the same, its gradient 4 times slower
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
        peak = features.max(dim=1, keepdim=True).values  # amax: the same, its gradient 3 times slower
        summary = torch.cat([peak, features.mean(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.norm(self.conv(summary)))


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

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Map (B, C, h, w) -> refined map (B, C, h, w), channel gate (B, C, 1, 1), spatial gate (B, 1, h, w)."""
        parts = {"channel": self.channel, "spatial": self.spatial}
        gates: dict[str, Tensor] = {}
        refined = features
        for name in self.order:
            gates[name] = parts[name](features if self.parallel else refined)  # type: ignore[misc]
            refined = refined * gates[name]
        return refined, gates.get("channel"), gates.get("spatial")
