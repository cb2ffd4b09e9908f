import numpy as np
import pytest

from csasn.evidence.intervals import bootstrap, patient_weights, wilson
from csasn.evidence.metrics import auroc


@pytest.mark.parametrize(
    ("k", "n", "low", "high", "digits"),
    [
        (18, 20, 0.6989663547715, 0.9721335187862, 12),
        (4, 20, 0.0806576625798, 0.4160174322519, 12),
        (81, 263, 0.2553, 0.3662, 4),
        (15, 148, 0.0624, 0.1605, 4),
        (0, 20, 0.0, 0.1611, 4),
        (1, 29, 0.0061, 0.1718, 4),
    ],
)
def test_wilson_golden_values(k: int, n: int, low: float, high: float, digits: int) -> None:
    found = wilson(k, n)
    assert round(abs(found[0] - low), digits) == 0
    assert round(abs(found[1] - high), digits) == 0


def test_wilson_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        wilson(0, 0)


def weighted_mean(values: np.ndarray):
    return lambda w: (w @ values / w.sum(axis=1))[:, None]


@pytest.mark.parametrize(("method", "ends"), [("bca", (32.31, 91.43)), ("percentile", (28.86, 84.21))])
def test_bootstrap_golden_values(method: str, ends: tuple[float, float]) -> None:
    values = np.array([10, 12, 12.5, 12.5, 13.9, 15, 21, 22, 23, 34, 50, 81, 89, 121, 134, 213])
    found = bootstrap(np.arange(16), weighted_mean(values), n_draws=1_000_000, method=method)
    np.testing.assert_allclose([found.low[0], found.high[0]], ends, rtol=0.005)
    assert found.estimate[0] == pytest.approx(values.mean())


def test_every_stratum_keeps_its_patients() -> None:
    strata = np.repeat([0, 1, 2], [10, 3, 1])
    weights = patient_weights(strata, n_draws=50, seed=1)
    for stratum, n in ((0, 10), (1, 3), (2, 1)):
        assert (weights[:, strata == stratum].sum(axis=1) == n).all()


def test_patients_are_drawn_whole_and_row_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30).astype(str), 3)
    y, p = np.repeat(np.arange(30) % 3 == 0, 3), rng.random(90)
    seen = []

    def statistic(w: np.ndarray) -> np.ndarray:
        seen.append(w)
        return auroc(y, p, sample_weight=w)[:, None]

    found = bootstrap(patients, statistic, strata=y.astype(int), n_draws=200)
    drawn = np.concatenate(seen)
    assert (drawn[:, ::3] == drawn[:, 1::3]).all()
    assert (drawn[:, ::3] == drawn[:, 2::3]).all()
    order = rng.permutation(90)
    again = bootstrap(
        patients[order],
        lambda w: auroc(y[order], p[order], sample_weight=w)[:, None],
        strata=y[order].astype(int),
        n_draws=200,
    )
    np.testing.assert_allclose(again.draws, found.draws, rtol=1e-12)


def test_repeating_rows_of_a_patient_does_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=40)
    once = bootstrap(np.arange(40), weighted_mean(values), n_draws=500)
    many = bootstrap(np.repeat(np.arange(40), 5), weighted_mean(np.repeat(values, 5)), n_draws=500)
    np.testing.assert_allclose(many.low, once.low)
    np.testing.assert_allclose(many.high, once.high)


def test_a_patient_in_two_strata_is_refused() -> None:
    with pytest.raises(ValueError, match="one stratum"):
        bootstrap(np.array(["a", "a"]), lambda w: w[:, :1], strata=np.array([0, 1]), n_draws=10)


def test_an_interval_of_mostly_undefined_draws_is_undefined() -> None:
    found = bootstrap(np.arange(5), lambda w: np.where(w[:, :1] > 0, 1.0, np.nan), n_draws=100)
    assert np.isnan(found.low[0])
    assert found.estimate[0] == 1.0
