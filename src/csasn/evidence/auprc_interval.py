"""The interval of AUPRC: a jackknife over patients on the logit scale, with Student's t.

Draws with replacement repeat the positives at the head of the list, so that bootstrap intervals of AUPRC, BCa included,
lie too high and are too short; docs/results.md has the coverage of both.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import norm, t

from csasn.evidence.intervals import Interval
from csasn.evidence.ranking import Array


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
