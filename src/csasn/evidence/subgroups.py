"""The malignancy figures of CSASN by device, age band, sex and nodule size, where the manifest has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from csasn.evidence.metric_panel import too_few
from csasn.evidence.record import finite
from csasn.evidence.statistics.delong import delong
from csasn.evidence.statistics.intervals import newcombe_auroc, wilson
from csasn.schema import ClassList
from csasn.units import MALIGNANCY, units_of

AGE_BANDS = (40.0, 55.0, 70.0)  # years; 55 is the cut of the AJCC's staging
SIZE_BANDS_MM = (10.0, 20.0, 40.0)  # microcarcinoma; T1 to T2; T2 to T3
SEVERAL, UNKNOWN = "several", "not known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subgroup:
    """One figure of malignancy among the patients of one group; `by` names the grouping, `group` the group.

    For sensitivity and specificity n is the denominator and n_positive the numerator.
    """

    by: str
    group: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    n_positive: int
    method: str
    note: str


def groups_of(patients: pl.DataFrame, manifest: pl.DataFrame) -> pl.DataFrame:
    """The group of each patient, one column a grouping, for those columns that the manifest fills anywhere.

    A patient has the device of all its images or "several", its largest nodule, and its age at the first examination.
    """
    known = manifest.group_by("patient_id").agg(
        device=pl.when(pl.col("device").drop_nulls().n_unique() > 1)
        .then(pl.lit(SEVERAL))
        .otherwise(pl.col("device").drop_nulls().first()),
        age=_banded(pl.col("age_years").min(), AGE_BANDS, "years"),
        sex=pl.when(pl.col("sex").drop_nulls().n_unique() > 1)
        .then(pl.lit(SEVERAL))
        .otherwise(pl.col("sex").drop_nulls().first()),
        nodule_size=_banded(pl.col("nodule_size_mm").max(), SIZE_BANDS_MM, "mm"),
    )
    joined = patients.select("patient_id").join(known, on="patient_id", how="left", maintain_order="left")
    filled = [name for name in joined.columns[1:] if joined[name].count()]
    return joined.select("patient_id", pl.col(filled).fill_null(UNKNOWN))


def _banded(value: pl.Expr, edges: tuple[float, ...], unit: str) -> pl.Expr:
    """Bands that include their lower edge; null where the value is not known."""
    names = [f"below {edges[0]:g} {unit}", *(f"{low:g} to below {high:g} {unit}" for low, high in pairwise(edges))]
    bands = [pl.when(value < edge).then(pl.lit(name)) for edge, name in zip(edges, names, strict=True)]
    return pl.coalesce(*bands, pl.when(value.is_not_null()).then(pl.lit(f"{edges[-1]:g} {unit} or more")))


def subgroups(
    test: pl.DataFrame,
    called: Mapping[str, bool],
    manifest: pl.DataFrame,
    classes: ClassList,
    *,
    confidence: float = 0.95,
) -> list[Subgroup]:
    """AUROC, sensitivity and specificity of malignancy in every group; `test` has CSASN's test rows, one a patient.

    `called` says of each patient whether its fold's frozen operating point calls it malignant.
    """
    groups = groups_of(test, manifest)
    found: list[Subgroup] = []
    for by in groups.columns[1:]:
        for group in sorted(groups[by].unique().to_list()):
            rows = test.filter(groups[by] == group)
            found += _figures(by, group, rows, called, classes, confidence)
    return found


def _figures(
    by: str, group: str, rows: pl.DataFrame, called: Mapping[str, bool], classes: ClassList, confidence: float
) -> Iterator[Subgroup]:
    binary = units_of(rows, classes).binary(MALIGNANCY)
    reason = too_few(MALIGNANCY, binary)
    n_positive, n = int(binary.y_true.sum()), binary.y_true.size
    ends, method = None, "DeLong, logit scale"
    if not reason:
        readers = delong(binary.y_true, binary.y_prob)
        area, ends_of = float(readers.auroc[0]), readers.interval(confidence=confidence)
        if not np.isfinite(ends_of[0]):
            method = "Newcombe's method 5"
            ends_of = newcombe_auroc(area, n_positive=n_positive, n_negative=n - n_positive, confidence=confidence)
        ends = (area, *ends_of)
    yield _row(by, group, "auroc", ends, n, n_positive, method, reason)
    names = rows["patient_id"].to_list()
    for metric, malignant in (("sensitivity", True), ("specificity", False)):
        hits = [
            called[name] == malignant
            for name, truth in zip(names, binary.y_true.tolist(), strict=True)
            if truth == malignant and name in called
        ]
        share = (sum(hits) / len(hits), *wilson(sum(hits), len(hits), confidence)) if hits else None
        note = "" if hits else f"not estimable: the denominator of {metric} is 0"
        yield _row(by, group, metric, share, len(hits), sum(hits), "Wilson at the frozen operating point", note)


def _row(
    by: str,
    group: str,
    metric: str,
    ends: tuple[float, float, float] | None,
    n: int,
    n_positive: int,
    method: str,
    note: str,
) -> Subgroup:
    estimate, low, high = finite(ends)
    return Subgroup(
        by=by,
        group=group,
        metric=metric,
        estimate=estimate,
        low=low,
        high=high,
        n=n,
        n_positive=n_positive,
        method=method,
        note=note,
    )
