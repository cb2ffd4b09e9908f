import numpy as np
import pytest

from csasn.evidence.statistics.reliability import ece, equal_mass_bins, reliability, top_label

P = np.array([0.25, 0.25, 0.55, 0.75, 0.75])
Y = np.array([0, 0, 1, 1, 1])


def test_ece_golden_value() -> None:
    assert ece(Y, P, n_bins=2) == pytest.approx(0.29)


def test_whole_number_weights_equal_repeated_rows() -> None:
    weights = np.array([[1, 2, 1, 3, 1], [1, 1, 1, 1, 1]], dtype=float)
    bins = equal_mass_bins(P, n_bins=2)
    by_hand = sum(abs((weights[0] * (P - Y))[bins == b].sum()) for b in (0, 1)) / weights[0].sum()
    np.testing.assert_allclose(ece(Y, P, n_bins=2, sample_weight=weights), [by_hand, 0.29])


def test_bins_hold_equal_mass_and_ties_stay_together() -> None:
    p = np.random.default_rng(0).random(1000)
    assert np.bincount(equal_mass_bins(p, n_bins=10)).tolist() == [100] * 10
    assert equal_mass_bins(np.full(7, 0.3), n_bins=10).tolist() == [0] * 7


def test_reliability_of_calibrated_probabilities_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(20_000)
    bins = reliability(rng.random(20_000) < p, p, n_bins=10, confidence=0.999)
    assert sum(each.n for each in bins) == 20_000
    assert all(each.low <= each.mean_probability <= each.high for each in bins)
    assert all(each.low <= each.observed <= each.high for each in bins)


def test_top_label_by_hand() -> None:
    right, p = top_label(np.array([0, 0]), np.array([[0.6, 0.4], [0.3, 0.7]]))
    assert right.tolist() == [True, False]
    assert p.tolist() == [0.6, 0.7]
