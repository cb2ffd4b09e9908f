"""The evaluation of a run: every figure with its interval, its unit, its site and its n."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from csasn.config import EvaluateSettings
from csasn.evidence.aggregation import MAIN_MODEL, UNITS, Unit, models_of, per_unit, tested_rows, units_of
from csasn.evidence.comparison import UNITS_COMPARED, compare
from csasn.evidence.intervals import bootstrap, wilson
from csasn.evidence.measures import measures, stacked, too_few
from csasn.evidence.metrics import confusion_matrix
from csasn.evidence.operating import OperatingPoint, counts_by_fold, freeze
from csasn.files import write_json
from csasn.runs import Run
from csasn.schema import ClassList

EVERY_SITE = "all"
CLUSTERED = {
    "patient": "",
    "nodule": "nodules of one patient are not independent: the interval is too narrow",
    "image": "images of one patient are not independent: the interval is too narrow",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One figure; an estimate of None is "not estimable", and the note says why.

    For sensitivity, specificity, ppv and npv, n is the denominator and n_positive the numerator.
    """

    model: str
    partition: str
    site: str
    unit: Unit
    target: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    n_positive: int | None
    method: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What all records of one table share."""

    model: str
    site: str
    unit: Unit

    def record(
        self,
        target: str,
        metric: str,
        ends: tuple[float, float, float] | None,
        *,
        n: int,
        n_positive: int | None,
        method: str,
        note: str,
    ) -> Record:
        """A record of (estimate, low, high), None or NaN where not estimable."""
        estimate, low, high = (float(each) if np.isfinite(each) else None for each in ends or (np.nan,) * 3)
        return Record(
            model=self.model,
            partition="test",
            site=self.site,
            unit=self.unit,
            target=target,
            metric=metric,
            estimate=estimate,
            low=low,
            high=high,
            n=n,
            n_positive=n_positive,
            method=method,
            note=note,
        )


def evaluate(
    predictions: pl.DataFrame, classes: ClassList, settings: EvaluateSettings, *, seed: int = 0
) -> list[Record]:
    """All records: CSASN per patient, nodule and image, pooled and by site; rivals per patient and image, pooled.

    Partition "test" pools the out-of-fold rows, so that every unit was read by a model that had not seen its patient.
    """
    records: list[Record] = []
    for unit in UNITS:
        table = per_unit(predictions, classes, unit=unit)
        points = freeze(table, classes, unit=unit)
        for model in models_of(table):
            if model != MAIN_MODEL and unit not in UNITS_COMPARED:
                continue
            own = [point for point in points if point.model == model]
            for site, test in _sites(tested_rows(table, model), by_site=model == MAIN_MODEL):
                place = _Place(model=model, site=site, unit=unit)
                records += _resampled(place, test, classes, settings, seed=seed)
                records += _at_operating_points(place, test, classes, own, settings)
    return records


def _sites(test: pl.DataFrame, *, by_site: bool) -> Iterator[tuple[str, pl.DataFrame]]:
    """The pooled rows, then those of each site where there are several."""
    yield EVERY_SITE, test
    names = sorted(test["site"].unique().to_list())
    for name in names if by_site and len(names) > 1 else []:
        yield name, test.filter(pl.col("site") == name)


def _resampled(
    place: _Place, test: pl.DataFrame, classes: ClassList, settings: EvaluateSettings, *, seed: int
) -> list[Record]:
    """Records with bootstrap intervals, all metrics of a table on the same draws."""
    units = units_of(test, classes)
    found = list(measures(units, n_bins=settings.calibration_bins))
    statistics = [each.statistic for each in found if each.statistic is not None]
    ends: list[tuple[float, float, float]] = []
    if statistics:
        resampled = bootstrap(
            units.patients,
            stacked(statistics),
            strata=units.strata(),
            n_draws=settings.n_bootstrap,
            confidence=settings.confidence,
            seed=seed,
        )
        ends = list(zip(resampled.estimate.tolist(), resampled.low.tolist(), resampled.high.tolist(), strict=True))
    remaining = iter(ends)
    return [
        place.record(
            each.target,
            each.metric,
            next(remaining) if each.statistic else None,
            n=each.n,
            n_positive=each.n_positive,
            method=f"percentile bootstrap over patients, {settings.n_bootstrap} draws",
            note=each.note,
        )
        for each in found
    ]


def _at_operating_points(
    place: _Place, test: pl.DataFrame, classes: ClassList, points: list[OperatingPoint], settings: EvaluateSettings
) -> Iterator[Record]:
    """Sensitivity, specificity, ppv and npv at the frozen thresholds, pooled over folds, with Wilson intervals."""
    units = units_of(test, classes)
    for target in units.targets:
        reason = too_few(target, units.binary(target))
        counts, n_left_out = counts_by_fold(test, classes, target, points)
        unusable = (
            f"{n_left_out} {place.unit}(s) left out: their fold has no tuning threshold for {target}"
            if n_left_out
            else ""
        )
        for metric, (k, n) in counts.fractions().items():
            empty = "" if n or reason else f"not estimable: the denominator of {metric} is 0"
            estimable = n > 0 and not reason
            yield place.record(
                target,
                metric,
                (k / n, *wilson(k, n, settings.confidence)) if estimable else None,
                n=n,
                n_positive=k,
                method="Wilson; Youden threshold frozen on each fold's tuning partition",
                note="; ".join(filter(None, [reason, empty, unusable, CLUSTERED[place.unit] if estimable else ""])),
            )


def operating_points(predictions: pl.DataFrame, classes: ClassList) -> list[OperatingPoint]:
    """The frozen thresholds of every model, fold and target, at every unit."""
    return [point for unit in UNITS for point in freeze(per_unit(predictions, classes, unit=unit), classes, unit=unit)]


def confusion(predictions: pl.DataFrame, classes: ClassList) -> dict[str, dict[str, object]]:
    """CSASN's pooled confusion matrix per unit: class names, and counts with rows the reference class."""
    found: dict[str, dict[str, object]] = {}
    for unit in UNITS:
        units = units_of(tested_rows(per_unit(predictions, classes, unit=unit), MAIN_MODEL), classes)
        counts = confusion_matrix(units.y_true[units.known], units.y_prob[units.known])
        found[unit] = {"classes": list(classes.names), "counts": counts.astype(int).tolist()}
    return found


def evaluate_run(run: Run) -> Path:
    """Evaluate the predictions of a run and write metrics.json: records, operating points, comparisons, confusion."""
    run.require("split.csv")
    predictions = pl.read_parquet(run.require("predictions.parquet"))
    classes, settings = run.classes(), run.configuration.evaluate
    content = {
        "records": [asdict(each) for each in evaluate(predictions, classes, settings)],
        "operating_points": [asdict(each) for each in operating_points(predictions, classes)],
        "comparisons": [asdict(each) for each in compare(predictions, classes, settings)],
        "confusion": confusion(predictions, classes),
    }
    write_json(run.path("metrics.json"), content)
    run.finish("evaluate", inputs=("predictions.parquet", "split.csv"), outputs=("metrics.json",))
    return run.path("metrics.json")
