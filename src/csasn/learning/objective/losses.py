"""The dynamically weighted multitask loss over malignancy and the class within each group."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from csasn.config import LossSettings
from csasn.learning.objective.class_weights import ClassWeights
from csasn.learning.objective.labels import Labels, Whole
from csasn.learning.objective.logit_adjustment import Adjustment
from csasn.learning.objective.site_adversary import SiteAdversary
from csasn.learning.objective.task_weights import build_task_weights
from csasn.network.csasn import Output
from csasn.network.distributed import world_size
from csasn.network.heads import HeadOutput
from csasn.schema import ClassList


class MultitaskLoss(nn.Module):
    """Weighted mean of each task's loss, joined by the task weights.

    Tasks of the chain head: `malignancy` (two ways, logits [0, m], on every row), `malignant` and `non_malignant`
    (the class given its group, on the rows of that group whose class is known; only for groups of more than one
    class). Task of the flat head: `flat`, over all classes on the rows whose class is known. Each task is
    sum_i w_i L_i / sum_i w_i with w_i the weight of row i's class and L_i its adjusted cross-entropy; a row that is
    known only as malignant or not takes the mean weight of its group. A row blended from two images has two labels,
    each weighted by its share of the row. The lower sum is over the whole training step, however many parts and
    processes it is computed in, and the weights are those before it.

    Adjustments act within each task, by that task's own counts: log pi(malignant) on the first task and
    log pi(k | malignant) on the second make log pi(k) together, which is what the flat head gets.

    The site head's loss is added with the mean of the task weights, which it has no part in: of its own, they would
    lower an adversary's say where it is losing, which is where it has done its work.
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
        adversary: SiteAdversary | None = None,
    ) -> None:
        """`n_images`: training images of each class, in class order; `n_unknown`: further ones known only as not
        malignant, and as malignant; `adversary`: the head that is to fail at telling the site, if there is one.
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
        self.adversary = adversary
        self.register_buffer("progress", torch.zeros(()))

    def forward(
        self,
        output: Output | HeadOutput,
        labels: Labels,
        whole: Whole | None = None,
        shared: Sequence[nn.Parameter] = (),
    ) -> Tensor:
        """Output of a batch of B rows and their labels -> scalar loss.

        Where the batch is a part of a step, `whole` is what `of_step` gave for all of the step's labels: the losses of
        the parts then add up to the step's. `shared`: the last weights that every task reads; GradNorm balances the
        gradients there. In training, `end_step` has to follow the last part.
        """
        whole = self.of_step(labels) if whole is None else whole
        logits, malignancy = output.logits[labels.row], output.malignancy[labels.row]
        of_label = self._weights(labels)
        if self.training:
            self.class_weights.observe(logits.detach().softmax(dim=1), labels.class_index, labels.share)
        losses: dict[str, Tensor] = {}
        for task, way in self._ways(labels).items():
            if task in whole.norms:
                known = way >= 0
                of_row = self.adjustments[task](self._told(task, logits, malignancy)[known], way[known])
                losses[task] = world_size() * (of_row * of_label[known]).sum() / whole.norms[task]
        # A flat head and no row with a known class: nothing to learn, but finite and differentiable.
        loss: Tensor = self.task_weights(losses, shared, whole.portion) if losses else output.logits.sum() * 0
        if self.adversary is None or labels.site is None or isinstance(output, HeadOutput):
            return loss
        of_site: Tensor = self.adversary(output.embedding, labels, labels.site, whole, float(self.progress))
        return loss + self.task_weights.weights().detach().mean() * of_site

    def of_step(self, labels: Labels, *, n_parts: int = 1) -> Whole:
        """What each of a step's parts has to know, from the labels of the whole step, in all processes."""
        of_label = self._weights(labels)
        known = {task: way >= 0 for task, way in self._ways(labels).items() if task in self.adjustments}
        norms = {task: of_label[rows].sum() for task, rows in known.items() if bool(rows.any())}
        return Whole(norms=norms | {"site": labels.share.sum()}, portion=1 / n_parts)

    def end_step(self) -> None:
        """Every part of a training step was seen: the classes' difficulty follows what the step observed."""
        self.class_weights.end_step()

    def end_epoch(self) -> None:
        """An epoch of training is over, and its course was asked for."""
        self.task_weights.end_epoch()
        if self.adversary is not None:
            self.adversary.end_epoch()

    def _weights(self, labels: Labels) -> Tensor:
        """The weight of each label (L,): its class's, or the mean of its group's, times its share of its row."""
        weights = self.class_weights(self.progress)
        of_group = torch.where(labels.malignant, weights[self.split :].mean(), weights[: self.split].mean())
        of_class = torch.where(labels.class_index >= 0, weights[labels.class_index.clamp(min=0)], of_group)
        return of_class * labels.share

    def _ways(self, labels: Labels) -> dict[str, Tensor]:
        """Which way of each task each label goes (L,), -1 where the task is not asked."""
        index, malignant = labels.class_index, labels.malignant
        if self.flat:
            return {"flat": index}
        return {
            "malignancy": malignant.long(),
            "non_malignant": torch.where(malignant, -1, index),
            "malignant": torch.where(malignant, index - self.split, -1),
        }

    def _told(self, task: str, logits: Tensor, malignancy: Tensor) -> Tensor:
        """Logits (L, W) of a task."""
        if task == "malignancy":
            return torch.stack([torch.zeros_like(malignancy), malignancy], dim=1)
        first, last = {"non_malignant": (0, self.split), "malignant": (self.split, None), "flat": (0, None)}[task]
        return logits[:, first:last]

    def course(self) -> dict[str, dict[str, float]]:
        """The weights as they are now: of each class, of each task, and each class's difficulty.

        With a site head also its mean loss in this epoch and its reversal factor.
        """
        tasks = self.task_weights.weights().tolist()
        course = {
            "class": dict(zip(self.names, self.class_weights(self.progress).tolist(), strict=True)),
            "task": dict(zip(self.task_weights.tasks, tasks, strict=True)),
            "difficulty": dict(zip(self.names, self.class_weights.difficulty.tolist(), strict=True)),
        }
        return course if self.adversary is None else course | {"site": self.adversary.course(float(self.progress))}
