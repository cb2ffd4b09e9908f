"""Confidence intervals in closed form: of a share, of a share among clustered units, of predictive values, of AUROC."""

from collections.abc import Sequence
from math import isfinite, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t

from csasn.arrays import Array

Interval = tuple[float, float]
EDGE = 1e-12
NO_WIDTH = 1e-9  # below which an interval has none: sums in another order differ by rounding


def wilson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a share k/n without continuity correction (Newcombe 1998, method 3).

    Raises ValueError where n is 0: a share of nothing has no interval.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"A share needs 0 <= k <= n and n > 0; received k={k}, n={n}.")
    interval = binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def clustered_wilson(hits: NDArray[Any], patients: NDArray[Any], confidence: float = 0.95) -> Interval:
    """Wilson's interval of the share of hits (n,) bool among units of patients (n,), at the effective n.

    The effective n is n over the design effect of the ratio estimator (Rao & Scott 1992), at most n; the number of
    patients where all their shares are the same: no variance can be seen. Raises ValueError where there are no units.
    """
    if hits.size == 0:
        raise ValueError("A share needs at least one unit; received none.")
    _, code = np.unique(patients, return_inverse=True)
    size, share = np.bincount(code), int(hits.sum()) / hits.size
    n_patients = size.size
    excess = hits.size * np.bincount(code, weights=hits) - hits.sum() * size  # whole numbers: no spread is exactly 0
    variance = n_patients / max(n_patients - 1, 1) * float(excess @ excess) / hits.size**4
    n = share * (1 - share) / variance if variance > 0 else float(n_patients)
    n = min(n, float(hits.size))
    return score_interval(share, n, confidence)


def score_interval(share: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a share of n units, where n and the number of hits need not be whole."""
    z = float(norm.ppf((1 + confidence) / 2))
    centre, reach = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n)
    return (0.0 if share == 0 else float(low)), (1.0 if share == 1 else float(high))


def is_flat(low: float, high: float) -> bool:
    """Whether a resampled interval has no width but for rounding: resampling then knows nothing of the spread."""
    return abs(high - low) <= NO_WIDTH


def mean_interval(estimates: Sequence[float], ends: Sequence[Interval], *, together: bool) -> Interval:
    """The interval of the mean of figures from each figure's own ends (MOVER: Zou & Donner 2008, Stat Med 27:1693).

    Independent figures: the square root of the sum of squared distances. Those that may move `together`: the sum, which
    is the widest that any correlation between them gives. Raises ValueError where there is no figure.
    """
    if not estimates:
        raise ValueError("A mean needs at least one figure; received none.")
    centre = np.asarray(estimates, dtype=np.float64)
    apart = np.abs(np.asarray(ends, dtype=np.float64).T - centre)
    reach = (apart.sum(axis=1) if together else np.sqrt((apart**2).sum(axis=1))) / centre.size
    return float(centre.mean() - reach[0]), float(centre.mean() + reach[1])


def predictive_value_interval(
    *, sensitivity: tuple[int, int], specificity: tuple[int, int], prevalence: float, confidence: float = 0.95
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """PPV and NPV at a declared prevalence with logit intervals, each (estimate, low, high) (Mercaldo 2007).

    Numerator and denominator of either share are given; where one is 0 or 1, half a unit is added on both sides for
    the interval, never for the estimate. NaN where nobody, or everybody, is called positive. Raises ValueError where a
    denominator is 0.
    """
    if 0 in (sensitivity[1], specificity[1]):
        raise ValueError(f"Both denominators must be positive; received {sensitivity[1]} and {specificity[1]}.")
    z, odds = float(norm.ppf((1 + confidence) / 2)), prevalence / (1 - prevalence)
    plain_se, plain_sp = sensitivity[0] / sensitivity[1], specificity[0] / specificity[1]
    (se, n_se), (sp, n_sp) = (_off_the_edge(*each) for each in (sensitivity, specificity))
    ppv = _around(
        _share(plain_se * odds, 1 - plain_sp),
        centre=log(se * odds / (1 - sp)),
        reach=z * sqrt((1 - se) / se / n_se + sp / (1 - sp) / n_sp),
    )
    npv = _around(
        _share(plain_sp, (1 - plain_se) * odds),
        centre=log(sp / (1 - se) / odds),
        reach=z * sqrt(se / (1 - se) / n_se + (1 - sp) / sp / n_sp),
    )
    return ppv, npv


def _around(estimate: float, *, centre: float, reach: float) -> tuple[float, float, float]:
    """An estimate with the ends of its logit interval, moved out where a boundary put the estimate beyond them."""
    low, high = float(expit(centre - reach)), float(expit(centre + reach))
    return (estimate, min(low, estimate), max(high, estimate)) if isfinite(estimate) else (estimate,) * 3


def _share(wanted: float, other: float) -> float:
    return wanted / (wanted + other) if wanted + other > 0 else float("nan")


def _off_the_edge(k: int, n: int) -> tuple[float, float]:
    return (k / n, float(n)) if 0 < k < n else ((k + 0.5) / (n + 1), n + 1.0)


def newcombe_auroc(area: float, *, n_positive: int, n_negative: int, confidence: float = 0.95) -> Interval:
    """A score-like interval of AUROC that also holds at 0 and 1, where resampling sees no spread (Newcombe 2006, 5).

    Solves (area - a)^2 = z^2 V(a) with Hanley and McNeil's V under exponential odds and N = (m + n) / 2 on both sides.
    Raises ValueError where a side is empty.
    """
    if min(n_positive, n_negative) < 1 or not 0 <= area <= 1:
        raise ValueError(f"An AUROC in [0, 1] needs both sides; received {area}, {n_positive}, {n_negative}.")
    z, mean = float(norm.ppf((1 + confidence) / 2)), (n_positive + n_negative) / 2

    def excess(a: float) -> float:
        spread = 1 + (mean - 1) * ((1 - a) / (2 - a) + a / (1 + a))
        return (area - a) ** 2 - z**2 * a * (1 - a) * spread / (n_positive * n_negative)

    # at 0 and 1 the estimate is itself a root, and the other one is wanted
    low = 0.0 if area == 0 else float(brentq(excess, 0.0, min(area, 1 - EDGE)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, EDGE), 1.0))
    return low, high


def auprc_interval(
    estimate: float,
    left_out: Array,
    strata: NDArray[np.int64],
    *,
    n_positive: int,
    n_negative: int,
    confidence: float = 0.95,
) -> Interval:
    """The interval of an AUPRC from its values without each patient, left_out (J,), of strata (J,).

    Variance of the logit: sum_s (n_s - 1) / n_s sum_i (l_si - mean l_s)^2 over the n_s values of a stratum (the
    stratified jackknife; logit: Boyd, Eng & Page 2013, ECML PKDD 451). t has one degree of freedom less than patients
    on the smaller side. A value that is 1, whose logit is infinite, is taken along the tangent at the estimate. At an
    estimate of 1 there is no variance: Wilson's interval of n_positive right of n_positive, because AUPRC is a mean of
    shares over the positives, which varies most where each is 0 or 1. NaN where fewer than two are on a side.
    """
    if min(n_positive, n_negative) < 2:
        return float("nan"), float("nan")
    if estimate >= 1:
        z = float(norm.ppf((1 + confidence) / 2))
        return n_positive / (n_positive + z**2), 1.0
    tangent = logit(estimate) + (left_out - estimate) / (estimate * (1 - estimate))
    logits = np.where(left_out < 1, logit(np.minimum(left_out, np.nextafter(1, 0))), tangent)
    variance = 0.0
    for stratum in np.unique(strata):
        own = logits[strata == stratum]
        variance += (own.size - 1) * float(own.var())
    reach = float(t.ppf((1 + confidence) / 2, min(n_positive, n_negative) - 1)) * np.sqrt(variance)
    return tuple(1 / (1 + np.exp(-(logit(estimate) + each))) for each in (-reach, reach))
