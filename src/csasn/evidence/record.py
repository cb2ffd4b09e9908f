"""One figure of an evaluation with its interval, and the rows of a table that it was computed on."""

from dataclasses import dataclass

import numpy as np

from csasn.units import Unit

EVERY_SITE = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One figure; an estimate of None is "not estimable", and the note says why.

    For sensitivity, specificity, ppv, npv and prevalence, n is the denominator and n_positive the numerator.
    """

    model: str
    partition: str
    site: str
    unit: Unit
    target: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    n_positive: int | None
    method: str
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What all records of one table share."""

    model: str
    site: str
    unit: Unit

    def record(
        self,
        target: str,
        metric: str,
        ends: tuple[float, float, float] | None,
        *,
        n: int,
        n_positive: int | None,
        method: str,
        note: str,
    ) -> Record:
        """A record of (estimate, low, high), None or NaN where not estimable."""
        estimate, low, high = finite(ends)
        return Record(
            model=self.model,
            partition="test",
            site=self.site,
            unit=self.unit,
            target=target,
            metric=metric,
            estimate=estimate,
            low=low,
            high=high,
            n=n,
            n_positive=n_positive,
            method=method,
            note=note,
        )


def finite(ends: tuple[float, float, float] | None) -> tuple[float | None, float | None, float | None]:
    """Estimate, low and high as JSON can hold them: None where not finite."""
    estimate, low, high = (float(each) if np.isfinite(each) else None for each in ends or (np.nan,) * 3)
    return estimate, low, high
