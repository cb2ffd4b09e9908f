"""Paired comparison of two models: bootstrap p-values, Holm, McNemar, detectable differences."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from csasn.arrays import Array

POWER = 0.8


EXACT_BELOW = 25  # discordant pairs


def bootstrap_p(draws: Array) -> float:
    """Two-sided p that a difference is 0: 2 (min(#{d <= 0}, #{d >= 0}) + 1) / (D + 1), at most 1.

    The added one keeps p above 0 (Davison & Hinkley 1997, 4.2); draws (D,), undefined ones left out.
    """
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return float("nan")
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (defined.size + 1)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over one declared family (Holm 1979); None stays None and is not counted."""
    known = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def mcnemar(b: int, c: int) -> tuple[float, float, str]:
    """Statistic, two-sided p and method of McNemar's test: exact binomial below 25 discordant pairs, else corrected.

    b and c count the discordant pairs of either kind (McNemar 1947).
    """
    exact = b + c < EXACT_BELOW
    found = statsmodels_mcnemar([[0, b], [c, 0]], exact=exact, correction=True)
    return float(found.statistic), min(1.0, float(found.pvalue)), "McNemar exact" if exact else "McNemar corrected"


def detectable_difference(error: float, *, confidence: float = 0.95, family: int = 1, power: float = POWER) -> float:
    """The smallest true difference found with the given power: (z_(1 - alpha / 2m) + z_power) times its standard error.

    m is the size of the family, so that Holm's first and strictest step is meant.
    """
    return float((norm.ppf(1 - (1 - confidence) / (2 * family)) + norm.ppf(power)) * error)
