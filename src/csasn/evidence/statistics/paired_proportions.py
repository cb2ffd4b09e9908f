"""Two readers' shares on the same units: exact McNemar and Tango's interval, with every patient as one cluster."""

from dataclasses import dataclass
from math import ceil, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, norm

from csasn.evidence.statistics.intervals import Interval

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Discordant:
    """Of P patients: units (P,), and those that the first alone (P,) and the second alone (P,) has right."""

    n: Counts
    first_alone: Counts
    second_alone: Counts

    @property
    def estimate(self) -> float:
        """The first's share less the second's; ZeroDivisionError where there are no units."""
        return int((self.first_alone - self.second_alone).sum()) / int(self.n.sum())

    def error(self) -> float:
        """Standard error of the difference by the ratio estimator over patients; NaN with fewer than two."""
        n_patients, total = self.n.size, int(self.n.sum())
        excess = self.first_alone - self.second_alone - self.estimate * self.n
        return sqrt(n_patients / (n_patients - 1) * float(excess @ excess)) / total if n_patients > 1 else float("nan")

    def p(self) -> float:
        """Exact two-sided p that neither is right more often: each patient's excess has either sign equally often.

        The chance that the absolute sum is at least the one observed (Pitman 1937); with one unit a patient this is
        McNemar's exact test.
        """
        excess = self.first_alone - self.second_alone
        sizes = np.abs(excess[excess != 0])
        total, observed = int(sizes.sum()), abs(int(excess.sum()))
        chance = np.zeros(total + 1)  # of every sum of the sizes whose sign is plus
        chance[0] = 1.0
        for size in sizes:
            chance[size:] = (chance[size:] + chance[:-size]) / 2
            chance[:size] /= 2
        beyond = np.abs(2 * np.arange(total + 1) - total) >= observed
        return min(1.0, float(chance[beyond].sum()))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Tango's interval at the effective number of units: n over the design effect (Rao & Scott 1992), at most n.

        The number of patients where no unit is discordant, and a variance cannot be seen.
        """
        total, b, c = (int(each.sum()) for each in (self.n, self.first_alone, self.second_alone))
        effective = float(total)
        if self.n.size < total:
            plain, error = (b + c) / total - self.estimate**2, self.error()
            effective = min(effective, plain / error**2 if error > 0 else float(self.n.size))
        shrunk = effective / total
        return tango(b * shrunk, c * shrunk, effective, confidence)


def discordant(right: NDArray[np.bool_], other: NDArray[np.bool_], patients: NDArray[Any]) -> Discordant:
    """Whether the first (n,) and the second (n,) have each unit right, patients (n,), as counts per patient."""
    _, code = np.unique(patients, return_inverse=True)
    n_patients = int(code.max(initial=-1)) + 1
    sides = (np.ones(code.size, dtype=np.bool_), right & ~other, other & ~right)
    n, first, second = (np.bincount(code[each], minlength=n_patients) for each in sides)
    return Discordant(n=n, first_alone=first, second_alone=second)


def tango_score(b: float, c: float, n: float, difference: float) -> float:
    """Tango's score of a true difference of two paired shares (Tango 1998); its square at 0 is McNemar's statistic.

    T = (b - c - n d) / sqrt(n (2 q + d (1 - d))), where q is the likeliest share of c's pairs: the larger root of
    2 n q^2 - (b + c - (2 n - b + c) d) q - c d (1 - d) = 0. NaN where the variance is 0.
    """
    linear = (2 * n - b + c) * difference - b - c
    q = (sqrt(linear**2 + 8 * n * c * difference * (1 - difference)) - linear) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    return (b - c - n * difference) / sqrt(variance) if variance > 0 else float("nan")


def tango(b: float, c: float, n: float, confidence: float = 0.95) -> Interval:
    """The interval of (b - c) / n, b and c discordant pairs of n: all true differences with |T| <= z (Tango 1998).

    It stays in [-1, 1] and has a width even where no pair is discordant. Raises ValueError where n is not positive.
    """
    if n <= 0 or min(b, c) < 0 or b + c > n * (1 + 1e-9):
        raise ValueError(f"Paired shares need 0 <= b + c <= n and n > 0; received b={b}, c={c}, n={n}.")
    z = float(norm.ppf((1 + confidence) / 2))
    return -_upper(c, b, n, z), _upper(b, c, n, z)


def _upper(b: float, c: float, n: float, z: float) -> float:
    """The largest difference with T >= -z; T falls from above -z at the estimate to minus infinity at 1."""
    estimate, last = (b - c) / n, 1 - 1e-12
    if estimate >= last:
        return 1.0
    first = max(estimate, -last)
    return float(brentq(lambda d: tango_score(b, c, n, d) + z if d > first else z, first, last, xtol=1e-12))


def least_found(n_patients: int, *, level: float, power: float) -> float | None:
    """The smallest share of patients that, all differing one way, the exact test finds with the given power.

    The test needs k of them, 2 / 2^k <= level; at least k of n differ with that power where the share is the quantile
    of Beta(k, n - k + 1) (Clopper & Pearson 1934). None where n < k: then no difference can be found.
    """
    k = max(1, ceil(log2(2 / level)))
    return float(beta.ppf(power, k, n_patients - k + 1)) if n_patients >= k else None
