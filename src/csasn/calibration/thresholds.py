"""Operating points: a threshold chosen on a fold's tuning partition, frozen, and only then applied to its test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from csasn.arrays import Array, Labels
from csasn.schema import ClassList
from csasn.units import Unit, units_of


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


@dataclass(frozen=True, kw_only=True, slots=True)
class YoudenPoint:
    """The probability threshold with the largest Youden index J = sensitivity + specificity - 1."""

    threshold: float
    youden_index: float


def youden_point(y_true: Labels, y_prob: Array) -> YoudenPoint:
    """The observed probability at which J is largest (Youden 1950); among equals the highest, the most specific.

    Raises ValueError where y_true has one side only: no threshold can be chosen from it.
    """
    actual = np.asarray(y_true, dtype=bool)
    if actual.all() or not actual.any():
        raise ValueError("A Youden point needs positives and negatives; received one side only.")
    false_rate, true_rate, thresholds = roc_curve(actual, y_prob, drop_intermediate=False)
    n_positive, n_negative = int(actual.sum()), int((~actual).sum())
    true, false = np.rint(true_rate * n_positive), np.rint(false_rate * n_negative)
    exact = true * n_negative - false * n_positive  # J in whole numbers, so that equals are equal
    best = int(np.argmax(exact[1:])) + 1  # the first point calls nothing positive
    return YoudenPoint(threshold=float(thresholds[best]), youden_index=float(true_rate[best] - false_rate[best]))
