"""Every difference of two runs' CSASN on the same units, with interval, p by Holm and what could have been found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from csasn.calibration.thresholds import Called, OperatingPoint, called_at, freeze
from csasn.config import EvaluateSettings
from csasn.evidence.comparison import difference_of
from csasn.evidence.estimates import KEY_OF, Resampled, resample
from csasn.evidence.metric_panel import EVERY_CLASS, too_few
from csasn.evidence.record import EVERY_SITE, Scope, finite
from csasn.evidence.statistics.delong import delong
from csasn.evidence.statistics.intervals import NO_WIDTH
from csasn.evidence.statistics.paired import POWER, detectable_difference, holm
from csasn.evidence.statistics.paired_proportions import discordant, least_found
from csasn.evidence.wording import better_of, found, in_words, not_found, untold
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL, MALIGNANCY, Unit, tested_rows

OVERALL = ("macro_auroc", "macro_auprc", "macro_f1", "brier", "ece")
SHARES = {"sensitivity": True, "specificity": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDifference:
    """One figure of run A (`first`), of run B (`second`), and A minus B on the same units.

    A family is all rows of a unit over all classes, or all rows of it by target; p_holm is adjusted over it.
    `detectable` is the smallest true difference that Holm's strictest step would have found in four of five such
    cohorts. For shares, first_alone and second_alone count the units that one run alone has right. `better` is A or B
    where p_holm settles it, else empty.
    """

    unit: Unit
    family: str
    target: str
    metric: str
    method: str
    first: float | None
    second: float | None
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None
    detectable: float | None = None
    n: int
    n_patients: int
    first_alone: int | None = None
    second_alone: int | None = None
    better: str = ""
    verdict: str = ""
    note: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """One run's CSASN at one unit: its test rows in the order of their keys, figures with draws, operating points."""

    test: pl.DataFrame
    resampled: Resampled
    points: list[OperatingPoint]

    def called(self, target: str, classes: ClassList) -> Called:
        """What the run's frozen operating points call the test rows."""
        return called_at(self.test, classes, target, self.points)


Pair = tuple[Reading, Reading]


def differences(
    tables: Sequence[pl.DataFrame], classes: ClassList, settings: EvaluateSettings, *, unit: Unit
) -> list[RunDifference]:
    """A minus B over all classes, and for malignancy and each class; tables of `per_unit` with the same test units.

    Raises ValueError where the test units differ.
    """
    first, second = (read_at(table, classes, settings, unit) for table in tables)
    pair = (first, second)
    overall = [_overall(metric, pair, settings) for metric in OVERALL]
    by_target = [row for target in _targets(classes) for row in _by_target(target, pair, classes, settings)]
    return [*_settled(overall, settings), *_settled(by_target, settings)]


def _targets(classes: ClassList) -> tuple[str, ...]:
    """Malignancy and the classes; a lone non-malignant class is malignancy turned round, and is not tested twice."""
    lone = classes.n_non_malignant == 1
    return (MALIGNANCY, *(name for k, name in enumerate(classes.names) if k or not lone))


def read_at(table: pl.DataFrame, classes: ClassList, settings: EvaluateSettings, unit: Unit) -> Reading:
    """The reading of a table of `per_unit`, which holds CSASN's tuning and test rows of one run."""
    test = tested_rows(table, MAIN_MODEL).sort(KEY_OF[unit])
    scope = Scope(model=MAIN_MODEL, site=EVERY_SITE, unit=unit)
    return Reading(
        test=test,
        resampled=resample(scope, test, classes, settings, brief=True),
        points=freeze(table.filter(pl.col("model") == MAIN_MODEL), classes, unit=unit),
    )


def _overall(metric: str, pair: Pair, settings: EvaluateSettings) -> tuple[RunDifference, float | None]:
    """The row of a figure over all classes, and its standard error."""
    one, other = (reading.resampled for reading in pair)
    each = difference_of(one, other, EVERY_CLASS, metric, confidence=settings.confidence)
    figure = next(f for f in one.figures if (f.target, f.metric) == (EVERY_CLASS, metric))
    values = [draws[0] if (draws := reading.draws(EVERY_CLASS, metric)) else None for reading in (one, other)]
    row = RunDifference(
        unit=one.scope.unit,
        family="over all classes",
        target=EVERY_CLASS,
        metric=metric,
        method=f"bootstrap over patients within classes, the same {settings.n_bootstrap:,} draws for both",
        first=values[0],
        second=values[1],
        estimate=each.estimate,
        low=each.low,
        high=each.high,
        p=each.p,
        n=figure.n,
        n_patients=np.unique(one.units.patients[one.units.known]).size,
        note="; ".join(filter(None, [figure.note, each.note])),
    )
    return row, each.error


def _by_target(
    target: str, pair: Pair, classes: ClassList, settings: EvaluateSettings
) -> Iterator[tuple[RunDifference, float | None]]:
    """The rows of AUROC, sensitivity and specificity of a target, each with its standard error."""
    yield _auroc(target, pair, settings.confidence)
    for metric in SHARES:
        yield _share(target, metric, pair, classes, settings.confidence)


def _auroc(target: str, pair: Pair, confidence: float) -> tuple[RunDifference, float | None]:
    first, second = (reading.resampled.units.binary(target) for reading in pair)
    unit, note = pair[0].resampled.scope.unit, too_few(target, first)
    figure_note = next(f.note for f in pair[0].resampled.figures if (f.target, f.metric) == (target, "auroc"))
    values: list[float | None] = [None] * 6
    error = None
    if not note:
        both = delong(first.y_true, np.stack([first.y_prob, second.y_prob]), first.patients)
        error, ends = both.error(), both.difference(confidence=confidence)
        p = both.p() if error > 0 else 1.0  # without variance both areas are alike, or 1 and 0
        told = error > 0 or ends[0] == 0
        shown = finite(ends) if error > 0 else (0.0 if told else None, None, None)
        values = [*both.auroc.tolist(), *shown, p if told else None]
        alike = "" if error > 0 else "no interval: the difference has no variance"
        note = (
            "; ".join(filter(None, [figure_note, alike])) if told else "not estimable: the difference has no variance"
        )
    row = RunDifference(
        unit=unit,
        family="by target",
        target=target,
        metric="auroc",
        method="DeLong" if unit == "patient" else "DeLong with patients as clusters (Obuchowski)",
        first=values[0],
        second=values[1],
        estimate=values[2],
        low=values[3],
        high=values[4],
        p=values[5],
        n=first.y_true.size,
        n_patients=np.unique(first.patients).size,
        note=note,
    )
    return row, error


def _share(
    target: str, metric: str, pair: Pair, classes: ClassList, confidence: float
) -> tuple[RunDifference, float | None]:
    unit, reason = pair[0].resampled.scope.unit, too_few(target, pair[0].resampled.units.binary(target))
    one, other = (reading.called(target, classes) for reading in pair)
    _, at, there = np.intersect1d(one.rows, other.rows, return_indices=True)
    truth, patients = one.y_true[at], one.patients[at]
    within = truth == SHARES[metric]
    right, others = (one.called[at] == truth)[within], (other.called[there] == truth)[within]
    counts, n = discordant(right, others, patients[within]), int(within.sum())
    apart = max(one.n_left_out, other.n_left_out)
    left_out = f"{apart} {unit}(s) left out: their fold has no tuning threshold for {target}" if apart else ""
    empty = "" if n or reason else f"not estimable: the denominator of {metric} is 0"
    ends = error = None
    if not reason and n:
        ends, error = (counts.estimate, *counts.interval(confidence)), counts.error()
    estimate, low, high = finite(ends)
    exact = "McNemar exact" if unit == "patient" else "McNemar exact, the signs of whole patients exchanged"
    row = RunDifference(
        unit=unit,
        family="by target",
        target=target,
        metric=metric,
        method=f"{exact}; Tango's interval{'' if unit == 'patient' else ' at the effective n'}",
        first=float(right.mean()) if ends else None,
        second=float(others.mean()) if ends else None,
        estimate=estimate,
        low=low,
        high=high,
        p=counts.p() if ends else None,
        n=n,
        n_patients=counts.n.size,
        first_alone=int(counts.first_alone.sum()),
        second_alone=int(counts.second_alone.sum()),
        note=reason or "; ".join(filter(None, [empty, left_out])),
    )
    return row, error


def _settled(family: list[tuple[RunDifference, float | None]], settings: EvaluateSettings) -> Iterator[RunDifference]:
    """The rows of one declared family with Holm's p, what could have been found, and the verdict."""
    adjusted = holm([row.p for row, _ in family])
    m, alpha = sum(p is not None for p in adjusted), 1 - settings.confidence
    for (row, error), p_holm in zip(family, adjusted, strict=True):
        detectable = None
        if p_holm is not None:
            by_error = detectable_difference(error or 0.0, confidence=settings.confidence, family=m)
            least = least_found(row.n_patients, level=alpha / m, power=POWER) if row.metric in SHARES else 0.0
            detectable = None if least is None else max(by_error, least) or None
        yield _told(replace(row, p_holm=p_holm, detectable=detectable), alpha)


def _told(row: RunDifference, alpha: float) -> RunDifference:
    what, level = in_words(row.target, row.metric), f"{100 * (1 - alpha):.0f} %"
    alike = row.estimate is not None and abs(row.estimate) <= NO_WIDTH and row.low is None
    if alike and row.p_holm is not None:
        verdict = not_found(what, n_patients=row.n_patients, detectable=row.detectable, alike=True)
        return replace(row, verdict=verdict)
    if row.estimate is None or row.low is None or row.high is None or row.p_holm is None:
        return replace(row, verdict=untold(what, row.note))
    if row.p_holm < alpha:
        ends = (row.estimate, row.low, row.high)
        verdict = found(what, row.metric, ends, p_holm=row.p_holm, level=level)
        return replace(row, better=better_of(row.metric, row.estimate), verdict=verdict)
    alike = row.first_alone == row.second_alone == 0
    return replace(row, verdict=not_found(what, n_patients=row.n_patients, detectable=row.detectable, alike=alike))
