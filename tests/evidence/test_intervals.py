import numpy as np
import pytest
from scipy.stats import norm

from csasn.evidence.statistics.bootstrap import MOST_LEFT_OUT, bca_levels, bootstrap, patient_weights
from csasn.evidence.statistics.intervals import clustered_wilson, newcombe_auroc, predictive_value_interval, wilson
from csasn.evidence.statistics.ranking import auroc


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


def test_clustered_wilson_is_wilson_where_every_unit_is_a_patient() -> None:
    hits = np.arange(200) < 150
    low, high = clustered_wilson(hits, np.arange(200))
    plain = wilson(150, 200)
    assert low == pytest.approx(plain[0], abs=3e-4)
    assert high == pytest.approx(plain[1], abs=3e-4)


def test_repeated_units_do_not_narrow_a_clustered_interval() -> None:
    hits = np.arange(40) % 4 > 0
    once = clustered_wilson(hits, np.arange(40))
    many = clustered_wilson(np.repeat(hits, 6), np.repeat(np.arange(40), 6))
    np.testing.assert_allclose(many, once, rtol=1e-9)
    naive = wilson(180, 240)
    assert many[1] - many[0] > 2 * (naive[1] - naive[0])


def test_a_clustered_share_of_all_counts_patients() -> None:
    low, high = clustered_wilson(np.ones(64, dtype=bool), np.repeat(np.arange(16), 4))
    assert high == 1.0
    assert low == pytest.approx(wilson(16, 16)[0])
    assert round(low, 2) == 0.81  # sixteen of sixteen
    assert clustered_wilson(np.zeros(64, dtype=bool), np.repeat(np.arange(16), 4))[0] == 0.0
    with pytest.raises(ValueError, match="at least one unit"):
        clustered_wilson(np.zeros(0, dtype=bool), np.zeros(0))


@pytest.mark.parametrize(("k", "n", "half"), [(31, 34, 0.10), (127, 141, 0.05), (48, 60, 0.10), (196, 245, 0.05)])
def test_the_published_sizes_give_their_half_width(k: int, n: int, half: float) -> None:
    low, high = wilson(k, n)
    assert (high - low) / 2 <= half
    low, high = wilson(round(k / n * (n - 4)), n - 4)
    assert (high - low) / 2 > half


def test_predictive_values_have_intervals_around_them() -> None:
    ppv, npv = predictive_value_interval(sensitivity=(231, 258), specificity=(54, 86), prevalence=0.25)
    assert round(ppv[0], 2) == 0.45
    assert round(npv[0], 2) == 0.95
    # Mercaldo 2007: logit(ppv) has variance (1 - se) / se / n1 + sp / (1 - sp) / n0
    error = np.sqrt((27 / 231) / 258 + (54 / 32) / 86)
    expected = 1 / (1 + np.exp(-(np.log(ppv[0] / (1 - ppv[0])) + 1.959964 * np.array([-1, 1]) * error)))
    np.testing.assert_allclose(ppv[1:], expected, rtol=1e-6)
    error = np.sqrt((231 / 27) / 258 + (32 / 54) / 86)
    expected = 1 / (1 + np.exp(-(np.log(npv[0] / (1 - npv[0])) + 1.959964 * np.array([-1, 1]) * error)))
    np.testing.assert_allclose(npv[1:], expected, rtol=1e-6)


def test_a_perfect_specificity_gives_a_ppv_of_one_with_a_lower_end() -> None:
    ppv, npv = predictive_value_interval(sensitivity=(8, 10), specificity=(20, 20), prevalence=0.1)
    assert ppv[0] == ppv[2] == 1.0
    assert 0.05 < ppv[1] < 0.9
    assert npv[1] < npv[0] < npv[2]
    with pytest.raises(ValueError, match="positive"):
        predictive_value_interval(sensitivity=(0, 0), specificity=(1, 2), prevalence=0.1)


def test_newcombe_holds_an_interval_where_all_are_ranked_right() -> None:
    low, high = newcombe_auroc(1.0, n_positive=10, n_negative=10)
    assert high == 1.0
    assert 0.7 < low < 0.9
    assert newcombe_auroc(0.0, n_positive=10, n_negative=10) == pytest.approx((0.0, 1 - low))
    inner = newcombe_auroc(0.8, n_positive=50, n_negative=50)
    # the ends solve (a - .8)^2 = z^2 V(a)
    for end in inner:
        spread = 1 + 49 * ((1 - end) / (2 - end) + end / (1 + end))
        assert (end - 0.8) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) * spread / 2500, rel=1e-5)
    with pytest.raises(ValueError, match="both sides"):
        newcombe_auroc(0.5, n_positive=0, n_negative=3)


def test_a_grouped_jackknife_agrees_with_leaving_out_each_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).exponential(size=1000)
    grouped = bootstrap(np.arange(1000), weighted_mean(values), n_draws=2000, method="bca")
    monkeypatch.setattr("csasn.evidence.statistics.bootstrap.MOST_LEFT_OUT", 1000)
    single = bootstrap(np.arange(1000), weighted_mean(values), n_draws=2000, method="bca")
    assert MOST_LEFT_OUT < 1000
    np.testing.assert_allclose(grouped.low, single.low, atol=0.003)
    np.testing.assert_allclose(grouped.high, single.high, atol=0.003)


def test_only_the_chosen_columns_take_bca() -> None:
    values = np.random.default_rng(4).exponential(size=30) ** 2
    pair = lambda w: np.repeat(weighted_mean(values)(w), 2, axis=1)  # noqa: E731
    both = bootstrap(np.arange(30), pair, method=np.array([True, False]))
    assert both.low[0] == bootstrap(np.arange(30), weighted_mean(values), method="bca").low[0]
    assert both.low[1] == bootstrap(np.arange(30), weighted_mean(values)).low[0]
    assert both.low[0] > both.low[1]  # a right-skewed mean's interval moves up


def test_bca_without_bias_or_skew_is_the_percentile_interval() -> None:
    draws = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(bca_levels(0.0, draws, 0.0, np.array([0.025, 0.975])), [0.025, 0.975], atol=1e-9)
    shifted = bca_levels(0.5, draws, 0.0, np.array([0.025, 0.975]))
    z0 = 0.6744898  # three quarters of the draws lie below
    np.testing.assert_allclose(shifted, norm.cdf(2 * z0 + np.array([-1.959964, 1.959964])), atol=2e-3)
    assert bca_levels(0.5, draws, np.nan, np.array([0.025, 0.975])).tolist() == [0.025, 0.975]


def test_draws_do_not_depend_on_threads_or_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=60)
    whole = bootstrap(np.arange(60), weighted_mean(values), n_draws=200)
    monkeypatch.setattr("csasn.evidence.statistics.bootstrap.CHUNK_ELEMENTS", 64)
    monkeypatch.setattr("csasn.evidence.statistics.bootstrap.N_THREADS", 1)
    pieces = bootstrap(np.arange(60), weighted_mean(values), n_draws=200)
    np.testing.assert_allclose(pieces.draws, whole.draws, rtol=1e-12)


def test_weights_of_large_strata_come_in_blocks_and_still_sum_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csasn.evidence.statistics.bootstrap.DRAWN_AT_ONCE", 1000)
    weights = patient_weights(np.zeros(300, dtype=int), n_draws=40, seed=3)
    assert (weights.sum(axis=1) == 300).all()
    assert weights.var() == pytest.approx(1 - 1 / 300, abs=0.05)  # multinomial
