from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
    top_k_accuracy_score,
)

from csasn.calibration.thresholds import youden_point
from csasn.evidence.statistics import metrics, ranking


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
    np.testing.assert_allclose(ranking.auroc(y, p, sample_weight=w), expected_roc, rtol=1e-12)
    np.testing.assert_allclose(ranking.auprc(y, p, sample_weight=w), expected_pr, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_auroc_does_not_see_row_order_or_a_strictly_increasing_map(seed: int) -> None:
    y, p, _ = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    for metric in (ranking.auroc, ranking.auprc):
        whole = metric(y, p)
        np.testing.assert_allclose(metric(y[order], p[order]), whole, rtol=1e-12)
        np.testing.assert_allclose(metric(y, np.exp(3 * p) - 7), whole, rtol=1e-12)


def test_one_sided_labels_are_undefined_and_not_zero() -> None:
    p = np.array([0.2, 0.8])
    assert np.isnan(ranking.auroc(np.array([True, True]), p))
    assert np.isnan(ranking.auroc(np.array([False, False]), p))
    assert np.isnan(ranking.auprc(np.array([False, False]), p))


def test_class_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    w = rng.integers(1, 4, (3, 200)).astype(float)
    matrices, answer = metrics.confusion_matrix(y, p, sample_weight=w), p.argmax(axis=1)
    for place, each in enumerate(w):
        np.testing.assert_allclose(matrices[place], confusion_matrix(y, answer, sample_weight=each))
        for ours, theirs in (
            (metrics.balanced_accuracy, balanced_accuracy_score),
            (metrics.macro_f1, partial(f1_score, average="macro")),
            (metrics.mcc, matthews_corrcoef),
            (metrics.kappa, cohen_kappa_score),
        ):
            assert ours(matrices)[place] == pytest.approx(theirs(y, answer, sample_weight=each))
    assert metrics.in_top(y, p).mean() == pytest.approx(top_k_accuracy_score(y, p, k=2))
    assert metrics.in_top(y, p, n_top=4).all()


def test_of_equal_probabilities_the_first_classes_are_the_top() -> None:
    assert metrics.in_top(np.array([0, 1, 2]), np.full((3, 3), 1 / 3)).tolist() == [True, True, False]


def test_kappa_and_mcc_are_undefined_where_chance_leaves_no_room() -> None:
    one = np.array([[5.0, 0.0], [0.0, 0.0]])
    assert np.isnan(metrics.kappa(one))
    assert np.isnan(metrics.mcc(one))
    assert metrics.mcc(np.array([[0.0, 5.0], [5.0, 0.0]])) == pytest.approx(-1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.9]))
def test_points_of_the_curve_equal_a_search_over_every_cut(seed: int, bound: float) -> None:
    y, p, w = drawn(seed)
    for each in w:
        n_true, n_false = each[y].sum(), each[~y].sum()
        at = [(each[y & (p >= t)].sum() / n_true, 1 - each[~y & (p >= t)].sum() / n_false) for t in [*np.unique(p), 2]]
        best = max(se for se, sp in at if sp >= bound - 1e-9)
        assert ranking.sensitivity_at(y, p, specificity=bound, sample_weight=each) == pytest.approx(best)
        best = max(sp for se, sp in at if se >= bound - 1e-9)
        assert ranking.specificity_at(y, p, sensitivity=bound, sample_weight=each) == pytest.approx(best)


def test_one_sided_points_are_undefined() -> None:
    p = np.array([0.2, 0.8])
    for y in (np.array([True, True]), np.array([False, False])):
        assert np.isnan(ranking.sensitivity_at(y, p, specificity=0.9))
        assert np.isnan(ranking.specificity_at(y, p, sensitivity=0.9))


def test_confusion_matrix_by_hand() -> None:
    y = np.array([0, 0, 1, 2])
    p = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]])
    assert metrics.confusion_matrix(y, p).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    matrix = metrics.confusion_matrix(y, p)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(0.5)
    assert metrics.balanced_accuracy(matrix, classes=[0, 1]) == pytest.approx(0.75)
    assert metrics.recall(matrix).tolist() == [0.5, 1.0, 0.0]


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
    point = youden_point(y, p)
    assert point.threshold == 0.6  # J is 2/3 at .6 and at .3: the more specific one
    assert point.youden_index == pytest.approx(2 / 3)
    found = metrics.counts_at(y, p, threshold=point.threshold)
    assert (found.tp, found.fp, found.tn, found.fn) == (2, 0, 3, 1)
    expected = {"sensitivity": (2, 3), "specificity": (3, 3), "ppv": (2, 2), "npv": (3, 4)}
    assert found.fractions() == expected
    assert metrics.counts_at(y, p, threshold=np.array([0.1, 0.3, 0.2, 0.5, 0.7, 0.9])).fractions() == {
        "sensitivity": (2, 3),
        "specificity": (2, 3),
        "ppv": (2, 3),
        "npv": (2, 3),
    }
    for side in (np.ones(3), np.zeros(3)):
        with pytest.raises(ValueError, match="one side only"):
            youden_point(side, p[:3])
