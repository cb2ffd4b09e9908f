"""Confidence intervals: Wilson for a share, and a bootstrap that resamples patients, never images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

CHUNK_ELEMENTS = 2**16  # weights held at once: half a MiB, so that a chunk stays in the processor's cache
MOST_UNDEFINED = 0.05  # share of draws that may be undefined before the interval is


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share k/n without continuity correction (Newcombe 1998, method 3).

    Raises ValueError where n is 0: a share of nothing has no interval.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"A share needs 0 <= k <= n and n > 0; received k={k}, n={n}.")
    interval = binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bootstrapped:
    """Estimate, low and high (m,) of m statistics, and their value in each draw (n_draws, m)."""

    estimate: Array
    low: Array
    high: Array
    draws: Array


def patient_weights(strata: NDArray[Any], *, n_draws: int, seed: int) -> NDArray[np.int32]:
    """How often each patient is drawn: strata (P,) -> (n_draws, P); every stratum keeps its number of patients."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_draws, strata.size), dtype=np.int32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        weights[:, members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size), size=n_draws)
    return weights


def bootstrap(
    patients: NDArray[Any],
    statistic: Statistic,
    *,
    strata: NDArray[Any] | None = None,
    n_draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "percentile",
) -> Bootstrapped:
    """Resample patients with replacement within strata; all units of a patient come or stay away together.

    patients (n,) the patient of each unit; strata (n,) the stratum of its patient. `statistic` takes weights
    (d, n), one row a draw, and returns (d, m). Draws depend on the patients' names, not on the order of the rows.
    Percentile interval (Efron 1979), or BCa with a jackknife over patients (Efron 1987).
    """
    names, first, code = np.unique(patients, return_index=True, return_inverse=True)
    of_patient = np.zeros(names.size, dtype=np.int64) if strata is None else np.asarray(strata)[first]
    if strata is not None and (of_patient[code] != strata).any():
        raise ValueError("A patient must lie in one stratum; received units of one patient in several.")
    weights = patient_weights(of_patient, n_draws=n_draws, seed=seed)
    estimate = np.asarray(statistic(np.ones((1, code.size))), dtype=np.float64)[0]
    draws = _evaluated(statistic, weights, code)
    levels = np.tile([(1 - confidence) / 2, (1 + confidence) / 2], (estimate.size, 1))
    if method == "bca":
        left_out = _evaluated(statistic, 1 - np.eye(names.size, dtype=np.int32), code)
        levels = np.stack([_bca_levels(*each, levels[0]) for each in zip(estimate, draws.T, left_out.T, strict=True)])
    ends = np.array([_quantiles(*each) for each in zip(draws.T, levels, strict=True)])
    low, high = np.where(np.isnan(estimate), np.nan, ends.T)
    return Bootstrapped(estimate=estimate, low=low, high=high, draws=draws)


def _evaluated(statistic: Statistic, weights: NDArray[np.int32], code: NDArray[np.int64]) -> Array:
    """The statistic of each row of patient weights (D, P), a chunk at a time -> (D, m)."""
    step = max(1, CHUNK_ELEMENTS // code.size)
    chunks = (weights[start : start + step, code].astype(np.float64) for start in range(0, len(weights), step))
    return np.concatenate([statistic(chunk) for chunk in chunks])


def _bca_levels(estimate: float, draws: Array, left_out: Array, levels: Array) -> Array:
    """Quantile levels after bias correction z0 and acceleration a: Phi(z0 + (z0 + z) / (1 - a (z0 + z)))."""
    share = np.clip(
        ((draws < estimate).mean() + (draws <= estimate).mean()) / 2, 0.5 / draws.size, 1 - 0.5 / draws.size
    )
    z0 = norm.ppf(share)
    apart = left_out.mean() - left_out
    spread = (apart**2).sum() ** 1.5
    acceleration = (apart**3).sum() / (6 * spread) if spread > 0 else 0.0
    shifted = z0 + norm.ppf(levels)
    return np.asarray(norm.cdf(z0 + shifted / (1 - acceleration * shifted)), dtype=np.float64)


def _quantiles(draws: Array, levels: Array) -> Array:
    defined = draws[~np.isnan(draws)]
    if defined.size < (1 - MOST_UNDEFINED) * draws.size or np.isnan(levels).any():
        return np.full(2, np.nan)
    return np.asarray(np.quantile(defined, levels), dtype=np.float64)
