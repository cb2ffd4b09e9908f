"""One run beside another of the same cohort: how far figures fall from pooled cross-validation to unseen sites."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from csasn.config import EvaluateSettings
from csasn.errors import BadInputError, MismatchError
from csasn.evidence.comparison import difference_of, shared_units
from csasn.evidence.estimates import Resampled, resample
from csasn.evidence.metric_panel import EVERY_CLASS
from csasn.evidence.record import EVERY_SITE, Scope
from csasn.frames import read_parquet
from csasn.runs import Run, open_run
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL, MALIGNANCY, per_unit, tested_rows

DROPS = (
    (EVERY_CLASS, "macro_auroc"),
    (EVERY_CLASS, "balanced_accuracy"),
    (EVERY_CLASS, "macro_f1"),
    (MALIGNANCY, "auroc"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """The run minus the other on the same patients at one site or all; below 0 this run's figure is lower."""

    site: str
    target: str
    metric: str
    here: float | None
    other: float | None
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """Section `beside` of metrics.json: the other run's folder, both splits' schemes, and the drops per patient."""

    run: str
    scheme: str
    scheme_here: str
    drops: Sequence[Drop]


def remember(run: Run, other: Run | None) -> None:
    """Keep in run.json, relative to the run folder, which run an evaluation sets beside it, or that there is none."""
    folder = None if other is None else os.path.relpath(other.folder.resolve(), run.folder.resolve())
    run.remember("beside", folder)


def remembered(run: Run) -> Run | None:
    """The run that is set beside this one, if any; BadInputError where it is not at its place any more."""
    scope = run.record().get("beside")
    if scope is None:
        return None
    folder = run.folder.resolve() / str(scope)
    if not (folder / "run.json").is_file():
        raise BadInputError(
            f"{run.folder} is evaluated beside {os.path.normpath(folder)}, where there is no run folder now. Give "
            "--beside with the place it was moved to, or --beside none to evaluate it alone."
        )
    return open_run(folder)


def beside(run: Run, other: Run) -> Beside:
    """What metrics.json says of the other run: its folder, scheme, and the drops per patient, over all and by site.

    Raises MismatchError where the runs are of different cohorts: only the same patients can be compared.
    """
    hashes = [str(each.record().get("manifest_sha256")) for each in (run, other)]
    if hashes[0] != hashes[1]:
        raise MismatchError(
            f"Runs are set beside each other where both are of one cohort.\n  {run.folder}: {hashes[0]}\n"
            f"  {other.folder}: {hashes[1]}\nMake the other run from the same cohort folder, with another split.scheme."
        )
    if run.folder.resolve() == other.folder.resolve():
        raise BadInputError(f"A run is set beside another one; received {run.folder} twice.")
    classes, settings = run.classes(), run.configuration.evaluate
    tables = []
    for each in (run, other):
        predictions = read_parquet(each.require("predictions.parquet"))
        main = predictions.filter(pl.col("model") == MAIN_MODEL)
        tables.append(tested_rows(per_unit(main, classes, unit="patient"), MAIN_MODEL))
    return Beside(
        run=str(other.folder.resolve()),
        scheme=other.configuration.split.scheme,
        scheme_here=run.configuration.split.scheme,
        drops=drops(tables[0], tables[1], classes, settings),
    )


def drops(here: pl.DataFrame, other: pl.DataFrame, classes: ClassList, settings: EvaluateSettings) -> list[Drop]:
    """Paired differences of two tables of CSASN's test rows, one a patient, over all sites and at each."""
    sites = sorted(here["site"].unique().to_list())
    found: list[Drop] = []
    for site in [EVERY_SITE, *(sites if len(sites) > 1 else [])]:
        pair = [each if site == EVERY_SITE else each.filter(pl.col("site") == site) for each in (here, other)]
        scope = Scope(model=MAIN_MODEL, site=site, unit="patient")
        first, second = ((resample(scope, rows, classes, settings, brief=True), rows) for rows in pair)
        found += _drops_at(site, *shared_units(first, second, classes, settings), settings)
    return found


def _drops_at(site: str, own: Resampled, other: Resampled, apart: int, settings: EvaluateSettings) -> list[Drop]:
    figures = {(figure.target, figure.metric): figure for figure in own.figures}
    left_out = f"{apart} patients tested by one of the two alone were left out" if apart else ""
    rows = []
    for target, metric in DROPS:
        each = difference_of(own, other, target, metric, confidence=settings.confidence)
        pair = own.draws(target, metric), other.draws(target, metric)
        rows.append(
            Drop(
                site=site,
                target=target,
                metric=metric,
                here=pair[0][0] if pair[0] else None,
                other=pair[1][0] if pair[1] else None,
                estimate=each.estimate,
                low=each.low,
                high=each.high,
                p=each.p,
                n=figures[target, metric].n,
                note="; ".join(filter(None, [figures[target, metric].note, each.note, left_out])),
            )
        )
    return rows
