"""Heads: one coherent distribution over the classes, by the chain rule or flat."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.schema import ClassList


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadOutput:
    """Logits of one batch.

    Attributes:
        logits: log-probability of each class (B, K), in class order; softmax gives the probabilities.
        malignancy: logit of p(malignant) (B,).
        energy: minus the log-sum-exp of the head's logits before they are normalised (B,); Liu 2020, arXiv 2010.03759.
    """

    logits: Tensor
    malignancy: Tensor
    energy: Tensor


class ChainHead(nn.Module):
    """Malignancy first, then the class within its group.

    p(malignant) = sigmoid(m); p(k) = sigmoid(m) softmax(s)_k for a malignant class k, and
    p(j) = (1 - sigmoid(m)) softmax(b)_j for a non-malignant class j. A group of one class needs no softmax.

    The chain has no single softmax, so that its energy is a choice of ours: -log(sum_j exp(b_j - m/2) +
    sum_k exp(s_k + m/2)), each leaf with its own logit and half of the root's; the logit of a lone class is 0.
    """

    def __init__(self, n_features: int, classes: ClassList) -> None:
        super().__init__()
        n_benign, n_cancer = len(classes.non_malignant), len(classes.malignant)
        self.malignancy = nn.Linear(n_features, 1)
        self.non_malignant = nn.Linear(n_features, n_benign) if n_benign > 1 else None
        self.malignant = nn.Linear(n_features, n_cancer) if n_cancer > 1 else None

    def forward(self, embedding: Tensor) -> HeadOutput:
        """Embedding (B, D) -> log-probabilities (B, K) and malignancy logit (B,)."""
        m: Tensor = self.malignancy(embedding)
        b, s = self._within(self.non_malignant, embedding), self._within(self.malignant, embedding)
        benign = functional.logsigmoid(-m) + b.log_softmax(dim=1)
        cancer = functional.logsigmoid(m) + s.log_softmax(dim=1)
        energy = -torch.cat([b - m / 2, s + m / 2], dim=1).logsumexp(dim=1)
        return HeadOutput(logits=torch.cat([benign, cancer], dim=1), malignancy=m[:, 0], energy=energy)

    @staticmethod
    def _within(layer: nn.Linear | None, embedding: Tensor) -> Tensor:
        return embedding.new_zeros(len(embedding), 1) if layer is None else layer(embedding)


class FlatHead(nn.Module):
    """One softmax over all classes; p(malignant) is the sum over the malignant ones."""

    def __init__(self, n_features: int, classes: ClassList) -> None:
        super().__init__()
        self.n_non_malignant = classes.n_non_malignant
        self.classes = nn.Linear(n_features, len(classes.names))

    def forward(self, embedding: Tensor) -> HeadOutput:
        """Embedding (B, D) -> log-probabilities (B, K) and malignancy logit (B,)."""
        raw = self.classes(embedding)
        logits, n = raw.log_softmax(dim=1), self.n_non_malignant
        malignancy = logits[:, n:].logsumexp(1) - logits[:, :n].logsumexp(1)
        return HeadOutput(logits=logits, malignancy=malignancy, energy=-raw.logsumexp(dim=1))


HEADS: dict[str, type[ChainHead] | type[FlatHead]] = {"chain": ChainHead, "flat": FlatHead}
