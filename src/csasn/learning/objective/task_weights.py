"""Task weights: fixed, learned uncertainty, the pace of each loss, or balanced gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from csasn.config import LossSettings
from csasn.network.distributed import all_reduce_sum, world_size

DWA_TEMPERATURE = 2.0
SMALLEST = 1e-3  # of a GradNorm weight: a task must be able to come back
Losses = dict[str, Tensor]


class TaskWeights(nn.Module):
    """The plain sum of the tasks' losses; the other kinds build on it.

    A task without a labelled row in the batch is left out of it.
    """

    def __init__(self, tasks: list[str]) -> None:
        super().__init__()
        self.tasks = tasks

    def weights(self) -> Tensor:
        """The weight of each task now, (T,)."""
        return torch.ones(len(self.tasks))

    def forward(self, losses: Losses, shared: Sequence[nn.Parameter] = (), portion: float = 1.0) -> Tensor:  # noqa: ARG002
        """Losses by task -> scalar; `shared` are the last weights that every task reads.

        Where a step is computed in parts, `portion` is what this one stands for: the parts' portions sum to one.
        """
        weights = self.weights()
        return torch.stack([weights[self.tasks.index(task)].detach() * loss for task, loss in losses.items()]).sum()

    def end_epoch(self) -> None:
        """An epoch of training is over."""


class Uncertainty(TaskWeights):
    """Learned uncertainty a task (Kendall 2018, arXiv 1705.07115): total = sum_t exp(-s_t) L_t + s_t / 2.

    s_t starts at 0, where it is the plain sum.
    """

    def __init__(self, tasks: list[str]) -> None:
        super().__init__(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def weights(self) -> Tensor:
        """exp(-s_t), (T,)."""
        return torch.exp(-self.log_variance)

    def forward(self, losses: Losses, shared: Sequence[nn.Parameter] = (), portion: float = 1.0) -> Tensor:  # noqa: ARG002
        """Losses by task -> scalar."""
        terms = []
        for task, loss in losses.items():
            s = self.log_variance[self.tasks.index(task)]
            terms.append(torch.exp(-s) * loss + portion * s / 2)
        return torch.stack(terms).sum()


class DynamicAverage(TaskWeights):
    """Dynamic weight average (Liu 2019, arXiv 1803.10704): a task whose loss falls more slowly counts more.

    w_t = T exp(r_t / 2) / sum_k exp(r_k / 2), r_t = L_t(e - 1) / L_t(e - 2), L_t(e) the mean loss of epoch e; one in
    the first two epochs.
    """

    total: Tensor
    n: Tensor
    last: Tensor
    before: Tensor
    n_epochs: Tensor

    def __init__(self, tasks: list[str]) -> None:
        super().__init__(tasks)
        for name in ("total", "n", "last", "before"):
            self.register_buffer(name, torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("n_epochs", torch.zeros((), dtype=torch.int64))

    def weights(self) -> Tensor:
        """w_t, (T,); a task without a loss in both epochs is taken to stand still."""
        if self.n_epochs < 2:
            return torch.ones(len(self.tasks), device=self.last.device)
        pace = torch.where(self.before > 0, self.last / self.before.clamp(min=1e-12), torch.ones_like(self.last))
        return (len(self.tasks) * (pace / DWA_TEMPERATURE).softmax(dim=0)).float()

    def forward(self, losses: Losses, shared: Sequence[nn.Parameter] = (), portion: float = 1.0) -> Tensor:
        """Losses by task -> scalar; in training they are added up for the epoch's mean."""
        if self.training:
            for task, loss in losses.items():
                at = self.tasks.index(task)
                self.total[at] += _of_batch(loss.detach()).double()
                self.n[at] += portion
        result: Tensor = super().forward(losses, shared, portion)
        return result

    def end_epoch(self) -> None:
        """The epoch's mean losses become the last ones."""
        seen = self.n > 0
        self.before.copy_(self.last)
        self.last[seen] = self.total[seen] / self.n[seen]
        self.total.zero_()
        self.n.zero_()
        self.n_epochs += 1


class GradNorm(TaskWeights):
    """Balanced gradients (Chen 2018, arXiv 1711.02257).

    G_t = |w_t grad_W L_t| over the shared weights W; the weights follow the gradient of
    L_grad = sum_t |G_t - mean(G) r_t^alpha|, where r_t = (L_t / L_t(0)) / mean_k(L_k / L_k(0)), mean(G) r_t^alpha is
    held constant, and L_t(0) is the task's first loss. They are kept positive and made to sum to T before every step.
    The total is sum_t w_t L_t + L_grad with w_t constant in the first term and L_t in the second, so that one
    backward pass gives the network and the weights each their own gradient.
    """

    first: Tensor

    def __init__(self, tasks: list[str], *, alpha: float) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self.weight = nn.Parameter(torch.ones(len(tasks)))
        self.register_buffer("first", torch.zeros(len(tasks)))

    def weights(self) -> Tensor:
        """w_t, (T,), positive, with sum T."""
        kept = self.weight.detach().clamp(min=SMALLEST)
        return kept * len(self.tasks) / kept.sum()

    def forward(self, losses: Losses, shared: Sequence[nn.Parameter] = (), portion: float = 1.0) -> Tensor:
        """Losses by task of a whole step, and the shared weights W -> scalar."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(losses, shared, portion)
        weights = self.weights()  # a copy: what an earlier pass of this step keeps is not changed below
        with torch.no_grad():
            self.weight.copy_(weights)
        at = torch.tensor([self.tasks.index(task) for task in losses])
        values = torch.stack(list(losses.values()))
        now = _of_batch(values.detach())
        self.first[at] = torch.where(self.first[at] > 0, self.first[at], now)
        steepness = torch.stack([_norm(loss, shared) for loss in losses.values()])
        norms = self.weight[at] * steepness
        pace = now / self.first[at].clamp(min=1e-12)
        pace = pace / pace.mean().clamp(min=1e-12)
        target = norms.detach().mean() * pace**self.alpha
        return (weights[at] * values).sum() + (norms - target).abs().sum()


def _norm(loss: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
    """The norm of the gradient of a loss with respect to the shared weights, without a graph of its own."""
    found = torch.autograd.grad(loss, list(shared), retain_graph=True, allow_unused=True)
    return torch.stack([_of_batch(each.detach()).square().sum() for each in found if each is not None]).sum().sqrt()


def _of_batch(share: Tensor) -> Tensor:
    """The mean over all processes, each of which has computed its share of the batch."""
    return all_reduce_sum(share) / world_size() if world_size() > 1 else share


def build_task_weights(tasks: list[str], settings: LossSettings) -> TaskWeights:
    """The task weights that the settings name."""
    if settings.tasks == "gradnorm":
        return GradNorm(tasks, alpha=settings.gradnorm_alpha)
    kinds: dict[str, type[TaskWeights]] = {"fixed": TaskWeights, "uncertainty": Uncertainty, "dwa": DynamicAverage}
    return kinds[settings.tasks](tasks)
