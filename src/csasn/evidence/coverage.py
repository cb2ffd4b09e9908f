"""How often prediction sets hold the true class, against what few tuning patients can promise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import betabinom

from csasn.calibration.prediction_sets import BAND, Scarcity, prediction_sets, rank_of
from csasn.evidence.statistics.intervals import wilson
from csasn.schema import ClassList
from csasn.units import units_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """How many patients of a class, at a site or at all, have it in their set; `size` is their mean number of classes.

    expected_low and expected_high hold the share covered in 99 of 100 cohorts where these patients resemble the tuning
    ones; `breaks` says that it lies below.
    """

    site: str
    target: str
    n: int
    covered: int
    estimate: float | None
    low: float | None
    high: float | None
    expected_low: float | None
    expected_high: float | None
    breaks: bool
    size: float | None
    note: str


def coverage(
    test: pl.DataFrame, classes: ClassList, found: Sequence[Scarcity], *, alpha: float, confidence: float = 0.95
) -> list[Coverage]:
    """Coverage and set size of every class, over all sites and at each; `test` has one model's test rows."""
    sets, units = prediction_sets(test, classes, found), units_of(test, classes)
    folds, sites = test["fold"].to_numpy(), test["site"].to_numpy()
    of = {(each.fold, each.target): each for each in found}
    rows = []
    for site in ("all", *sorted(set(sites.tolist()))):
        here = np.ones(len(sites), dtype=bool) if site == "all" else sites == site
        for k, name in enumerate(classes.names):
            own = here & (units.y_true == k)
            expected = _expected(
                [(of[fold, name], int((own & (folds == fold)).sum())) for fold in set(folds.tolist())], alpha
            )
            rows.append(_coverage(site, name, sets[own], k, expected, confidence))
    return rows


def _expected(parts: Sequence[tuple[Scarcity, int]], alpha: float) -> tuple[float, float]:
    """The 99 % band of the number covered: one beta-binomial a fold, added up."""
    pmf = np.ones(1)
    for scarcity, n in parts:
        rank = rank_of(scarcity.n, alpha)
        own = np.eye(n + 1)[n] if rank > scarcity.n else betabinom.pmf(np.arange(n + 1), n, rank, scarcity.n + 1 - rank)
        pmf = np.convolve(pmf, own)
    cumulative = np.cumsum(pmf)
    return float(np.searchsorted(cumulative, (1 - BAND) / 2)), float(np.searchsorted(cumulative, (1 + BAND) / 2))


def _coverage(
    site: str, name: str, sets: NDArray[np.bool_], k: int, expected: tuple[float, float], confidence: float
) -> Coverage:
    n, covered = len(sets), int(sets[:, k].sum())
    low, high = wilson(covered, n, confidence) if n else (None, None)
    breaks = bool(n) and covered < expected[0]
    return Coverage(
        site=site,
        target=name,
        n=n,
        covered=covered,
        estimate=covered / n if n else None,
        low=low,
        high=high,
        expected_low=expected[0] / n if n else None,
        expected_high=min(1.0, expected[1] / n) if n else None,
        breaks=breaks,
        size=float(sets.sum(axis=1).mean()) if n else None,
        note=(
            "not estimable: no patient of this class"
            if not n
            else "fewer are covered than patients like the tuning ones would be"
            if breaks
            else ""
        ),
    )
