"""Class weights: from the training fold's counts, and from how difficult each class still is."""

import torch
from torch import Tensor, nn

from csasn.config import LossSettings
from csasn.network.distributed import all_reduce_sum

EASIEST = 1e-6  # a class learned without rest keeps a weight: zeros would make every mean 0 / 0
BY_EFFECTIVE_NUMBER = ("effective-number", "dynamic", "ldam-drw")
LATE = 0.8  # share of a stage after which LDAM-DRW's weights begin (Cao 2019: epoch 160 of 200)


class ClassWeights(nn.Module):
    """A weight a class, with mean one over the classes present in training.

    `inverse-frequency`: w_k ~ 1 / n_k, n_k images of class k in the training partition.
    `effective-number` (Cui 2019, arXiv 1901.05555): w_k ~ (1 - beta) / (1 - beta^n_k).
    `dynamic` (ours) multiplies the effective number by d_k / mean(d), where d_k is the running mean of
    1 - p(true class) over the training rows of class k, kept above 1e-6: a class that is still missed counts more,
    one that is learned counts less.
    `ldam-drw` (Cao 2019, arXiv 1906.07413): one until four fifths of the stage, then the effective number.
    Every other name: one. Weights carry no gradient. A class absent from training has weight one and is never used.
    """

    base: Tensor
    difficulty: Tensor
    present: Tensor
    n: Tensor
    missed: Tensor

    def __init__(self, n_images: list[float], settings: LossSettings) -> None:
        """`n_images`: training images of each class, in class order; shares of draws where they are sampled."""
        super().__init__()
        self.kind = settings.classes
        self.momentum = settings.difficulty_momentum
        counts = torch.tensor(n_images, dtype=torch.float64)
        base = torch.ones_like(counts)
        if self.kind == "inverse-frequency":
            base = 1 / counts.clamp(min=1)
        elif self.kind in BY_EFFECTIVE_NUMBER:
            beta = settings.effective_beta
            base = (1 - beta) / (1 - beta ** counts.clamp(min=1))
        self.register_buffer("base", _mean_one(base, counts > 0).float())
        self.register_buffer("present", counts > 0)
        self.register_buffer("difficulty", torch.ones(len(n_images)))
        for name in ("n", "missed"):  # of the step so far: a state is saved only between steps
            self.register_buffer(name, torch.zeros(len(n_images)), persistent=False)

    def forward(self, progress: Tensor | float = 1.0) -> Tensor:
        """The weights (K,) now; `progress` is the share of the stage that is over."""
        if self.kind == "ldam-drw" and progress < LATE:
            return torch.ones_like(self.base)
        if self.kind != "dynamic":
            return self.base
        return _mean_one(self.base * self.difficulty.clamp(min=EASIEST), self.present)

    @torch.no_grad()
    def observe(self, probabilities: Tensor, class_index: Tensor, share: Tensor) -> None:
        """Follow a part of a step: probabilities (L, K), class index (L,), -1 where unknown, and share (L,)."""
        known = class_index >= 0
        index, counted = class_index[known], share[known].to(self.difficulty)
        missed = 1 - probabilities[known].gather(1, index[:, None])[:, 0].to(self.difficulty)
        self.n.index_add_(0, index, counted)
        self.missed.index_add_(0, index, counted * missed)

    @torch.no_grad()
    def end_step(self) -> None:
        """The difficulty of each class that the step showed follows what was missed of it, in all processes."""
        n, missed = all_reduce_sum(self.n), all_reduce_sum(self.missed)
        seen = n > 0
        current = missed[seen] / n[seen]
        self.difficulty[seen] = self.momentum * self.difficulty[seen] + (1 - self.momentum) * current
        self.n.zero_()
        self.missed.zero_()


def _mean_one(weights: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, weights / weights[present].mean(), torch.ones_like(weights))
