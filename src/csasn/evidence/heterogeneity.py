"""How much a figure differs between sites: random effects on the logit scale, I^2, and what a further site may see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import chi2, t
from statsmodels.stats.meta_analysis import combine_effects

from csasn.evidence.estimates import Resampled
from csasn.evidence.metric_panel import EVERY_CLASS
from csasn.units import MALIGNANCY

COMBINED = ((EVERY_CLASS, "macro_auroc"), (EVERY_CLASS, "balanced_accuracy"), (MALIGNANCY, "auroc"))
FEWEST_SITES = 2
FEWEST_FOR_PREDICTION = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Heterogeneity:
    """One figure over k sites: mean site with its interval, the range of a further site, and the spread between sites.

    `tau` is the standard deviation between sites on the logit scale; `i2` the share of the variance of the sites'
    figures that lies between them, in [0, 1]; q_p the p of Cochran's Q. None where it is not estimable.
    """

    target: str
    metric: str
    n_sites: int
    estimate: float | None
    low: float | None
    high: float | None
    prediction_low: float | None
    prediction_high: float | None
    tau: float | None
    i2: float | None
    q: float | None
    q_p: float | None
    note: str


def combine(estimates: Sequence[float], errors: Sequence[float], *, confidence: float = 0.95) -> dict[str, float]:
    """Random effects of k figures in (0, 1) with their standard errors, combined on the logit scale.

    tau^2 by Paule and Mandel (1982), the mean's interval by Hartung, Knapp, Sidik and Jonkman with k - 1 degrees of
    freedom (never narrower than the plain one: Rover 2015), the prediction interval with k - 2 (Higgins 2009; NaN below
    three sites). Raises ValueError below two figures or where one is 0 or 1 or has no error.
    """
    share, error = np.asarray(estimates, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if share.size < FEWEST_SITES or (share <= 0).any() or (share >= 1).any() or (error <= 0).any():
        raise ValueError(f"Two or more figures in (0, 1) with errors above 0 are combined; received {estimates}.")
    effect, variance = logit(share), (error / (share * (1 - share))) ** 2
    with np.errstate(divide="ignore"):  # statsmodels divides by Q, which is 0 where all figures are the same
        found = combine_effects(effect, variance, method_re="iterated")
    k, tau2 = share.size, max(0.0, float(found.tau2))
    weights = 1 / (variance + tau2)
    mean = float(weights @ effect / weights.sum())
    spread = max(1.0, float(weights @ (effect - mean) ** 2 / (k - 1)))
    standard_error = np.sqrt(spread / weights.sum())
    reach = t.ppf((1 + confidence) / 2, k - 1) * standard_error
    wide = np.nan
    if k >= FEWEST_FOR_PREDICTION:
        wide = t.ppf((1 + confidence) / 2, k - 2) * np.sqrt(tau2 + standard_error**2)
    q = float(found.q)
    return {
        "estimate": float(expit(mean)),
        "low": float(expit(mean - reach)),
        "high": float(expit(mean + reach)),
        "prediction_low": float(expit(mean - wide)),
        "prediction_high": float(expit(mean + wide)),
        "tau": float(np.sqrt(tau2)),
        "i2": max(0.0, (q - (k - 1)) / q) if q > 0 else 0.0,
        "q": q,
        "q_p": float(chi2.sf(q, k - 1)),
    }


def heterogeneity(by_site: Sequence[Resampled], *, confidence: float = 0.95) -> list[Heterogeneity]:
    """Each combined figure over the sites where it can be estimated; which sites were left out stands in the note."""
    return [_of(by_site, target, metric, confidence) for target, metric in COMBINED]


def _of(by_site: Sequence[Resampled], target: str, metric: str, confidence: float) -> Heterogeneity:
    estimates, errors, left_out = [], [], []
    for each in by_site:
        found = each.draws(target, metric)
        error = float(np.nanstd(found[1])) if found else 0.0
        if found is None or not 0 < found[0] < 1 or not error > 0:
            left_out.append(each.scope.site)
        else:
            estimates.append(found[0])
            errors.append(error)
    note = f"left out, not estimable there or without spread: {', '.join(left_out)}" if left_out else ""
    values: dict[str, float] = {}
    if len(estimates) < FEWEST_SITES:
        note = "; ".join(filter(None, [f"not estimable: {len(estimates)} site(s) with an estimate", note]))
    else:
        values = combine(estimates, errors, confidence=confidence)
        if len(estimates) < FEWEST_FOR_PREDICTION:
            note = "; ".join(filter(None, ["the range of a further site needs three", note]))
    names = ("estimate", "low", "high", "prediction_low", "prediction_high", "tau", "i2", "q", "q_p")
    numbers = {name: value if np.isfinite(value := values.get(name, np.nan)) else None for name in names}
    return Heterogeneity(target=target, metric=metric, n_sites=len(estimates), note=note, **numbers)
