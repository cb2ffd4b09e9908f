"""Which training rows an epoch shows, and how often: plain, class-balanced or patient-balanced."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from csasn.config import Sampling
from csasn.errors import BadInputError, listing

DRAW_STREAM = 4  # keeps the draw apart from others of the same seed and epoch


def shares(class_index: NDArray[np.int64], patient: NDArray[np.int64], sampling: Sampling) -> NDArray[np.float64]:
    """How often an epoch shows each training row on average, (n,), with sum n.

    `class_index` (n,), -1 for unknown, and `patient` (n,) are of the training rows.

    `plain`: once each. `class-balanced`: every known class as often as every other; rows known only as malignant or
    not keep their natural share, so that they go on training the first task. `patient-balanced`: every patient as
    often as every other, however many images they have.
    """
    share = np.ones(len(class_index))
    if sampling == "class-balanced":
        known = class_index >= 0
        _, place, n = np.unique(class_index[known], return_inverse=True, return_counts=True)
        share[known] = known.sum() / max(len(n), 1) / n[place]
    elif sampling == "patient-balanced":
        _, place, n = np.unique(patient, return_inverse=True, return_counts=True)
        share = len(patient) / len(n) / n[place]
    return share


def drawn(rows: NDArray[np.int64], share: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of one epoch in their order, (n,): each row its share rounded down or up.

    The fractions are drawn systematically (Madow 1949) over a shuffled order, so that their sum is exact and no row's
    number of appearances varies more than it must; equal shares of one give a plain permutation. Raises BadInputError
    where a share is not finite and above zero: its class or patient would be left out of training unsaid.
    """
    wrong = ~(np.isfinite(share) & (share > 0))
    if wrong.any():
        found = [f"row {row}: {one:g}" for row, one in zip(rows[wrong], share[wrong], strict=True)]
        raise BadInputError(
            "Every training row has a finite share of the draws above zero, so that no class and no patient is left "
            f"out. Not so for these rows of the manifest, counted from 0:\n{listing(found)}\n"
            "Choose another sampling, or split again so that every class is trained on."
        )
    shuffled = epoch_order(len(rows), seed=seed, epoch=epoch)
    if (share == 1).all():
        return rows[shuffled]
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, DRAW_STREAM]))
    marks = np.arange(len(rows)) + rng.random()
    ends = np.cumsum(share[shuffled])
    ends[-1] = len(rows)  # exactly, whatever the rounding
    chosen = shuffled[np.searchsorted(ends, marks, side="right")]
    order: NDArray[np.int64] = rows[rng.permutation(chosen)]
    return order


_ORDER_STREAM = 1  # keeps the order apart from other draws of the same seed and epoch


def epoch_order(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of 0..n-1 fixed by seed and epoch, (n,)."""
    stream = np.random.SeedSequence([seed, epoch, _ORDER_STREAM])
    return np.random.default_rng(stream).permutation(n)


def batches(order: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The order in runs of `batch_size`; a last image on its own joins the batch before it (batch normalisation)."""
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for at, start in enumerate(starts):
        yield order[start : starts[at + 1] if at + 1 < len(starts) else len(order)]
