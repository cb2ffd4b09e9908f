"""A bootstrap that resamples patients, never images, stratified by class; many figures share one set of draws."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from csasn.arrays import Array

Statistic = Callable[[Array], Array]
Method = Literal["percentile", "bca"]

CHUNK_ELEMENTS = 2**17  # weights held at once, by one thread: 1 MiB, near the processor's own cache
DRAWN_AT_ONCE = 2**22
MOST_UNDEFINED = 0.05  # share of draws that may be undefined before the interval is
DIGITS = 12  # decimals to which a draw equals the estimate: sums in another order differ by rounding alone
MOST_LEFT_OUT = 200  # patients, or groups of patients, that the jackknife leaves out in turn
N_THREADS = max(1, min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bootstrapped:
    """Estimate, low and high (m,) of m statistics, and their value in each draw (n_draws, m).

    `left_out` (J, m) holds their values without each patient, or group of patients, in turn, and `left_out_strata` (J,)
    the stratum that these were of; J is 0 where no statistic was said to be smooth.
    """

    estimate: Array
    low: Array
    high: Array
    draws: Array
    left_out: Array
    left_out_strata: NDArray[np.int64]


def patient_weights(strata: NDArray[Any], *, n_draws: int, seed: int) -> NDArray[np.uint16]:
    """How often each patient is drawn: strata (P,) -> (n_draws, P); every stratum keeps its number of patients."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_draws, strata.size), dtype=np.uint16)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        step = max(1, DRAWN_AT_ONCE // members.size)
        for start in range(0, n_draws, step):
            d = min(step, n_draws - start)
            drawn = rng.integers(0, members.size, (d, members.size)) + members.size * np.arange(d)[:, np.newaxis]
            counts = np.bincount(drawn.ravel(), minlength=d * members.size)
            weights[start : start + d, members] = counts.reshape(d, members.size)
    return weights


def bootstrap(
    patients: NDArray[Any],
    statistic: Statistic,
    *,
    strata: NDArray[Any] | None = None,
    n_draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    method: Method | NDArray[np.bool_] = "percentile",
) -> Bootstrapped:
    """Resample patients with replacement within strata; all units of a patient come or stay away together.

    patients (n,) the patient of each unit; strata (n,) the stratum of its patient. `statistic` takes weights
    (d, n), one row a draw, and returns (d, m). Draws depend on the patients' names, not on the order of the rows.
    Percentile interval (Efron 1979), or BCa with a jackknife over patients (Efron 1987), for all m statistics or,
    where `method` is (m,) bool, for those that are true in it.
    """
    names, first, code = np.unique(patients, return_index=True, return_inverse=True)
    of_patient = np.zeros(names.size, dtype=np.int64) if strata is None else np.asarray(strata)[first]
    if strata is not None and (of_patient[code] != strata).any():
        raise ValueError("A patient must lie in one stratum; received units of one patient in several.")
    weights = patient_weights(of_patient, n_draws=n_draws, seed=seed)
    estimate = np.asarray(statistic(np.ones((1, code.size))), dtype=np.float64)[0]
    draws = _evaluated(statistic, weights, code)
    smooth = np.full(estimate.size, method == "bca") if isinstance(method, str) else method
    levels = np.tile([(1 - confidence) / 2, (1 + confidence) / 2], (estimate.size, 1))
    left_out, left_out_strata = np.zeros((0, estimate.size)), np.zeros(0, dtype=np.int64)
    if smooth.any() and (without := _without_each(of_patient)):
        left_out = _evaluated(statistic, np.array([weights for weights, _ in without]), code)
        left_out_strata = np.array([stratum for _, stratum in without], dtype=np.int64)
        acceleration = _acceleration(left_out, left_out_strata)
        for each in np.flatnonzero(smooth):
            levels[each] = bca_levels(estimate[each], draws[:, each], acceleration[each], levels[each])
    ends = np.array([_quantiles(*each) for each in zip(draws.T, levels, strict=True)]).reshape(-1, 2)
    low, high = np.where(np.isnan(estimate), np.nan, ends.T)
    return Bootstrapped(
        estimate=estimate,
        low=low,
        high=high,
        draws=draws,
        left_out=left_out,
        left_out_strata=left_out_strata,
    )


def _evaluated(statistic: Statistic, weights: NDArray[Any], code: NDArray[np.int64]) -> Array:
    """The statistic of each row of patient weights (D, P), a chunk at a time on every core -> (D, m)."""
    step = max(1, CHUNK_ELEMENTS // max(code.size, 1))
    one_each = np.array_equal(code, np.arange(weights.shape[1]))

    def chunk(start: int) -> Array:
        rows = weights[start : start + step]
        return statistic((rows if one_each else np.take(rows, code, axis=1)).astype(np.float64))

    with ThreadPoolExecutor(N_THREADS) as pool:
        return np.concatenate(list(pool.map(chunk, range(0, len(weights), step))))


def _without_each(strata: NDArray[Any]) -> list[tuple[Array, int]]:
    """Weights of the patients (P,) without each of them in turn, and the stratum of who was left out.

    Beyond MOST_LEFT_OUT patients, groups are left out instead. What remains of a stratum is weighted up to its size, so
    that the mix of classes stays; a patient alone in a stratum is never left out.
    """
    found = []
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        n_groups = min(members.size, max(2, round(MOST_LEFT_OUT * members.size / max(strata.size, MOST_LEFT_OUT))))
        for group in range(n_groups if members.size > 1 else 0):
            row, gone = np.ones(strata.size), members[group::n_groups]
            row[members] = members.size / (members.size - gone.size)
            row[gone] = 0.0
            found.append((row, int(stratum)))
    return found


def _acceleration(left_out: Array, strata: NDArray[np.int64]) -> Array:
    """BCa's acceleration of each statistic for patients drawn within strata (Davison & Hinkley 1997, 5.3.2) -> (m,).

    a = sum_s sum_i l_si^3 / n_s^3 / (6 (sum_s sum_i l_si^2 / n_s^2)^1.5), where l_si is (n_s - 1) times the mean of the
    stratum's leave-one-out values less the one without i; 0 where none of them differ.
    """
    second, third = np.zeros(left_out.shape[1]), np.zeros(left_out.shape[1])
    for stratum in np.unique(strata):
        own = left_out[strata == stratum]
        influence = (len(own) - 1) * (own.mean(axis=0) - own)
        second += (influence**2).sum(axis=0) / len(own) ** 2
        third += (influence**3).sum(axis=0) / len(own) ** 3
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(second > 0, third / (6 * second**1.5), 0.0), dtype=np.float64)


def bca_levels(estimate: float, draws: Array, acceleration: float, levels: Array) -> Array:
    """Quantile levels after bias correction z0 and acceleration a: Phi(z0 + (z0 + z) / (1 - a (z0 + z))).

    Undefined draws are left out; where all are, or the acceleration is undefined, the levels stay as they are.
    """
    defined = draws[~np.isnan(draws)]
    if defined.size == 0 or not np.isfinite(acceleration):
        return levels
    apart = (defined - estimate).round(DIGITS)
    share = ((apart < 0).mean() + (apart <= 0).mean()) / 2
    z0 = norm.ppf(np.clip(share, 0.5 / defined.size, 1 - 0.5 / defined.size))
    shifted = z0 + norm.ppf(levels)
    return np.asarray(norm.cdf(z0 + shifted / (1 - acceleration * shifted)), dtype=np.float64)


def _quantiles(draws: Array, levels: Array) -> Array:
    defined = draws[~np.isnan(draws)]
    if defined.size < (1 - MOST_UNDEFINED) * draws.size or np.isnan(levels).any():
        return np.full(2, np.nan)
    return np.asarray(np.quantile(defined, levels), dtype=np.float64)
