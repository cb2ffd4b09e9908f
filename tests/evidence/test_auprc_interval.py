"""The interval of AUPRC: by hand, and where it must stay as it was or still have a width."""

import numpy as np
import pytest
from scipy.special import expit, logit

from csasn.evidence.statistics.bootstrap import Bootstrapped, bootstrap
from csasn.evidence.statistics.intervals import auprc_interval
from csasn.evidence.statistics.ranking import auprc


def drawn(y: np.ndarray, p: np.ndarray, patients: np.ndarray | None = None) -> Bootstrapped:
    return bootstrap(
        np.arange(y.size) if patients is None else patients,
        lambda w: auprc(y, p, sample_weight=w)[:, None],
        strata=y.astype(int),
        n_draws=100,
        method="bca",
    )


def interval(y: np.ndarray, p: np.ndarray, patients: np.ndarray | None = None, **more: float) -> tuple[float, float]:
    found = drawn(y, p, patients)
    names = np.arange(y.size) if patients is None else patients
    n = {side: np.unique(names[y == (side == "n_positive")]).size for side in ("n_positive", "n_negative")}
    return auprc_interval(float(found.estimate[0]), found.left_out[:, 0], found.left_out_strata, **n, **more)


def noisy(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 5 < 2
    return y, expit(rng.normal(size=n) + y)


def test_the_interval_by_hand() -> None:
    """Precisions 1, 2/3 and 3/5 at the positives; each unit left out, its side weighted up to its size."""
    y, p = np.array([True, False, True, False, True, False]), np.linspace(0.9, 0.4, 6)
    found = drawn(y, p)
    assert found.estimate[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    halves = 3 / 2  # the weight of each unit whose side has lost one
    negatives = [
        np.mean([1, 2 / (2 + h1), 3 / (3 + h1 + h2)]) for h1, h2 in ((0, halves), (halves, 0), (halves, halves))
    ]
    positives = [np.mean([halves / (halves + 1), 3 / (3 + 2)]), np.mean([1, 3 / (3 + 2)])]
    positives.append(np.mean([1, 3 / (3 + 1)]))
    expected = {0: sorted(negatives), 1: sorted(positives)}
    for side, values in expected.items():
        np.testing.assert_allclose(np.sort(found.left_out[found.left_out_strata == side, 0]), values)
    variance = sum(2 / 3 * ((logit(each) - logit(each).mean()) ** 2).sum() for each in map(np.array, expected.values()))
    ends = expit(logit(found.estimate[0]) + 4.302653 * np.sqrt(variance) * np.array([-1, 1]))  # t, 3 - 1 degrees
    np.testing.assert_allclose(interval(y, p), ends, rtol=1e-6)
    narrow = interval(y, p, confidence=0.8)
    assert ends[0] < narrow[0] < found.estimate[0] < narrow[1] < ends[1]


def test_the_smaller_side_counts() -> None:
    y, p = noisy(0)
    found = drawn(y, p)
    given = (float(found.estimate[0]), found.left_out[:, 0], found.left_out_strata)
    widths = {
        pair: np.diff(logit(auprc_interval(*given, n_positive=pair[0], n_negative=pair[1])))[0]
        for pair in ((16, 24), (24, 16), (24, 24))
    }
    assert widths[16, 24] == widths[24, 16] > widths[24, 24]
    assert widths[16, 24] / widths[24, 24] == pytest.approx(2.131450 / 2.068658, rel=1e-5)


def test_pictures_of_a_patient_are_one_piece_of_evidence() -> None:
    y, p = noisy(1)
    many = np.repeat(np.arange(40), 5)
    assert interval(y[many], p[many], many) == pytest.approx(interval(y, p), rel=1e-9)


def test_a_perfect_list_still_has_a_width() -> None:
    y, p = np.arange(20) < 8, np.linspace(1, 0, 20)
    assert interval(y, p) == (pytest.approx(8 / (8 + 1.959964**2)), 1.0)


def test_a_list_that_one_patient_alone_spoils_has_finite_ends() -> None:
    y, p = np.arange(20) < 8, np.linspace(1, 0, 20)
    y[[7, 8]] = y[[8, 7]]  # the eighth positive stands below one negative
    found = drawn(y, p)
    assert (found.left_out[:, 0] == 1).sum() == 2  # without either of the two the list is perfect
    low, high = interval(y, p)
    assert 0.5 < low < found.estimate[0] < high < 1


def test_one_patient_on_a_side_is_not_enough() -> None:
    y, p = np.arange(10) < 1, np.linspace(1, 0, 10)
    assert np.isnan(interval(y, p)).all()
