"""Metrics of classes and of operating points, for one set of weights or for a thousand bootstrap draws at once.

Shapes, throughout: n units, K classes; y_true (n,) booleans or class numbers; y_prob (n,) or (n, K); sample_weight
(..., n) or None for ones. The result has the leading shape (...) of the weights. Undefined is NaN, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.arrays import Array, Labels, ratio


def _weights(n: int, sample_weight: Array | None) -> Array:
    return np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)


def sums_by_group(values: Array, group: NDArray[np.int64], *, n_groups: int) -> Array:
    """Sum of values (..., n) in each group, group (n,) numbered from 0 -> (..., n_groups); an empty one sums to 0."""
    sums = np.zeros((*values.shape[:-1], n_groups))
    if group.size:
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        sums[..., present] = np.add.reduceat(values[..., order], starts, axis=-1)
    return sums


def confusion_matrix(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Counts, rows the reference class and columns the most probable class: (n,), (n, K) -> (..., K, K)."""
    n, k = y_prob.shape
    weights = _weights(n, sample_weight)
    cells = sums_by_group(weights, np.asarray(y_true * k + y_prob.argmax(axis=1)), n_groups=k * k)
    return cells.reshape(*weights.shape[:-1], k, k)


def recall(matrix: Array) -> Array:
    """Share of each reference class recognised: confusion matrices (..., K, K) -> (..., K)."""
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def balanced_accuracy(matrix: Array, *, classes: Sequence[int] | None = None) -> Array:
    """Mean over the classes of the share recognised, the most probable class being the answer: (..., K, K) -> (...)."""
    return np.asarray(_chosen(recall(matrix), classes).mean(axis=-1), dtype=np.float64)


def macro_f1(matrix: Array, *, classes: Sequence[int] | None = None) -> Array:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN), the most probable class being the answer."""
    f1 = ratio(2 * np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1) + matrix.sum(axis=-2))
    return np.asarray(_chosen(f1, classes).mean(axis=-1), dtype=np.float64)


def mcc(matrix: Array) -> Array:
    """Matthews' correlation of K classes (Gorodkin 2004); NaN where all units are, or are called, one class."""
    n, right = matrix.sum(axis=(-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    actual, called = matrix.sum(axis=-1), matrix.sum(axis=-2)
    shared = n * right - (actual * called).sum(axis=-1)
    spread = (n**2 - (actual**2).sum(axis=-1)) * (n**2 - (called**2).sum(axis=-1))
    return ratio(shared, np.sqrt(np.maximum(spread, 0.0)))


def kappa(matrix: Array) -> Array:
    """Cohen's kappa, unweighted: agreement beyond chance over the most that there could be (Cohen 1960)."""
    n = matrix.sum(axis=(-2, -1))
    observed = ratio(np.trace(matrix, axis1=-2, axis2=-1), n)
    expected = ratio((matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1), n**2)
    return ratio(observed - expected, 1 - expected)


def in_top(y_true: Labels, y_prob: Array, *, n_top: int = 2) -> NDArray[np.bool_]:
    """Whether the reference class is among the n_top most probable: (n,), (n, K) -> (n,); of equals the first go in."""
    leading = np.argsort(-y_prob, axis=1, kind="stable")[:, :n_top]
    return np.asarray((leading == np.asarray(y_true)[:, np.newaxis]).any(axis=1), dtype=np.bool_)


def _chosen(per_class: Array, classes: Sequence[int] | None) -> Array:
    return per_class if classes is None else per_class[..., list(classes)]


def brier(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Mean squared error of the probabilities (Brier 1950).

    y_prob (n,): mean of (p - y)^2, in [0, 1]. y_prob (n, K): mean of sum_k (p_k - [y = k])^2, in [0, 2].
    """
    if y_prob.ndim == 1:
        squared = (y_prob - np.asarray(y_true, dtype=np.float64)) ** 2
    else:
        squared = ((y_prob - np.eye(y_prob.shape[1])[np.asarray(y_true, dtype=np.int64)]) ** 2).sum(axis=1)
    weights = _weights(len(y_prob), sample_weight)
    return ratio(np.asarray(weights @ squared), weights.sum(axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """True and false positives and negatives at one operating point; positive is p >= threshold."""

    tp: int
    fp: int
    tn: int
    fn: int

    def fractions(self) -> dict[str, tuple[int, int]]:
        """Numerator and denominator of sensitivity, specificity, ppv and npv."""
        return {
            "sensitivity": (self.tp, self.tp + self.fn),
            "specificity": (self.tn, self.tn + self.fp),
            "ppv": (self.tp, self.tp + self.fp),
            "npv": (self.tn, self.tn + self.fn),
        }


def counts_at(y_true: Labels, y_prob: Array, *, threshold: float | Array) -> Counts:
    """Counts where y_prob >= threshold is read as positive; threshold is one number or one a unit (n,)."""
    actual, called = np.asarray(y_true, dtype=bool), y_prob >= threshold
    return Counts(
        tp=int((actual & called).sum()),
        fp=int((~actual & called).sum()),
        tn=int((~actual & ~called).sum()),
        fn=int((actual & ~called).sum()),
    )


def predictive_values(*, sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV = se pi / (se pi + (1-sp)(1-pi)) and NPV = sp (1-pi) / (sp (1-pi) + (1-se) pi), at prevalence pi (Bayes)."""
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return true_positive / (true_positive + false_positive), true_negative / (true_negative + false_negative)
