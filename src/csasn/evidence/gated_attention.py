"""A nodule's images put together in two ways, on the same nodules: mean of logits, and gated attention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import METRICS_COMPARED, difference_of
from csasn.evidence.estimates import resample
from csasn.evidence.metric_panel import EVERY_CLASS
from csasn.evidence.record import EVERY_SITE, Scope
from csasn.evidence.run_tables import RunTables
from csasn.frames import read_parquet
from csasn.schema import GATED_ATTENTION, ClassList
from csasn.units import MAIN_MODEL, MALIGNANCY, Unit, tested_rows

NODULES = "nodules.parquet"
MEAN = "mean of logits"
FIGURES = (*((EVERY_CLASS, metric) for metric in METRICS_COMPARED), (MALIGNANCY, "auroc"))


@dataclass(frozen=True, kw_only=True, slots=True)
class AggregationFigure:
    """One figure per nodule by both ways, and gated attention minus the mean, with its two-sided p."""

    target: str
    metric: str
    mean_estimate: float | None
    mean_low: float | None
    mean_high: float | None
    attention_estimate: float | None
    attention_low: float | None
    attention_high: float | None
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregations:
    """Everything of aggregations.json; n_several_images of the n_nodules tested have more than one image."""

    n_nodules: int
    n_several_images: int
    figures: Sequence[AggregationFigure]


def aggregations_content(tables: RunTables) -> Aggregations:
    """Everything of aggregations.json: each figure by both ways, and gated attention minus the mean, per nodule.

    Differences share their bootstrap draws of patients. Of nodules with one image, attention has nothing to weigh: the
    two ways then differ by the heads alone.
    """
    attended = read_parquet(tables.run.require(NODULES))
    return aggregations(tables.by_unit, attended, tables.classes, tables.run.configuration.evaluate)


def aggregations(
    by_unit: Mapping[Unit, pl.DataFrame], attended: pl.DataFrame, classes: ClassList, settings: EvaluateSettings
) -> Aggregations:
    """The same from the tables of images and nodules, as `per_unit` gives them, and the attended nodules."""
    images = tested_rows(by_unit["image"], MAIN_MODEL)
    n_images = images.group_by("nodule_id").len()["len"]
    both = {
        MEAN: tested_rows(by_unit["nodule"], MAIN_MODEL),
        GATED_ATTENTION: tested_rows(attended, GATED_ATTENTION),
    }
    found = {
        name: resample(Scope(model=name, site=EVERY_SITE, unit="nodule"), table, classes, settings, brief=True)
        for name, table in both.items()
    }
    rows = []
    for target, metric in FIGURES:
        told = {
            name: next((r for r in each.records(settings) if (r.target, r.metric) == (target, metric)), None)
            for name, each in found.items()
        }
        apart = difference_of(found[GATED_ATTENTION], found[MEAN], target, metric, confidence=settings.confidence)
        rows.append(
            AggregationFigure(
                target=target,
                metric=metric,
                **{
                    f"{short}_{end}": None if told[name] is None else getattr(told[name], end)
                    for short, name in (("mean", MEAN), ("attention", GATED_ATTENTION))
                    for end in ("estimate", "low", "high")
                },
                **{name: getattr(apart, name) for name in ("estimate", "low", "high", "p")},
                n=len(found[MEAN].keys),
            )
        )
    return Aggregations(n_nodules=len(n_images), n_several_images=int((n_images > 1).sum()), figures=rows)
