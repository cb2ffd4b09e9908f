"""A nodule's images attended together: gated attention over their pooled features, then the heads of the classes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csasn.config import NetworkSettings
from csasn.network.heads import HEADS, HeadOutput
from csasn.schema import ClassList

WIDTH = 32  # L of Ilse 2018, who takes 128 for features of 500 numbers and more bags
DROPOUT = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Attended:
    """Logits of each bag, and the attention weights of its images, (B, I), sum one, 0 where padded."""

    output: HeadOutput
    weights: Tensor


class GatedAttention(nn.Module):
    """Gated attention over the images of a nodule (Ilse 2018, arXiv 1802.04712, equation 9).

    z = sum_i a_i h_i, a = softmax_i(w . (tanh(V h_i) * sigmoid(U h_i))), h_i the standardised embedding of image i; the
    heads read z. A nodule of one image has a = 1.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, n_features: int, classes: ClassList, settings: NetworkSettings) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("sd", torch.ones(n_features))
        self.V = nn.Linear(n_features, WIDTH)
        self.U = nn.Linear(n_features, WIDTH)
        self.w = nn.Linear(WIDTH, 1, bias=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = HEADS[settings.head](n_features, classes)

    def forward(self, embeddings: Tensor, present: Tensor) -> Attended:
        """Embeddings (B, I, D) of padded bags and which of their places hold an image (B, I) bool."""
        h = (embeddings - self.mean) / self.sd
        scores: Tensor = self.w(torch.tanh(self.V(h)) * torch.sigmoid(self.U(h)))[..., 0]
        weights = scores.masked_fill(~present, -torch.inf).softmax(dim=1)
        pooled = (weights[..., None] * h.masked_fill(~present[..., None], 0.0)).sum(dim=1)
        return Attended(output=self.head(self.dropout(pooled)), weights=weights)
