"""Operating points: a threshold chosen on a fold's tuning partition, frozen, and only then applied to its test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.evidence.aggregation import Unit, units_of
from csasn.evidence.metrics import Counts, counts_at, youden_point
from csasn.evidence.ranking import Array
from csasn.schema import ClassList


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """The threshold of one target in one fold, with the tuning units it was chosen on; None where it could not be."""

    model: str
    unit: Unit
    target: str
    fold: int
    threshold: float | None
    youden_index: float | None
    n: int
    n_positive: int
    note: str


def freeze(table: pl.DataFrame, classes: ClassList, *, unit: Unit) -> list[OperatingPoint]:
    """Youden points of every model, fold and target of a `per_unit` table; the test rows are never looked at."""
    tuning = table.filter(pl.col("partition") == "tuning")
    points = []
    for model, fold in table.select("model", "fold").unique().sort("model", "fold").iter_rows():
        units = units_of(tuning.filter(pl.col("model") == model, pl.col("fold") == fold), classes)
        for target in units.targets:
            binary = units.binary(target)
            n, n_positive = binary.y_true.size, int(binary.y_true.sum())
            found = youden_point(binary.y_true, binary.y_prob) if 0 < n_positive < n else None
            points.append(
                OperatingPoint(
                    model=model,
                    unit=unit,
                    target=target,
                    fold=fold,
                    threshold=found.threshold if found else None,
                    youden_index=found.youden_index if found else None,
                    n=n,
                    n_positive=n_positive,
                    note="" if found else f"not estimable: {n_positive} of {n} tuning units are {target}",
                )
            )
    return points


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Called:
    """One target at its frozen operating points: the units with a threshold, what they are, and what they are called.

    y_true, called (m,) bool, patients (m,), rows (m,) their rows in the table; `n_left_out` units had no threshold in
    their fold.
    """

    rows: NDArray[np.int64]
    y_true: NDArray[np.bool_]
    called: NDArray[np.bool_]
    patients: NDArray[Any]
    n_left_out: int

    def counts(self) -> Counts:
        """True and false positives and negatives, pooled over folds."""
        return counts_at(self.y_true, self.called.astype(np.float64), threshold=0.5)


def called_at(test: pl.DataFrame, classes: ClassList, target: str, points: list[OperatingPoint]) -> Called:
    """What each fold's frozen threshold calls the test rows of one model at one unit; `points` are that model's."""
    frozen = {point.fold: point.threshold for point in points if point.target == target}
    threshold: Array = np.array(
        [np.nan if (value := frozen.get(fold)) is None else value for fold in test["fold"].to_list()], dtype=np.float64
    )
    binary = units_of(test, classes).binary(target)
    at = threshold[binary.rows]
    usable = ~np.isnan(at)
    return Called(
        rows=np.flatnonzero(binary.rows)[usable],
        y_true=binary.y_true[usable],
        called=binary.y_prob[usable] >= at[usable],
        patients=binary.patients[usable],
        n_left_out=int((~usable).sum()),
    )
