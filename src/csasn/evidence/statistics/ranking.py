"""How well one probability ranks positives before negatives: every figure of a ROC curve from one sorted pass.

Shapes: n units; y_true (n,) bool; y_prob (n,); sample_weight (..., n) or None for ones; results have the leading shape
of the weights. Undefined is NaN, never 0. "Positive" is p >= t, and a cut is the probability t of a positive unit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.arrays import Array, Labels, ratio

Places = NDArray[np.int64]
CLOSE = 1e-9  # relative slack of a share that must reach a bound, so that 9 of 10 reaches .9


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranking:
    """Sorted once for many draws: m positives and the negatives, each from the highest probability down.

    `above` and `reached` (m,) count the negatives above each positive, and above or level with it; `level` (m,) is the
    place of the last positive of the same probability.
    """

    positives: Places
    negatives: Places
    above: Places
    reached: Places
    level: Places


def ranking(y_true: Labels, y_prob: Array) -> Ranking:
    """The order of units: y_true (n,) bool, y_prob (n,)."""
    actual, order = np.asarray(y_true, dtype=bool), np.argsort(-y_prob, kind="stable")
    positives, negatives = order[actual[order]], order[~actual[order]]
    at, others = -y_prob[positives], -y_prob[negatives]
    return Ranking(
        positives=positives,
        negatives=negatives,
        above=np.searchsorted(others, at, "left"),
        reached=np.searchsorted(others, at, "right"),
        level=np.searchsorted(at, at, "right") - 1,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cuts:
    """Weights (..., m) of the positives in order; negatives above, and at or above, each; positives at or above each.

    `n_true` and `n_false` (...) are the weights of either side.
    """

    mass: Array
    above: Array
    false: Array
    true: Array
    n_true: Array
    n_false: Array

    def auroc(self) -> Array:
        """Area under the ROC curve: P(p+ > p-) + P(p+ = p-)/2 (Hanley & McNeil 1982)."""
        beaten_by = np.einsum("...m,...m->...", self.mass, self.above) + np.einsum(
            "...m,...m->...", self.mass, self.false
        )
        pairs = self.n_true * self.n_false
        return ratio(pairs - 0.5 * beaten_by, pairs)

    def auprc(self) -> Array:
        """Average precision: precision at each positive's cut, averaged over the positives, without interpolation."""
        called = self.true + self.false
        precision = self.true / np.maximum(called, np.finfo(float).tiny)
        return ratio(np.einsum("...m,...m->...", self.mass, precision), self.n_true)

    def sensitivity_at(self, specificity: float) -> Array:
        """The largest sensitivity of any cut whose specificity is at least the given one; 0 where none has it."""
        most = self.n_false * (1 - specificity + CLOSE)
        reached = np.einsum("...m,...m->...", self.mass, self.false <= most[..., np.newaxis])
        return np.where(self.n_false > 0, ratio(reached, self.n_true), np.nan)

    def specificity_at(self, sensitivity: float) -> Array:
        """The largest specificity of any cut whose sensitivity is at least the given one."""
        least = (self.n_true * sensitivity * (1 - CLOSE))[..., np.newaxis]
        false = np.where(self.true >= least, self.false, np.inf).min(axis=-1, initial=np.inf)
        return np.where(self.n_true > 0, 1 - ratio(false, self.n_false), np.nan)


def cuts(ranked: Ranking, weights: Array) -> Cuts:
    """The cuts of a ranking under weights (..., n)."""
    mass = np.take(weights, ranked.positives, axis=-1)
    below = np.zeros((*weights.shape[:-1], ranked.negatives.size + 1))
    np.cumsum(np.take(weights, ranked.negatives, axis=-1), axis=-1, out=below[..., 1:])
    true = np.take(np.cumsum(mass, axis=-1), ranked.level, axis=-1)
    return Cuts(
        mass=mass,
        above=np.take(below, ranked.above, axis=-1),
        false=np.take(below, ranked.reached, axis=-1),
        true=true,
        n_true=mass.sum(axis=-1),
        n_false=below[..., -1],
    )


def _cuts_of(y_true: Labels, y_prob: Array, sample_weight: Array | None) -> Cuts:
    weights = np.ones(len(y_prob)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    return cuts(ranking(y_true, y_prob), weights)


def auroc(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Area under the ROC curve; NaN where either side weighs nothing."""
    return _cuts_of(y_true, y_prob, sample_weight).auroc()


def auprc(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Average precision; a reader that knows nothing gets the prevalence."""
    return _cuts_of(y_true, y_prob, sample_weight).auprc()


def sensitivity_at(y_true: Labels, y_prob: Array, *, specificity: float, sample_weight: Array | None = None) -> Array:
    """Sensitivity at a fixed specificity, the cut chosen on these very units: a point of the curve, not frozen."""
    return _cuts_of(y_true, y_prob, sample_weight).sensitivity_at(specificity)


def specificity_at(y_true: Labels, y_prob: Array, *, sensitivity: float, sample_weight: Array | None = None) -> Array:
    """Specificity at a fixed sensitivity, the cut chosen on these very units."""
    return _cuts_of(y_true, y_prob, sample_weight).specificity_at(sensitivity)
