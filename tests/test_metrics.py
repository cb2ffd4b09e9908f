import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from csasn.evidence import metrics


def drawn(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    y[:2] = True, False
    return y, np.round(rng.random(n), 1), rng.integers(0, 4, (5, n)).astype(float) + (np.arange(n) < 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_weighted_curves_equal_scikit_learn_with_ties(seed: int) -> None:
    y, p, w = drawn(seed)
    expected_roc = [roc_auc_score(y, p, sample_weight=each) for each in w]
    expected_pr = [average_precision_score(y, p, sample_weight=each) for each in w]
    np.testing.assert_allclose(metrics.auroc(y, p, sample_weight=w), expected_roc, rtol=1e-12)
    np.testing.assert_allclose(metrics.auprc(y, p, sample_weight=w), expected_pr, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_auroc_does_not_see_row_order_or_a_strictly_increasing_map(seed: int) -> None:
    y, p, _ = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    for metric in (metrics.auroc, metrics.auprc):
        whole = metric(y, p)
        np.testing.assert_allclose(metric(y[order], p[order]), whole, rtol=1e-12)
        np.testing.assert_allclose(metric(y, np.exp(3 * p) - 7), whole, rtol=1e-12)


def test_one_sided_labels_are_undefined_and_not_zero() -> None:
    p = np.array([0.2, 0.8])
    assert np.isnan(metrics.auroc(np.array([True, True]), p))
    assert np.isnan(metrics.auroc(np.array([False, False]), p))
    assert np.isnan(metrics.auprc(np.array([False, False]), p))


def test_class_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    w = rng.integers(1, 4, (3, 200)).astype(float)
    for place, each in enumerate(w):
        answer = p.argmax(axis=1)
        expected = balanced_accuracy_score(y, answer, sample_weight=each)
        assert metrics.balanced_accuracy(y, p, sample_weight=w)[place] == pytest.approx(expected)
        expected = f1_score(y, answer, average="macro", sample_weight=each)
        assert metrics.macro_f1(y, p, sample_weight=w)[place] == pytest.approx(expected)
    expected = roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert metrics.macro(metrics.auroc, y, p) == pytest.approx(expected)
    assert metrics.confusion_matrix(y, p).sum() == 200


def test_confusion_matrix_by_hand() -> None:
    y = np.array([0, 0, 1, 2])
    p = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]])
    assert metrics.confusion_matrix(y, p).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert metrics.balanced_accuracy(y, p) == pytest.approx(0.5)
    assert metrics.balanced_accuracy(y, p, classes=[0, 1]) == pytest.approx(0.75)


def test_brier_golden_value_and_sum_form() -> None:
    y, p = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.3])
    assert metrics.brier(y, p) == pytest.approx(0.0375)
    assert metrics.brier(y, np.stack([1 - p, p], axis=1)) == pytest.approx(2 * 0.0375)


def test_predictive_values_golden() -> None:
    ppv, npv = metrics.predictive_values(sensitivity=231 / 258, specificity=54 / 86, prevalence=0.25)
    assert round(ppv, 2) == 0.45
    assert round(npv, 2) == 0.95


def test_youden_point_by_hand() -> None:
    y, p = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    point = metrics.youden_point(y, p)
    assert point.threshold == 0.6  # J is 2/3 at .6 and at .3: the more specific one
    assert point.youden_index == pytest.approx(2 / 3)
    found = metrics.counts_at(y, p, threshold=point.threshold)
    assert (found.tp, found.fp, found.tn, found.fn) == (2, 0, 3, 1)
    with pytest.raises(ValueError, match="one side only"):
        metrics.youden_point(np.ones(3), p[:3])
