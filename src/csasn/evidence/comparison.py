"""The difference of two models on the same patients: shared draws, DeLong, McNemar, Holm, and what would have shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.arrays import Array
from csasn.config import EvaluateSettings
from csasn.evidence.estimates import KEY_OF, Resampled, resample
from csasn.evidence.flat_figures import WITHOUT_DIFFERENCE
from csasn.evidence.metric_panel import EVERY_CLASS, too_few
from csasn.evidence.record import finite
from csasn.evidence.statistics.delong import delong
from csasn.evidence.statistics.intervals import is_flat
from csasn.evidence.statistics.paired import bootstrap_p, detectable_difference, holm, mcnemar
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL, MALIGNANCY, Unit

UNITS_COMPARED: tuple[Unit, ...] = ("patient", "image")
METRICS_COMPARED = ("macro_auroc", "balanced_accuracy", "macro_f1")
Drawn = tuple[float, Array]  # an estimate and its draws (D,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """First minus second on the same units, by shared bootstrap draws.

    p_holm is adjusted over the declared family: all baselines and metrics at that unit. `detectable` is the smallest
    true difference that Holm's strictest step would have found in four of five such cohorts; it stands beside every
    comparison, and says most beside those that found none.
    """

    model: str
    baseline: str
    unit: Unit
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    n: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedTest:
    """A test of two models on the same patients: DeLong for AUROC, McNemar for shares; the family is all of these.

    For McNemar b counts the patients that the first alone has right, c those that the second alone has right.
    """

    model: str
    baseline: str
    target: str
    metric: str
    method: str
    estimate: float | None
    statistic: float | None
    p: float | None
    p_holm: float | None
    b: int | None
    c: int | None
    n: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """First minus second: estimate, interval, two-sided p, and the draws' standard error; None where undefined."""

    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    error: float | None
    note: str = ""


UNDEFINED = Difference(estimate=None, low=None, high=None, p=None, error=None)


def difference_of(first: Resampled, second: Resampled, target: str, metric: str, *, confidence: float) -> Difference:
    """A difference of two tables of the very same units, draw by draw; percentile interval.

    Raises ValueError where the units differ: the draws would not be of the same patients.
    """
    if first.keys != second.keys:
        raise ValueError("Draws are paired where both tables hold the same units; received different ones.")
    return paired_difference(first.draws(target, metric), second.draws(target, metric), confidence=confidence)


def paired_difference(one: Drawn | None, other: Drawn | None, *, confidence: float) -> Difference:
    """The difference of two estimates whose draws (D,) are of the same patients; percentile interval.

    Without an interval, and the note says so, where the draws have no width.
    """
    if one is None or other is None:
        return UNDEFINED
    draws = one[1] - other[1]
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return UNDEFINED
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    if is_flat(low, high):
        low = high = np.nan
    estimate, low, high = finite((one[0] - other[0], low, high))
    note, error = WITHOUT_DIFFERENCE if low is None else "", float(defined.std())
    return Difference(estimate=estimate, low=low, high=high, p=bootstrap_p(draws), error=error, note=note)


def shared_units(
    first: tuple[Resampled, pl.DataFrame],
    second: tuple[Resampled, pl.DataFrame],
    classes: ClassList,
    settings: EvaluateSettings,
) -> tuple[Resampled, Resampled, int]:
    """Both tables on the units that both tested, resampled again where these are fewer, and how many fell out."""
    shared = set(first[0].keys) & set(second[0].keys)
    apart = len(first[0].keys) + len(second[0].keys) - 2 * len(shared)
    if not apart:
        return first[0], second[0], 0
    key = KEY_OF[first[0].scope.unit]
    own, other = (
        resample(each.scope, rows.filter(pl.col(key).is_in(shared)), classes, settings, brief=True)
        for each, rows in (first, second)
    )
    return own, other, apart


def compare(
    tables: dict[str, tuple[Resampled, pl.DataFrame]], classes: ClassList, settings: EvaluateSettings
) -> list[Comparison]:
    """CSASN minus each baseline in macro AUROC, balanced accuracy, macro F1 at one unit; `tables` by model's name."""
    family = []
    for baseline in (name for name in tables if name != MAIN_MODEL):
        own, other, apart = shared_units(tables[MAIN_MODEL], tables[baseline], classes, settings)
        figures = {figure.metric: figure for figure in own.figures if figure.target == EVERY_CLASS}
        for metric in METRICS_COMPARED:
            each = difference_of(own, other, EVERY_CLASS, metric, confidence=settings.confidence)
            left_out = f"{apart} units tested by one of the two alone were left out" if apart else ""
            comparison = Comparison(
                model=MAIN_MODEL,
                baseline=baseline,
                unit=own.scope.unit,
                metric=metric,
                estimate=each.estimate,
                low=each.low,
                high=each.high,
                p=each.p,
                p_holm=None,
                detectable=each.error,
                n=figures[metric].n,
                note="; ".join(filter(None, [figures[metric].note, each.note, left_out])),
            )
            family.append(comparison)
    return [
        replace(
            each,
            p_holm=p,
            detectable=None
            if not each.detectable  # without spread nothing is known of what would have shown
            else detectable_difference(each.detectable, confidence=settings.confidence, family=len(family)),
        )
        for each, p in zip(family, holm([each.p for each in family]), strict=True)
    ]


def paired_tests(
    tables: dict[str, tuple[Resampled, pl.DataFrame]],
    called: dict[str, dict[str, bool]],
    classes: ClassList,
    settings: EvaluateSettings,
) -> list[PairedTest]:
    """DeLong on malignancy and McNemar on its sensitivity and specificity, per patient, CSASN against each baseline.

    `called` holds for each model and patient whether the frozen operating point calls it malignant.
    """
    family = []
    for baseline in (name for name in tables if name != MAIN_MODEL):
        own, other, _ = shared_units(tables[MAIN_MODEL], tables[baseline], classes, settings)
        family.append(_delong_test(baseline, own, other))
        for metric, malignant in (("sensitivity", True), ("specificity", False)):
            keys = [key for key, truth in zip(own.keys, own.units.malignant, strict=True) if truth == malignant]
            family.append(_mcnemar_test(baseline, metric, keys, called, malignant=malignant))
    adjusted = holm([each.p for each in family])
    return [replace(each, p_holm=p) for each, p in zip(family, adjusted, strict=True)]


def _delong_test(baseline: str, own: Resampled, other: Resampled) -> PairedTest:
    first, second = own.units.binary(MALIGNANCY), other.units.binary(MALIGNANCY)
    note, estimate, z, p = too_few(MALIGNANCY, first), None, None, None
    if not note:
        found = delong(first.y_true, np.stack([first.y_prob, second.y_prob]))
        estimate = float(found.auroc[0] - found.auroc[1])
        z, p, _ = finite((found.z(), found.p(), 0.0))
        note = "" if p is not None else "not estimable: the difference has no variance"
    return PairedTest(
        model=MAIN_MODEL,
        baseline=baseline,
        target=MALIGNANCY,
        metric="auroc",
        method="DeLong",
        estimate=estimate,
        statistic=z,
        p=p,
        p_holm=None,
        b=None,
        c=None,
        n=first.y_true.size,
        note=note,
    )


def _mcnemar_test(
    baseline: str, metric: str, keys: Sequence[str], called: dict[str, dict[str, bool]], *, malignant: bool
) -> PairedTest:
    known = [key for key in keys if key in called[MAIN_MODEL] and key in called[baseline]]
    right: list[NDArray[Any]] = [
        np.array([called[model][key] == malignant for key in known], dtype=np.bool_) for model in (MAIN_MODEL, baseline)
    ]
    b, c, n = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum()), len(known)
    statistic, p, method = mcnemar(b, c)
    return PairedTest(
        model=MAIN_MODEL,
        baseline=baseline,
        target=MALIGNANCY,
        metric=metric,
        method=method,
        estimate=(b - c) / n if n else None,
        statistic=statistic if n else None,
        p=p if n else None,
        p_holm=None,
        b=b,
        c=c,
        n=n,
        note="" if n else f"not estimable: the denominator of {metric} is 0",
    )
