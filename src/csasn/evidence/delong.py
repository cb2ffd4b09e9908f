"""The variance of AUROCs, and of the difference of two, without resampling (DeLong 1988) in n log n (Sun & Xu 2014)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from csasn.evidence.ranking import Array, Labels


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

    def z(self, first: int = 0, second: int = 1) -> float:
        """The difference of two AUROCs over its standard error; NaN where that is 0."""
        contrast = np.zeros(self.auroc.size)
        contrast[first], contrast[second] = 1.0, -1.0
        variance = float(contrast @ self.covariance @ contrast)
        return float((contrast @ self.auroc) / np.sqrt(variance)) if variance > 0 else float("nan")

    def p(self, first: int = 0, second: int = 1) -> float:
        """Two-sided p that two AUROCs are equal."""
        return float(2 * norm.sf(abs(self.z(first, second))))


def delong(y_true: Labels, y_prob: Array) -> Delong:
    """y_true (n,) bool, y_prob (r, n) or (n,); the units must be independent (patients, not their images).

    Raises ValueError where either side has fewer than two units: a variance needs two.
    """
    actual, readers = np.asarray(y_true, dtype=bool), np.atleast_2d(np.asarray(y_prob, dtype=np.float64))
    m, n = int(actual.sum()), int((~actual).sum())
    if min(m, n) < 2:
        raise ValueError(f"DeLong's variance needs two units on each side; received {m} positive and {n} negative.")
    whole = rankdata(readers, axis=1)
    of_positives = (whole[:, actual] - rankdata(readers[:, actual], axis=1)) / n
    of_negatives = 1 - (whole[:, ~actual] - rankdata(readers[:, ~actual], axis=1)) / m
    covariance = np.atleast_2d(np.cov(of_positives)) / m + np.atleast_2d(np.cov(of_negatives)) / n
    return Delong(auroc=of_positives.mean(axis=1), covariance=np.asarray(covariance, dtype=np.float64))
