"""The difference of two models on the same patients, with the same bootstrap draws for both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from csasn.config import EvaluateSettings
from csasn.evidence.aggregation import MAIN_MODEL, Unit, models_of, per_unit, tested_rows, units_of
from csasn.evidence.intervals import Array, Statistic, bootstrap
from csasn.evidence.measures import class_statistics, estimable_classes, stacked
from csasn.schema import ClassList

UNITS_COMPARED: tuple[Unit, ...] = ("patient", "image")
METRICS_COMPARED = ("macro_auroc", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """First minus second: estimate, interval and two-sided bootstrap p; None where it is not estimable."""

    estimate: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """CSASN minus a rival on the same units; p_holm is adjusted over all rivals and metrics at that unit."""

    model: str
    rival: str
    unit: Unit
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    note: str


def bootstrap_p(draws: Array) -> float:
    """Two-sided p that a difference is 0: 2 (min(#{d <= 0}, #{d >= 0}) + 1) / (D + 1), at most 1.

    The added one keeps p above 0 (Davison & Hinkley 1997, 4.2); draws (D,), undefined ones left out.
    """
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return float("nan")
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (defined.size + 1)))


def paired_difference(
    patients: NDArray[Any],
    first: Statistic,
    second: Statistic,
    *,
    strata: NDArray[Any] | None = None,
    n_draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Difference]:
    """Differences of m statistics of two models on the same units; patients (n,), statistics (d, n) -> (d, m)."""
    found = bootstrap(
        patients,
        lambda weights: first(weights) - second(weights),
        strata=strata,
        n_draws=n_draws,
        confidence=confidence,
        seed=seed,
    )
    columns = zip(found.estimate, found.low, found.high, found.draws.T, strict=True)
    values = ((estimate, low, high, bootstrap_p(draws)) for estimate, low, high, draws in columns)
    finite = ([float(each) if np.isfinite(each) else None for each in row] for row in values)
    return [Difference(estimate=estimate, low=low, high=high, p=p) for estimate, low, high, p in finite]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over one declared family (Holm 1979); None stays None and is not counted."""
    known = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def compare(
    predictions: pl.DataFrame, classes: ClassList, settings: EvaluateSettings, *, seed: int = 0
) -> list[Comparison]:
    """CSASN minus each rival in macro AUROC, balanced accuracy and macro F1, per patient and per image, paired."""
    comparisons = []
    for unit in UNITS_COMPARED:
        table = per_unit(predictions, classes, unit=unit)
        rivals = models_of(table)[1:]
        family = [each for rival in rivals for each in _against(table, classes, rival, unit, settings, seed)]
        adjusted = holm([each.p for each in family])
        comparisons += [replace(each, p_holm=p) for each, p in zip(family, adjusted, strict=True)]
    return comparisons


def _against(
    table: pl.DataFrame, classes: ClassList, rival: str, unit: Unit, settings: EvaluateSettings, seed: int
) -> list[Comparison]:
    """The three differences to one rival, on the units that both tested."""
    key = "image_path" if unit == "image" else "patient_id"
    tables = [tested_rows(table, name) for name in (MAIN_MODEL, rival)]
    shared = set(tables[0][key]) & set(tables[1][key])
    own, other = (units_of(each.filter(pl.col(key).is_in(shared)).sort(key), classes) for each in tables)
    chosen, left_out = estimable_classes(own)
    differences = [Difference(estimate=None, low=None, high=None, p=None)] * len(METRICS_COMPARED)
    notes = [f"classes left out for want of patients: {', '.join(left_out)}"] if left_out else []
    if len(chosen) > 1:
        first, second = (class_statistics(each, chosen) for each in (own, other))
        differences = paired_difference(
            own.patients,
            stacked([first[metric] for metric in METRICS_COMPARED]),
            stacked([second[metric] for metric in METRICS_COMPARED]),
            strata=own.strata(),
            n_draws=settings.n_bootstrap,
            confidence=settings.confidence,
            seed=seed,
        )
    else:
        notes.insert(0, "not estimable: fewer than two classes have enough patients")
    if apart := len(tables[0]) + len(tables[1]) - 2 * len(shared):
        notes.append(f"{apart} units tested by one of the two alone were left out")
    return [
        Comparison(
            model=MAIN_MODEL,
            rival=rival,
            unit=unit,
            metric=metric,
            estimate=each.estimate,
            low=each.low,
            high=each.high,
            p=each.p,
            p_holm=None,
            n=int(own.known.sum()),
            note="; ".join(notes),
        )
        for metric, each in zip(METRICS_COMPARED, differences, strict=True)
    ]
