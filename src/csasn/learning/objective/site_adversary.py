"""The domain-adversarial site head: the pooled feature learns to tell the classes and not the site it came from."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from csasn.errors import BadInputError
from csasn.learning.objective.labels import Labels, Whole
from csasn.network.distributed import BatchNorm1d, all_reduce_sum, world_size

STEEPNESS = 10.0  # gamma of Ganin's schedule
DAMPING = 3.0  # mu; where it is small the game circles, and the feature tells the site better than it did without


class SiteAdversary(nn.Module):
    """DANN (Ganin 2016, arXiv 1505.07818): a linear head tells the site from the embedding; its gradient is reversed.

    Its cross-entropy L_s, and mu / 2 |W|^2 of its weights, are added to the tasks' loss. The head follows their
    gradient; what lies below the embedding gets that of L_s times -lambda, lambda = `largest` * (2 / (1 + exp(-10 p))
    - 1), p the share of the stage that is over. Head and feature play a game whose gradients turn in circles around
    its solution; the penalty damps it (Mescheder 2018, arXiv 1801.04406), and so do inputs standardised over the
    batch. It knows the training rows' sites alone.
    """

    sites: Tensor
    total: Tensor
    n: Tensor

    def __init__(self, n_features: int, sites: NDArray[np.int64], *, largest: float) -> None:
        """`sites`: the cohort's numbers of the sites that are trained on, each once, ascending."""
        super().__init__()
        self.largest = largest
        self.norm = BatchNorm1d(n_features, affine=False)
        self.head = nn.Linear(n_features, len(sites))
        self.register_buffer("sites", torch.from_numpy(sites))
        for name in ("total", "n"):  # of the epoch so far
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def reversal(self, progress: float) -> float:
        """lambda after a share of the stage."""
        return self.largest * (2 / (1 + math.exp(-STEEPNESS * progress)) - 1)

    def forward(self, embedding: Tensor, labels: Labels, site: Tensor, whole: Whole, progress: float) -> Tensor:
        """Embedding (B, D), labels and the site (L,) of each, by the cohort's numbers -> what it adds to the loss."""
        told = self.head(self.norm(_Reversed.apply(embedding, self.reversal(progress))))[labels.row]
        losses = functional.cross_entropy(told, torch.searchsorted(self.sites, site), reduction="none")
        loss: Tensor = world_size() * (losses * labels.share).sum() / whole.norms["site"]
        if self.training:
            self.total += all_reduce_sum(loss.detach()).double() / world_size()
            self.n += whole.portion
        return loss + whole.portion * DAMPING / 2 * self.head.weight.square().sum()

    def course(self, progress: float) -> dict[str, float]:
        """The epoch's mean L_s, natural logarithm, and lambda now."""
        return {"loss": float(self.total / self.n.clamp(min=1e-12)), "reversal": self.reversal(progress)}

    def end_epoch(self) -> None:
        """An epoch of training is over."""
        self.total.zero_()
        self.n.zero_()


class _Reversed(Function):
    """y = x; the gradient of x is -factor times that of y."""

    @staticmethod
    def forward(context: Any, embedding: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return embedding.view_as(embedding)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.factor * gradients[0], None


def training_sites(site: NDArray[np.int64], train: NDArray[np.int64], *, where: str) -> NDArray[np.int64]:
    """The numbers of the sites of the training rows, ascending; BadInputError where there is but one."""
    found = np.unique(site[train])
    if len(found) < 2:
        raise BadInputError(
            f"A site head (loss.site_adversary) needs training images of at least two sites; {where} has those of "
            "one, and nothing to tell apart. Give --loss.site_adversary 0, or a split that trains on more sites."
        )
    return found
