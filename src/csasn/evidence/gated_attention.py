"""A nodule's images put together in two ways, on the same nodules: mean of logits, and gated attention."""

from collections.abc import Mapping

import polars as pl

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import METRICS_COMPARED, difference_of
from csasn.evidence.estimates import resample
from csasn.evidence.metric_panel import EVERY_CLASS
from csasn.evidence.record import EVERY_SITE, Scope
from csasn.evidence.run_tables import RunTables
from csasn.schema import GATED_ATTENTION, ClassList
from csasn.units import MAIN_MODEL, MALIGNANCY, Unit, tested_rows

NODULES = "nodules.parquet"
MEAN = "mean of logits"
FIGURES = (*((EVERY_CLASS, metric) for metric in METRICS_COMPARED), (MALIGNANCY, "auroc"))


def aggregations_content(tables: RunTables) -> dict[str, object]:
    """Everything of aggregations.json: each figure by both ways, and gated attention minus the mean, per nodule.

    Differences share their bootstrap draws of patients. Of nodules with one image, attention has nothing to weigh: the
    two ways then differ by the heads alone.
    """
    attended = pl.read_parquet(tables.run.require(NODULES))
    return aggregations(tables.by_unit, attended, tables.classes, tables.run.configuration.evaluate)


def aggregations(
    by_unit: Mapping[Unit, pl.DataFrame], attended: pl.DataFrame, classes: ClassList, settings: EvaluateSettings
) -> dict[str, object]:
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
            {
                "target": target,
                "metric": metric,
                **{
                    f"{short}_{end}": None if told[name] is None else getattr(told[name], end)
                    for short, name in (("mean", MEAN), ("attention", GATED_ATTENTION))
                    for end in ("estimate", "low", "high")
                },
                **{name: getattr(apart, name) for name in ("estimate", "low", "high", "p")},
                "n": len(found[MEAN].keys),
            }
        )
    return {"n_nodules": len(n_images), "n_several_images": int((n_images > 1).sum()), "figures": rows}
