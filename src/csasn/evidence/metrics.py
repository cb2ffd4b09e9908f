"""Metrics of class probabilities, for one set of weights or for a thousand bootstrap draws at once.

Shapes, throughout: n units, K classes; y_true (n,) booleans or class numbers; y_prob (n,) or (n, K); sample_weight
(..., n) or None for ones. The result has the leading shape (...) of the weights. Undefined is NaN, never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

Array = NDArray[np.float64]
Labels = NDArray[Any]


class BinaryMetric(Protocol):
    """A metric of one probability against one yes or no."""

    def __call__(self, y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
        """(n,), (n,), (..., n) -> (...)."""


def _weights(n: int, sample_weight: Array | None) -> Array:
    return np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), dtype=np.float64)


def sums_by_group(values: Array, group: NDArray[np.int64], *, n_groups: int) -> Array:
    """Sum of values (..., n) in each group, group (n,) numbered from 0 -> (..., n_groups); an empty one sums to 0."""
    sums = np.zeros((*values.shape[:-1], n_groups))
    if group.size:
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        sums[..., present] = np.add.reduceat(values[..., order], starts, axis=-1)
    return sums


def _cumulative(values: Array, weights: Array) -> tuple[Array, Array]:
    """Sorted values (m,) and the weight of the first 0, 1, ..., m of them (..., m + 1)."""
    order = np.argsort(values, kind="stable")
    total = np.zeros((*weights.shape[:-1], values.size + 1))
    np.cumsum(weights[..., order], axis=-1, out=total[..., 1:])
    return values[order], total


def auroc(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Area under the ROC curve: P(p+ > p-) + P(p+ = p-)/2, the weighted Mann-Whitney statistic (Hanley 1982).

    y_true (n,) bool, y_prob (n,), sample_weight (..., n) -> (...); NaN where either side weighs nothing.
    """
    weights, positive = _weights(len(y_prob), sample_weight), np.asarray(y_true, dtype=bool)
    values, below = _cumulative(y_prob[~positive], weights[..., ~positive])
    at, mass = y_prob[positive], weights[..., positive]
    beaten = below[..., np.searchsorted(values, at, "left")] + below[..., np.searchsorted(values, at, "right")]
    return _ratio(0.5 * (mass * beaten).sum(axis=-1), mass.sum(axis=-1) * below[..., -1])


def auprc(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Average precision: sum of precision at each positive's probability, over the positives (no interpolation).

    y_true (n,) bool, y_prob (n,), sample_weight (..., n) -> (...). A reader that knows nothing gets the prevalence.
    """
    weights, positive = _weights(len(y_prob), sample_weight), np.asarray(y_true, dtype=bool)
    at, mass = y_prob[positive], weights[..., positive]
    values, below = _cumulative(y_prob[~positive], weights[..., ~positive])
    false = below[..., -1:] - below[..., np.searchsorted(values, at, "left")]
    values, below = _cumulative(at, mass)
    true = below[..., -1:] - below[..., np.searchsorted(values, at, "left")]
    precision = np.where(mass > 0, true / np.maximum(true + false, np.finfo(float).tiny), 0.0)
    return _ratio((mass * precision).sum(axis=-1), mass.sum(axis=-1))


def one_vs_rest(
    metric: BinaryMetric,
    y_true: Labels,
    y_prob: Array,
    *,
    classes: Sequence[int] | None = None,
    sample_weight: Array | None = None,
) -> Array:
    """A binary metric of each class against all others: y_true (n,) class numbers, y_prob (n, K) -> (..., K)."""
    chosen = range(y_prob.shape[1]) if classes is None else classes
    return np.stack([metric(y_true == k, y_prob[:, k], sample_weight=sample_weight) for k in chosen], axis=-1)


def macro(
    metric: BinaryMetric,
    y_true: Labels,
    y_prob: Array,
    *,
    classes: Sequence[int] | None = None,
    sample_weight: Array | None = None,
) -> Array:
    """Unweighted mean over the classes of a one-vs-rest metric, so that a rare class counts like a common one."""
    each = one_vs_rest(metric, y_true, y_prob, classes=classes, sample_weight=sample_weight)
    return np.asarray(each.mean(axis=-1), dtype=np.float64)


def confusion_matrix(y_true: Labels, y_prob: Array, *, sample_weight: Array | None = None) -> Array:
    """Counts, rows the reference class and columns the most probable class: (n,), (n, K) -> (..., K, K)."""
    n, k = y_prob.shape
    weights = _weights(n, sample_weight)
    cells = sums_by_group(weights, np.asarray(y_true * k + y_prob.argmax(axis=1)), n_groups=k * k)
    return cells.reshape(*weights.shape[:-1], k, k)


def balanced_accuracy(
    y_true: Labels, y_prob: Array, *, classes: Sequence[int] | None = None, sample_weight: Array | None = None
) -> Array:
    """Mean over the classes of the share recognised (recall), the most probable class being the answer."""
    matrix = confusion_matrix(y_true, y_prob, sample_weight=sample_weight)
    recall = _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))
    return np.asarray(_chosen(recall, classes).mean(axis=-1), dtype=np.float64)


def macro_f1(
    y_true: Labels, y_prob: Array, *, classes: Sequence[int] | None = None, sample_weight: Array | None = None
) -> Array:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN), the most probable class being the answer."""
    matrix = confusion_matrix(y_true, y_prob, sample_weight=sample_weight)
    f1 = _ratio(2 * np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1) + matrix.sum(axis=-2))
    return np.asarray(_chosen(f1, classes).mean(axis=-1), dtype=np.float64)


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
    return _ratio(np.asarray(weights @ squared), weights.sum(axis=-1))


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


@dataclass(frozen=True, kw_only=True, slots=True)
class YoudenPoint:
    """The probability threshold with the largest Youden index J = sensitivity + specificity - 1."""

    threshold: float
    youden_index: float


def youden_point(y_true: Labels, y_prob: Array) -> YoudenPoint:
    """The observed probability at which J is largest (Youden 1950); among equals the highest, the most specific.

    Raises ValueError where y_true has one side only: no threshold can be chosen from it.
    """
    actual = np.asarray(y_true, dtype=bool)
    if actual.all() or not actual.any():
        raise ValueError("A Youden point needs positives and negatives; received one side only.")
    false_rate, true_rate, thresholds = roc_curve(actual, y_prob, drop_intermediate=False)
    n_positive, n_negative = int(actual.sum()), int((~actual).sum())
    true, false = np.rint(true_rate * n_positive), np.rint(false_rate * n_negative)
    exact = true * n_negative - false * n_positive  # J in whole numbers, so that equals are equal
    best = int(np.argmax(exact[1:])) + 1  # the first point calls nothing positive
    return YoudenPoint(threshold=float(thresholds[best]), youden_index=float(true_rate[best] - false_rate[best]))
