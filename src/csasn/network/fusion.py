"""Fusion of the two branches into one map, the transformer first: F_cat = [F_ViT; F_CNN]."""

import torch
from torch import Tensor, nn

from csasn.network.backbones import Features
from csasn.network.distributed import BatchNorm2d


class Fusion(nn.Module):
    """Stack the channels of the branches' maps, which share one grid (B, C_vit + C_cnn, h, w).

    Each joint channel is then standardised over the batch, because the branches' scales differ by an order of
    magnitude and the attention's shared perceptron would otherwise hear only the louder one. No scale is learned here:
    attention and classifier learn theirs, and frozen maps then need no gradient. With `pooled`, each
    branch is reduced to one vector first, which is the paper's literal reading (2176 x 1 x 1): the transformer's
    class token stands for its map.
    """

    def __init__(self, *, channels: int, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.norm = BatchNorm2d(channels, affine=False)

    def forward(self, branches: list[Features]) -> Tensor:
        """Features of one or two branches, the transformer first -> joint map (B, C, h, w), or (B, C, 1, 1)."""
        if self.pooled:
            vectors = [_pooled(each) for each in branches]
            return self.norm(torch.cat(vectors, dim=1)[:, :, None, None])  # type: ignore[no-any-return]
        return self.norm(torch.cat([each.map for each in branches], dim=1).float())  # type: ignore[no-any-return]


def _pooled(features: Features) -> Tensor:
    return features.map.float().mean(dim=(2, 3)) if features.token is None else features.token.float()
