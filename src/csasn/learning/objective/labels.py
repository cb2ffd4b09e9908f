"""What is known of the rows of a batch, and of the whole step that the batch is a part of."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Labels of a batch of B rows: one each, or two each where rows are blended from two images.

    Attributes:
        row: which of the batch's rows each label is of (L,).
        class_index: (L,), -1 where the class is unknown.
        malignant: (L,) bool.
        share: how much of its row each label tells (L,); one where nothing is blended.
        site: the cohort's number of each label's site (L,); None where no site is asked for.
    """

    row: Tensor
    class_index: Tensor
    malignant: Tensor
    share: Tensor
    site: Tensor | None = None

    @classmethod
    def plain(cls, class_index: Tensor, malignant: Tensor) -> Self:
        """One label a row, from class index (B,) and malignant (B,)."""
        row = torch.arange(len(class_index), device=class_index.device)
        return cls(row=row, class_index=class_index, malignant=malignant, share=torch.ones_like(row).float())


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """What a part of a step has to know of the whole of it, so that the parts add up to the step.

    Attributes:
        norms: sum of the rows' weights over the whole step, of each task that any of its rows trains.
        portion: what this part stands for, the parts of a step summing to one; for terms that belong to no row.
    """

    norms: dict[str, Tensor]
    portion: float
