"""The variance of AUROCs, and of the difference of two, without resampling (DeLong 1988) in n log n (Sun & Xu 2014)."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from csasn.arrays import Array, Labels

ROUNDING = 1e-12  # share of two variances below which that of the difference is rounding alone


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Delong:
    """AUROCs (r,) of r readers of the same units, and their covariance (r, r)."""

    auroc: Array
    covariance: Array

    def interval(self, reader: int = 0, *, confidence: float = 0.95, scale: str = "logit") -> tuple[float, float]:
        """The interval of one reader's AUROC: on the logit scale (stays in [0, 1]), or "plain" as pROC prints it.

        NaN where the AUROC is 0 or 1: there is no variance to build it on.
        """
        area, error = float(self.auroc[reader]), float(np.sqrt(self.covariance[reader, reader]))
        z = float(norm.ppf((1 + confidence) / 2))
        if not 0 < area < 1:
            return float("nan"), float("nan")
        if scale == "plain":
            return area - z * error, min(1.0, area + z * error)
        reach = z * error / (area * (1 - area))
        return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))

    def error(self, first: int = 0, second: int = 1) -> float:
        """The standard error of the difference of two AUROCs; 0 where both rank alike."""
        own = float(self.covariance[first, first] + self.covariance[second, second])
        variance = own - 2 * float(self.covariance[first, second])
        return sqrt(variance) if variance > ROUNDING * own else 0.0

    def difference(self, *, confidence: float = 0.95) -> tuple[float, float, float]:
        """The first reader's AUROC less the second's, and its interval on the plain scale."""
        estimate, reach = float(self.auroc[0] - self.auroc[1]), float(norm.ppf((1 + confidence) / 2)) * self.error()
        return estimate, estimate - reach, estimate + reach

    def z(self, first: int = 0, second: int = 1) -> float:
        """The difference of two AUROCs over its standard error; NaN where that is 0."""
        error = self.error(first, second)
        return float(self.auroc[first] - self.auroc[second]) / error if error > 0 else float("nan")

    def p(self, first: int = 0, second: int = 1) -> float:
        """Two-sided p that two AUROCs are equal."""
        return float(2 * norm.sf(abs(self.z(first, second))))


def delong(y_true: Labels, y_prob: Array, patients: NDArray[Any] | None = None) -> Delong:
    """y_true (n,) bool, y_prob (r, n) or (n,); patients (n,) where units of one patient are to count as one cluster.

    Without patients every unit is its own. Clusters: Obuchowski 1997, Biometrics 53:567, whose covariance is DeLong's
    where every cluster holds one unit. Raises ValueError where either side has fewer than two patients.
    """
    actual, readers = np.asarray(y_true, dtype=bool), np.atleast_2d(np.asarray(y_prob, dtype=np.float64))
    names = np.arange(actual.size) if patients is None else patients
    code = np.unique(names, return_inverse=True)[1]
    m, n, n_clusters = int(actual.sum()), int((~actual).sum()), int(code.max(initial=-1)) + 1
    with_both = [int(np.unique(code[side]).size) for side in (actual, ~actual)]
    if min(with_both) < 2:
        raise ValueError(
            f"DeLong's variance needs two units on each side; received {with_both[0]} positive and {with_both[1]} "
            "negative."
        )
    whole = rankdata(readers, axis=1)
    of_positives = (whole[:, actual] - rankdata(readers[:, actual], axis=1)) / n
    of_negatives = 1 - (whole[:, ~actual] - rankdata(readers[:, ~actual], axis=1)) / m
    areas = of_positives.mean(axis=1)
    ten = _excess(of_positives, areas, code[actual], n_clusters) / m
    one = _excess(of_negatives, areas, code[~actual], n_clusters) / n
    within, across = [k / (k - 1) for k in with_both], n_clusters / (n_clusters - 1) * (ten @ one.T)
    covariance = within[0] * (ten @ ten.T) + within[1] * (one @ one.T) + across + across.T
    return Delong(auroc=areas, covariance=np.asarray(covariance, dtype=np.float64))


def _excess(placements: Array, areas: Array, code: NDArray[np.int64], n_clusters: int) -> Array:
    """Placement values (r, m) less the AUROC, summed by cluster -> (r, clusters)."""
    centred = placements - areas[:, np.newaxis]
    return np.array([np.bincount(code, weights=each, minlength=n_clusters) for each in centred])
