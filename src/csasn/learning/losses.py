"""The dynamically weighted multitask loss over malignancy and the class within each group."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.config import LossSettings
from csasn.learning.weighting import ClassWeights, TaskWeights
from csasn.network.csasn import Output
from csasn.network.sharing import n_processes, total
from csasn.schema import ClassList


class MultitaskLoss(nn.Module):
    """Weighted mean of each task's loss, joined by the task weights.

    Tasks of the chain head: `malignancy` (binary cross-entropy of m on every row), `malignant` and `non_malignant`
    (cross-entropy of the class given its group, on the rows of that group whose class is known; only for groups of
    more than one class). Task of the flat head: `flat`, cross-entropy over all classes on the rows whose class is
    known. Each task is sum_i w_i L_i / sum_i w_i with w_i the weight of row i's class; a row that is known only as
    malignant or not takes the mean weight of its group.
    """

    def __init__(self, classes: ClassList, n_images: list[int], *, flat: bool, settings: LossSettings) -> None:
        """`n_images`: training images of each class, in class order."""
        super().__init__()
        self.split = classes.n_non_malignant
        self.flat = flat
        tasks = ["flat"] if flat else ["malignancy"]
        if not flat:
            tasks += [name for name in ("non_malignant", "malignant") if len(getattr(classes, name)) > 1]
        self.class_weights = ClassWeights(n_images, settings)
        self.task_weights = TaskWeights(tasks, settings)

    def forward(self, output: Output, class_index: Tensor, malignant: Tensor) -> Tensor:
        """Output of a batch, class index (B,) with -1 for unknown, malignant (B,) bool -> scalar loss."""
        weights = self.class_weights()
        if self.training:
            self.class_weights.observe(output.logits.detach().softmax(dim=1), class_index)
        of_group = torch.where(malignant, weights[self.split :].mean(), weights[: self.split].mean())
        of_row = torch.where(class_index >= 0, weights[class_index.clamp(min=0)], of_group)
        losses: dict[str, Tensor] = {}
        if self.flat:
            self._within(losses, "flat", output.logits, class_index, of_row)
        else:
            binary = functional.binary_cross_entropy_with_logits(
                output.malignancy, malignant.to(output.malignancy), reduction="none"
            )
            losses["malignancy"] = _weighted_mean(binary, of_row)
            cancer = torch.where(malignant, class_index - self.split, -1)
            self._within(losses, "malignant", output.logits[:, self.split :], cancer, of_row)
            benign = torch.where(malignant, -1, class_index)
            self._within(losses, "non_malignant", output.logits[:, : self.split], benign, of_row)
        if not losses:  # flat head and no row with a known class: nothing to learn, but finite and differentiable
            return output.logits.sum() * 0
        return self.task_weights(losses)  # type: ignore[no-any-return]

    def _within(self, losses: dict[str, Tensor], task: str, logits: Tensor, index: Tensor, weights: Tensor) -> None:
        known = index >= 0
        if task in self.task_weights.tasks and bool(total(known.sum()) > 0):
            each = functional.cross_entropy(logits[known], index[known], reduction="none")
            losses[task] = _weighted_mean(each, weights[known])


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """sum w L / sum w, the lower sum over all processes: the mean of the processes' results is the batch's."""
    return n_processes() * (losses * weights).sum() / total(weights.sum())
