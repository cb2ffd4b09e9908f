"""Whether a probability means what it says: reliability in equal-mass bins, and the expected calibration error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.arrays import Array, Labels
from csasn.evidence.statistics.intervals import wilson
from csasn.evidence.statistics.metrics import sums_by_group


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """One bin: mean probability, observed share with its Wilson interval, and the units in it."""

    mean_probability: float
    observed: float
    low: float
    high: float
    n: int


def equal_mass_bins(y_prob: Array, *, n_bins: int = 10) -> NDArray[np.int64]:
    """The bin of each unit (n,), cut at the quantiles of y_prob; equal probabilities share a bin, empty bins vanish."""
    edges = np.quantile(y_prob, np.linspace(0, 1, n_bins + 1)[1:-1])
    crowded = np.searchsorted(np.unique(edges), y_prob, side="right")
    return np.asarray(np.unique(crowded, return_inverse=True)[1], dtype=np.int64)


def reliability(y_true: Labels, y_prob: Array, *, n_bins: int = 10, confidence: float = 0.95) -> tuple[Bin, ...]:
    """The reliability diagram's bins: y_true (n,) bool against y_prob (n,)."""
    actual, bins = np.asarray(y_true, dtype=bool), equal_mass_bins(y_prob, n_bins=n_bins)
    found = []
    for each in range(bins.max() + 1):
        inside = bins == each
        k, n = int(actual[inside].sum()), int(inside.sum())
        low, high = wilson(k, n, confidence)
        found.append(
            Bin(mean_probability=float(y_prob[inside].mean()), observed=k / n, low=low, high=high, n=n),
        )
    return tuple(found)


def ece(y_true: Labels, y_prob: Array, *, n_bins: int = 10, sample_weight: Array | None = None) -> Array:
    """Expected calibration error, L1: sum over bins of (n_b / n) |mean p - observed share| (Naeini 2015).

    y_true (n,) bool, y_prob (n,), sample_weight (..., n) -> (...). The bins are those of the unweighted units.
    """
    weights = np.ones(len(y_prob)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    bins = equal_mass_bins(y_prob, n_bins=n_bins)
    excess = weights * (y_prob - np.asarray(y_true, dtype=np.float64))
    gaps = np.abs(sums_by_group(excess, bins, n_groups=int(bins.max()) + 1))
    return np.asarray(gaps.sum(axis=-1) / weights.sum(axis=-1), dtype=np.float64)


def top_label(y_true: Labels, y_prob: Array) -> tuple[NDArray[np.bool_], Array]:
    """Whether the most probable class is right, and its probability: (n,), (n, K) -> (n,), (n,)."""
    return np.asarray(y_prob.argmax(axis=1) == y_true), np.asarray(y_prob.max(axis=1), dtype=np.float64)


def ece_norms(y_true: Labels, y_prob: Array, *, edges: Array) -> tuple[float, float, float]:
    """L1, L2 and largest gap between mean probability and observed share over bins of given edges (Kumar 2019)."""
    bins = np.clip(np.searchsorted(edges, y_prob, side="right") - 1, 0, len(edges) - 2)
    present, code = np.unique(bins, return_inverse=True)
    weight = np.bincount(code) / y_prob.size
    gaps = np.abs(np.bincount(code, weights=y_prob - np.asarray(y_true, dtype=np.float64)) / np.bincount(code))
    return float(weight @ gaps), float(np.sqrt(weight @ gaps**2)), float(gaps.max(initial=0.0)) if present.size else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Murphy:
    """Brier = reliability - resolution + uncertainty + within, over the distinct forecasts of equal-mass bins.

    Reliability is 0 for calibrated probabilities, resolution large for telling ones; `within` is what binning leaves
    over (Stephenson 2008), 0 where each bin holds one probability.
    """

    target: str
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    n: int


def murphy(target: str, y_true: Labels, y_prob: Array, bins: NDArray[np.int64]) -> Murphy:
    """The decomposition of a Brier score (Murphy 1973): y_true (n,) bool, y_prob (n,), bins (n,) numbered from 0."""
    actual, n = np.asarray(y_true, dtype=np.float64), y_prob.size
    size = np.bincount(bins)
    size = np.where(size > 0, size, 1)
    share, mean = np.bincount(bins, weights=actual) / size, np.bincount(bins, weights=y_prob) / size
    base, weight = float(actual.mean()), np.bincount(bins) / n
    brier = float(((y_prob - actual) ** 2).mean())
    reliability_term, resolution = float(weight @ (mean - share) ** 2), float(weight @ (share - base) ** 2)
    uncertainty = base * (1 - base)
    return Murphy(
        target=target,
        brier=brier,
        reliability=reliability_term,
        resolution=resolution,
        uncertainty=uncertainty,
        within=brier - (reliability_term - resolution + uncertainty),
        n=n,
    )
