"""CSASN: two branches, fused, refined by attention, read by the residual multiscale classifier, told by the heads."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from csasn.config import NetworkSettings
from csasn.network.attention import CascadedAttention
from csasn.network.backbones import Branch, Features
from csasn.network.classifier import Pooling, ResidualMultiscale
from csasn.network.distributed import BatchNorm1d
from csasn.network.fusion import Fusion
from csasn.network.heads import HEADS
from csasn.network.scsa import SynergisticAttention
from csasn.schema import ClassList


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Images (B', 1, H, W), and the two of them (B,) whose features are blended to make each row of a batch.

    See `Features.blended`: row i is lam * own[i] + (1 - lam) * other[i].
    """

    images: Tensor
    own: NDArray[np.int64] | slice
    other: NDArray[np.int64]
    lam: float


Given = Tensor | Pairs | dict[str, Features]  # images, pairs of images to blend, or features by branch


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Logits and the named intermediates, so that explaining needs no hooks.

    Attributes:
        logits: log-probability of each class (B, K), in class order.
        malignancy: logit of p(malignant) (B,).
        energy: minus the log-sum-exp of the unnormalised logits (B,).
        features: what each branch gave, by name.
        fused_map: joint map before attention (B, C, h, w).
        channel_gate: (B, C, 1, 1), None where channel attention is off.
        spatial_gate: (B, 1, h, w), or of each channel (B, C, h, w) for SCSA; None where spatial attention is off.
        embedding: pooled vector that the heads read (B, D).
    """

    logits: Tensor
    malignancy: Tensor
    energy: Tensor
    features: dict[str, Features]
    fused_map: Tensor
    channel_gate: Tensor | None
    spatial_gate: Tensor | None
    embedding: Tensor


class FusionHead(nn.Module):
    """Everything above the branches: fusion, attention, classifier and heads; it learns from cached features too.

    The class token has no place on a map: in map fusion it joins the embedding after pooling, standardised. In
    pooled fusion it is the transformer's vector already. `n_features` is the length of the embedding.
    """

    def __init__(self, settings: NetworkSettings, classes: ClassList) -> None:
        super().__init__()
        widths = {"vit": settings.vit_channels, "cnn": settings.cnn_channels}
        self.used = [name for name in widths if settings.branches in ("both", name)]
        channels = sum(widths[name] for name in self.used)
        self.fusion = Fusion(channels=channels, pooled=settings.fusion == "pooled")
        self.attention: nn.Module
        if settings.attention == "scsa":
            self.attention = SynergisticAttention(channels)
        else:
            self.attention = CascadedAttention(channels, order=settings.attention, reduction=settings.reduction)
        self.classifier: nn.Module
        if settings.classifier == "linear":
            self.classifier, n_features = Pooling(), channels
        else:
            residual = settings.classifier == "residual-multiscale"
            n_features = settings.classifier_channels
            self.classifier = ResidualMultiscale(channels, width=n_features, residual=residual)
        self.map_dropout = nn.Dropout2d(settings.feature_dropout)
        self.token_dropout = nn.Dropout(settings.feature_dropout)
        has_token = "vit" in self.used and settings.fusion == "maps"
        self.token_norm = BatchNorm1d(settings.vit_channels) if has_token else None
        self.dropout = nn.Dropout(settings.dropout)
        self.n_features = n_features + (settings.vit_channels if has_token else 0)
        self.output = HEADS[settings.head](self.n_features, classes)

    def forward(self, branches: dict[str, Features]) -> Output:
        """Features by branch name ("vit", "cnn") -> logits and intermediates."""
        fused = self.fusion([branches[name] for name in self.used])
        attended = self.attention(self.map_dropout(fused))
        embedding = self.classifier(attended)
        if self.token_norm is not None:
            token = self.token_norm(branches["vit"].token.float())  # type: ignore[union-attr]  # a transformer's
            embedding = torch.cat([embedding, self.token_dropout(token)], dim=1)
        output = self.output(self.dropout(embedding))
        return Output(
            logits=output.logits,
            malignancy=output.malignancy,
            energy=output.energy,
            features=branches,
            fused_map=fused,
            channel_gate=attended.channel_gate,
            spatial_gate=attended.spatial_gate,
            embedding=embedding,
        )

    def last_shared(self) -> list[nn.Parameter]:
        """The parameters of the last part before the heads that has any: what every task's gradient passes."""
        parts = (self.classifier, self.attention)
        return next((found for part in parts if (found := list(part.parameters()))), [])


class Csasn(nn.Module):
    """The whole network, from grey images (B, 1, H, W) in [0, 1] to logits and named intermediates."""

    def __init__(self, branches: dict[str, Branch], head: FusionHead) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: branches[name] for name in head.used})
        self.head = head

    def forward(self, given: Given) -> Output:
        """Images (B, 1, H, W) in [0, 1], pairs of them, or features by branch, finished or not -> Output."""
        if isinstance(given, Tensor):
            features = {name: branch(given) for name, branch in self.branches.items()}
        elif isinstance(given, Pairs):
            features = {
                name: branch(given.images).blended(given.own, given.other, given.lam)
                for name, branch in self.branches.items()
            }
        else:
            features = {name: self._finished(name, given[name]) for name in self.branches}
        output: Output = self.head(features)
        return output

    def _finished(self, name: str, features: Features) -> Features:
        return self.branches[name].finish(features) if features.n_blocks_left else features  # type: ignore[operator]


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Trainable numbers in each part: the branches by name, fusion, attention, classifier and head."""
    parts: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        path = name.split(".")
        part = path[1] if path[0] in ("branches", "head") else path[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    return parts
