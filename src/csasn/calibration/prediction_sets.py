"""Prediction sets that miss each class at a declared rate, and a certificate of what so few patients can promise.

Class-conditional (Mondrian) split conformal prediction (Vovk 2012): calibrated in each fold on its tuning patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import beta

from csasn.arrays import Array
from csasn.errors import BadInputError
from csasn.schema import ClassList
from csasn.units import Units, units_of

BAND = 0.99  # of the Beta distribution of what a calibrated threshold covers


@dataclass(frozen=True, kw_only=True, slots=True)
class Scarcity:
    """One class in one fold: patients to calibrate on, how many are needed, and what coverage they promise.

    `threshold` is the largest 1 - p(class) that is still in the set; None where the class is always included. The
    promise is the expected coverage; band_low and band_high hold its realised value in 99 of 100 calibrations.
    """

    fold: int
    target: str
    n: int
    needed: int
    threshold: float | None
    promised: float
    band_low: float
    band_high: float
    decision: str


def rank_of(n: int, alpha: float) -> int:
    """ceil((n + 1) (1 - alpha)): which smallest of n scores is the threshold; above n where there is none."""
    return ceil((n + 1) * (1 - alpha) - 1e-9)


def needed(alpha: float) -> int:
    """The fewest calibration patients for which a threshold exists: ceil(1 / alpha) - 1."""
    return ceil(1 / alpha - 1e-9) - 1


def threshold(scores: Array, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of scores (n,); infinite where n is too small."""
    rank = rank_of(scores.size, alpha)
    return float(np.sort(scores)[rank - 1]) if rank <= scores.size else float("inf")


def coverage_band(n: int, alpha: float, *, band: float = BAND) -> tuple[float, float, float]:
    """Mean, low and high of what a threshold from n patients covers: Beta(r, n + 1 - r); all 1 where none exists."""
    rank = rank_of(n, alpha)
    if rank > n:
        return 1.0, 1.0, 1.0
    spread = beta(rank, n + 1 - rank)
    return rank / (n + 1), float(spread.ppf((1 - band) / 2)), float(spread.ppf((1 + band) / 2))


def certificate(
    table: pl.DataFrame, classes: ClassList, *, alpha: float, together: Sequence[str] = ()
) -> list[Scarcity]:
    """Thresholds of every fold and class from the tuning rows of one model's table; test rows are never looked at.

    Classes in `together` share one threshold from all their patients: a declared merge, right for them as a group.
    Raises BadInputError where a name is no class.
    """
    if unknown := sorted(set(together) - set(classes.names)):
        raise BadInputError(f"evaluate.calibrated_together names classes; these are none: {', '.join(unknown)}.")
    found = []
    for fold in sorted(table["fold"].unique().to_list()):
        tuning = units_of(table.filter(pl.col("fold") == fold, pl.col("partition") == "tuning"), classes)
        for name in classes.names:
            group = [name] if name not in together else [each for each in classes.names if each in together]
            found.append(_scarcity(fold, name, group, tuning, alpha))
    return found


def _scarcity(fold: int, name: str, group: list[str], tuning: Units, alpha: float) -> Scarcity:
    numbers = [tuning.classes.names.index(each) for each in group]
    own = np.isin(tuning.y_true, numbers)
    scores = 1 - tuning.y_prob[own, tuning.y_true[own]]
    cut = threshold(scores, alpha)
    promised, low, high = coverage_band(scores.size, alpha)
    decision = "own threshold" if len(group) == 1 else f"one threshold for {', '.join(group)}, as declared"
    if not np.isfinite(cut):
        decision = f"always included: {scores.size} tuning patients, {needed(alpha)} are needed"
    return Scarcity(
        fold=fold,
        target=name,
        n=scores.size,
        needed=needed(alpha),
        threshold=cut if np.isfinite(cut) else None,
        promised=promised,
        band_low=low,
        band_high=high,
        decision=decision,
    )


def prediction_sets(test: pl.DataFrame, classes: ClassList, found: Sequence[Scarcity]) -> NDArray[np.bool_]:
    """Which classes are in the set of each test row (n, K)."""
    cut = {(each.fold, each.target): np.inf if each.threshold is None else each.threshold for each in found}
    limit = np.array([[cut[fold, name] for name in classes.names] for fold in test["fold"].to_list()])
    return np.asarray(1 - units_of(test, classes).y_prob <= limit.reshape(-1, len(classes.names)), dtype=np.bool_)
