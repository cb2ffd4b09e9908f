"""Dynamic weights on two levels: classes by their current difficulty, tasks by learned uncertainty."""

import torch
from torch import Tensor, nn

from csasn.config import LossSettings
from csasn.network.sharing import total

EASIEST = 1e-6  # a class learned without rest keeps a weight: zeros would make every mean 0 / 0


class ClassWeights(nn.Module):
    """A weight a class, with mean one over the classes present in training.

    `effective-number` (Cui 2019, arXiv 1901.05555): w_k ~ (1 - beta) / (1 - beta^n_k), n_k images of class k in the
    training partition. `dynamic` (ours) multiplies it by d_k / mean(d), where d_k is the running mean of
    1 - p(true class) over the training rows of class k, kept above 1e-6: a class that is still missed counts more,
    one that is learned counts less. Weights carry no gradient. A class absent from training has weight one and is
    never used.
    """

    base: Tensor
    difficulty: Tensor

    def __init__(self, n_images: list[int], settings: LossSettings) -> None:
        """`n_images`: training images of each class, in class order."""
        super().__init__()
        self.dynamic = settings.classes == "dynamic"
        self.momentum = settings.difficulty_momentum
        counts = torch.tensor(n_images, dtype=torch.float64)
        base = torch.ones_like(counts)
        if settings.classes != "none":
            beta = settings.effective_beta
            base = (1 - beta) / (1 - beta ** counts.clamp(min=1))
        self.register_buffer("base", _mean_one(base, counts > 0).float())
        self.register_buffer("present", counts > 0)
        self.register_buffer("difficulty", torch.ones(len(n_images)))

    def forward(self) -> Tensor:
        """The weights (K,) now."""
        if not self.dynamic:
            return self.base
        return _mean_one(self.base * self.difficulty.clamp(min=EASIEST), self.get_buffer("present"))

    @torch.no_grad()
    def observe(self, probabilities: Tensor, class_index: Tensor) -> None:
        """Follow a training batch: probabilities (B, K) and class index (B,), -1 where the class is unknown."""
        known = class_index >= 0
        index = class_index[known]
        missed = 1 - probabilities[known].gather(1, index[:, None])[:, 0]
        n = total(torch.bincount(index, minlength=len(self.difficulty)))
        all_missed = total(torch.zeros_like(self.difficulty).index_add_(0, index, missed.to(self.difficulty)))
        seen = n > 0
        current = all_missed[seen] / n[seen]
        self.difficulty[seen] = self.momentum * self.difficulty[seen] + (1 - self.momentum) * current


class TaskWeights(nn.Module):
    """Learned uncertainty a task (Kendall 2018, arXiv 1705.07115): total = sum_t exp(-s_t) L_t + s_t / 2.

    With `fixed`, the plain sum. s_t starts at 0, where both are equal.
    """

    def __init__(self, tasks: list[str], settings: LossSettings) -> None:
        super().__init__()
        self.tasks = tasks
        self.log_variance = nn.Parameter(torch.zeros(len(tasks))) if settings.tasks == "uncertainty" else None

    def forward(self, losses: dict[str, Tensor]) -> Tensor:
        """Losses by task -> scalar; a task without a labelled row in the batch is left out."""
        terms = []
        for number, task in enumerate(self.tasks):
            if task not in losses:
                continue
            if self.log_variance is None:
                terms.append(losses[task])
            else:
                s = self.log_variance[number]
                terms.append(torch.exp(-s) * losses[task] + s / 2)
        return torch.stack(terms).sum()


def _mean_one(weights: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, weights / weights[present].mean(), torch.ones_like(weights))
