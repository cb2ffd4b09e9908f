"""The dynamically weighted multitask loss over malignancy and the class within each group."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from csasn.config import LossSettings
from csasn.learning.adjustment import Adjustment
from csasn.learning.task_weights import build_task_weights
from csasn.learning.weighting import ClassWeights
from csasn.network.csasn import Output
from csasn.network.sharing import n_processes, total
from csasn.schema import ClassList


class MultitaskLoss(nn.Module):
    """Weighted mean of each task's loss, joined by the task weights.

    Tasks of the chain head: `malignancy` (two ways, logits [0, m], on every row), `malignant` and `non_malignant`
    (the class given its group, on the rows of that group whose class is known; only for groups of more than one
    class). Task of the flat head: `flat`, over all classes on the rows whose class is known. Each task is
    sum_i w_i L_i / sum_i w_i with w_i the weight of row i's class and L_i its adjusted cross-entropy; a row that is
    known only as malignant or not takes the mean weight of its group.

    Adjustments act within each task, by that task's own counts: log pi(malignant) on the first task and
    log pi(k | malignant) on the second make log pi(k) together, which is what the flat head gets.
    """

    progress: Tensor

    def __init__(
        self,
        classes: ClassList,
        n_images: list[float],
        *,
        n_unknown: tuple[float, float] = (0, 0),
        flat: bool,
        settings: LossSettings,
    ) -> None:
        """`n_images`: training images of each class, in class order; `n_unknown`: further ones known only as not
        malignant, and as malignant.
        """
        super().__init__()
        self.names = classes.names
        self.split = classes.n_non_malignant
        self.flat = flat
        groups = {"non_malignant": n_images[: self.split], "malignant": n_images[self.split :]}
        counts = {"flat": n_images} if flat else {"malignancy": [sum(each) for each in groups.values()]}
        if not flat:
            counts["malignancy"] = [a + b for a, b in zip(counts["malignancy"], n_unknown, strict=True)]
            counts |= {name: each for name, each in groups.items() if len(each) > 1}
        self.class_weights = ClassWeights(n_images, settings)
        self.adjustments = nn.ModuleDict({task: Adjustment(each, settings) for task, each in counts.items()})
        self.task_weights = build_task_weights(list(counts), settings)
        self.register_buffer("progress", torch.zeros(()))

    def forward(
        self, output: Output, class_index: Tensor, malignant: Tensor, shared: Sequence[nn.Parameter] = ()
    ) -> Tensor:
        """Output of a batch, class index (B,) with -1 for unknown, malignant (B,) bool -> scalar loss.

        `shared`: the last weights that every task reads; GradNorm balances the gradients there.
        """
        weights = self.class_weights(self.progress)
        if self.training:
            self.class_weights.observe(output.logits.detach().softmax(dim=1), class_index)
        of_group = torch.where(malignant, weights[self.split :].mean(), weights[: self.split].mean())
        of_row = torch.where(class_index >= 0, weights[class_index.clamp(min=0)], of_group)
        losses: dict[str, Tensor] = {}
        for task, (logits, way) in self._told(output, class_index, malignant).items():
            known = way >= 0
            if task in self.adjustments and bool(total(known.sum()) > 0):
                losses[task] = _weighted_mean(self.adjustments[task](logits[known], way[known]), of_row[known])
        if not losses:  # flat head and no row with a known class: nothing to learn, but finite and differentiable
            return output.logits.sum() * 0
        return self.task_weights(losses, shared)  # type: ignore[no-any-return]

    def _told(self, output: Output, class_index: Tensor, malignant: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Logits (B, W) of each task and which of its ways each row went (B,), -1 where it is not asked."""
        if self.flat:
            return {"flat": (output.logits, class_index)}
        m = output.malignancy
        return {
            "malignancy": (torch.stack([torch.zeros_like(m), m], dim=1), malignant.long()),
            "non_malignant": (output.logits[:, : self.split], torch.where(malignant, -1, class_index)),
            "malignant": (output.logits[:, self.split :], torch.where(malignant, class_index - self.split, -1)),
        }

    def course(self) -> dict[str, dict[str, float]]:
        """The weights as they are now: of each class, of each task, and each class's difficulty."""
        tasks = self.task_weights.weights().tolist()
        return {
            "class": dict(zip(self.names, self.class_weights(self.progress).tolist(), strict=True)),
            "task": dict(zip(self.task_weights.tasks, tasks, strict=True)),
            "difficulty": dict(zip(self.names, self.class_weights.difficulty.tolist(), strict=True)),
        }


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """sum w L / sum w, the lower sum over all processes: the mean of the processes' results is the batch's."""
    return n_processes() * (losses * weights).sum() / total(weights.sum())
