"""Early stopping: the weights of the epoch with the lowest tuning loss are kept, and patience ends a stage."""

from dataclasses import dataclass

from torch import Tensor, nn

from csasn.learning.optimisation import copied

BEFORE = -1  # the "epoch" of what a stage started from


@dataclass(kw_only=True, slots=True)
class EarlyStopping:
    """The best weights so far, the epoch they are of (BEFORE: what the stage started from), and its tuning loss."""

    weights: dict[str, Tensor]
    loss: float | None = None
    epoch: int = 0

    def keep_if_best(self, learner: nn.Module, loss: float, epoch: int) -> None:
        """Remember the learner as it is now where its tuning loss is the lowest so far."""
        if self.loss is None or loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.weights = copied(learner)

    def ended(self, n_done: int, *, n_epochs: int, patience_epochs: int) -> bool:
        """Whether the stage is over after `n_done` epochs: that was its last, or patience is at its end."""
        return n_done >= n_epochs or (n_done > 0 and n_done - 1 - self.epoch >= patience_epochs)
