"""Intervals in closed form and by resampling against scipy, roots and plain loops, edges included."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from scipy.stats import norm

from csasn.evidence.statistics.bootstrap import bca_levels, bootstrap, patient_weights
from csasn.evidence.statistics.intervals import (
    auprc_interval,
    clustered_wilson,
    newcombe_auroc,
    predictive_value_interval,
    wilson,
)
from csasn.evidence.statistics.metrics import predictive_values
from tests.support.plain_statistics import acceleration_of, wilson_of


def test_wilson_solves_its_equation() -> None:
    for k, n, level in ((3, 7, 0.95), (0, 4, 0.9), (4, 4, 0.8), (1, 1, 0.95)):
        assert wilson(k, n, level) == pytest.approx(wilson_of(k, n, level), abs=1e-9)
    assert wilson(3, 7) == wilson(3, 7, 0.95)
    for k, n in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"received k={k}, n={n}"):
            wilson(k, n)


def test_the_interval_of_a_clustered_share_by_hand() -> None:
    """Hits of patients a, b, c and d: 3 of 3, 0 of 2, 1 of 2, 1 of 1; a share of 5/8."""
    hits = np.array([1, 1, 1, 0, 0, 0, 1, 1], dtype=bool)
    patients = np.array(list("aaabbccd"))
    excess = [3 - 15 / 8, 0 - 10 / 8, 1 - 10 / 8, 1 - 5 / 8]
    variance = 4 / 3 * sum(each**2 for each in excess) / 8**2
    n = 15 / 64 / variance
    assert 3 < n < 4
    expected = wilson_of(5 / 8 * n, n, 0.8)
    assert clustered_wilson(hits, patients, 0.8) == pytest.approx(expected, abs=1e-9)
    assert clustered_wilson(hits, patients) == clustered_wilson(hits, patients, 0.95)
    spread = np.array([1, 0, 1, 0, 1, 0, 1, 0], dtype=bool)  # half of each patient's: no spread
    assert clustered_wilson(spread, np.repeat(np.arange(4), 2)) == pytest.approx(wilson(2, 4))
    thirds = np.tile(np.array([True, False, False]), 5)  # shares that a computer cannot write
    n_5 = wilson_of(5 / 3, 5, 0.95)
    assert clustered_wilson(thirds, np.repeat(np.arange(5), 3)) == pytest.approx(n_5, abs=1e-9)
    uneven = np.array([1, 0, 1, 0, 1, 1, 0], dtype=bool)
    share, groups = 4 / 7, np.array([0, 0, 1, 1, 2, 2, 2])
    variance = 3 / 2 * sum((uneven[groups == g].sum() - share * (groups == g).sum()) ** 2 for g in range(3)) / 49
    assert share * (1 - share) / variance > 7
    assert clustered_wilson(uneven, groups) == pytest.approx(wilson_of(4, 7, 0.95), abs=1e-9)


def test_a_clustered_share_of_one_patient_or_of_all() -> None:
    one = clustered_wilson(np.array([True, False, False]), np.zeros(3))  # no spread of one patient can be seen
    assert one == pytest.approx(wilson_of(1 / 3, 1, 0.95), abs=1e-9)
    for hits, side in ((np.ones(6, dtype=bool), 1), (np.zeros(6, dtype=bool), 0)):
        found = clustered_wilson(hits, np.repeat(np.arange(3), 2), 0.9)
        assert found[side] == side
        assert found == pytest.approx(wilson_of(3 * side, 3, 0.9), abs=1e-9)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "prevalence"),
    [((8, 10), (15, 20), 0.3), ((10, 10), (15, 20), 0.1), ((8, 10), (20, 20), 0.2), ((0, 4), (3, 5), 0.9),
     ((2, 4), (0, 5), 0.5), ((1, 1), (1, 1), 0.25)],
)  # fmt: skip
def test_predictive_values_and_their_logit_intervals_by_hand(
    sensitivity: tuple[int, int], specificity: tuple[int, int], prevalence: float
) -> None:
    found = predictive_value_interval(
        sensitivity=sensitivity, specificity=specificity, prevalence=prevalence, confidence=0.9
    )
    se, sp, z = sensitivity[0] / sensitivity[1], specificity[0] / specificity[1], norm.ppf(0.95)
    bayes = predictive_values(sensitivity=se, specificity=sp, prevalence=prevalence)
    told = se * prevalence + (1 - sp) * (1 - prevalence)
    assert bayes[0] == pytest.approx(se * prevalence / told)
    assert bayes[1] == pytest.approx(sp * (1 - prevalence) / (1 - told))
    (a, n), (b, m) = ((k / d, d) if 0 < k < d else ((k + 0.5) / (d + 1), d + 1) for k, d in (sensitivity, specificity))
    centres = (
        math.log(a * prevalence / (1 - b) / (1 - prevalence)),
        math.log(b * (1 - prevalence) / (1 - a) / prevalence),
    )
    variances = (1 - a) / a / n + b / (1 - b) / m, a / (1 - a) / n + (1 - b) / b / m
    for each, estimate, centre, variance in zip(found, bayes, centres, variances, strict=True):
        low, high = expit(centre - z * math.sqrt(variance)), expit(centre + z * math.sqrt(variance))
        assert each == pytest.approx((estimate, min(low, estimate), max(high, estimate)))


def test_predictive_values_of_nobody_are_not_estimable() -> None:
    nobody_called = predictive_value_interval(sensitivity=(0, 4), specificity=(5, 5), prevalence=0.3)
    assert all(math.isnan(each) for each in nobody_called[0])
    assert nobody_called[1][0] == pytest.approx(0.7)
    everybody_called = predictive_value_interval(sensitivity=(4, 4), specificity=(0, 5), prevalence=0.3)
    assert all(math.isnan(each) for each in everybody_called[1])
    assert everybody_called[0][0] == pytest.approx(0.3)
    for pair in ({"sensitivity": (0, 0), "specificity": (1, 2)}, {"sensitivity": (1, 2), "specificity": (0, 0)}):
        with pytest.raises(ValueError, match="Both denominators must be positive"):
            predictive_value_interval(prevalence=0.1, **pair)
    assert predictive_values(sensitivity=0.8, specificity=0.7, prevalence=0.0) == (0.0, 1.0)
    assert predictive_values(sensitivity=0.8, specificity=0.7, prevalence=1.0) == (1.0, 0.0)


@pytest.mark.parametrize(("area", "m", "n"), [(0.8, 5, 9), (0.5, 1, 3), (0.97, 40, 2), (1.0, 4, 6), (0.0, 6, 4)])
def test_newcombes_ends_are_where_the_area_lies_z_errors_away(area: float, m: int, n: int) -> None:
    low, high = newcombe_auroc(area, n_positive=m, n_negative=n, confidence=0.9)
    z, mean = norm.ppf(0.95), (m + n) / 2
    for end in (low, high):
        if end in (0.0, 1.0):
            assert end == area
            continue
        first, second = end / (2 - end), 2 * end**2 / (1 + end)  # Hanley and McNeil's Q1 and Q2
        variance = end * (1 - end) + (mean - 1) * (first + second - 2 * end**2)
        assert abs(area - end) == pytest.approx(z * math.sqrt(variance / m / n), rel=1e-5)
    assert low < high
    assert newcombe_auroc(0.7, n_positive=m, n_negative=n) == newcombe_auroc(
        0.7, n_positive=m, n_negative=n, confidence=0.95
    )
    for wrong in ((0.5, 0, 3), (0.5, 3, 0), (1.1, 3, 3), (-0.1, 3, 3)):
        with pytest.raises(ValueError, match="needs both sides"):
            newcombe_auroc(wrong[0], n_positive=wrong[1], n_negative=wrong[2])


def test_auprc_of_1_is_wilson_of_the_positives_and_few_are_not_enough() -> None:
    for level in (0.95, 0.9):
        ends = auprc_interval(1.0, np.ones(9), np.zeros(9, dtype=int), n_positive=4, n_negative=5, confidence=level)
        assert ends == (pytest.approx(wilson_of(4, 4, level)[0]), 1.0)
    values = np.array([0.6, 0.7, 0.75, 0.65])
    for few in ((1, 9), (9, 1)):
        assert np.isnan(auprc_interval(0.7, values, np.zeros(4, dtype=int), n_positive=few[0], n_negative=few[1])).all()
    least = auprc_interval(0.7, values, np.zeros(4, dtype=int), n_positive=2, n_negative=2)
    logits = np.log(values / (1 - values))
    reach = stats.t.ppf(0.975, 1) * math.sqrt(3 / 4 * ((logits - logits.mean()) ** 2).sum())
    assert least == pytest.approx(tuple(expit(math.log(0.7 / 0.3) + sign * reach) for sign in (-1, 1)))


def test_an_auprc_without_a_patient_that_is_1_lies_on_the_tangent() -> None:
    values, strata = np.array([1.0, 0.8, 0.85, 0.9]), np.array([0, 0, 1, 1])
    logits = np.log(np.array([0.5, 0.8, 0.85, 0.9]) / np.array([0.5, 0.2, 0.15, 0.1]))
    logits[0] = math.log(0.9 / 0.1) + (1.0 - 0.9) / (0.9 * 0.1)
    variance = 1 * logits[:2].var() + 1 * logits[2:].var()
    reach = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    expected = tuple(expit(math.log(0.9 / 0.1) + sign * reach) for sign in (-1, 1))
    assert auprc_interval(0.9, values, strata, n_positive=5, n_negative=7) == pytest.approx(expected)


def mean_of(values: np.ndarray):
    return lambda w: (w @ values / w.sum(axis=1))[:, None]


def test_bca_is_scipys_on_the_same_draws() -> None:
    values = np.random.default_rng(1).exponential(size=25) ** 2
    for seed in (0, 7):
        own = bootstrap(np.arange(25), mean_of(values), n_draws=200, confidence=0.9, seed=seed, method="bca")
        theirs = stats.bootstrap((values,), np.mean, n_resamples=9, method="percentile")
        theirs.bootstrap_distribution = own.draws[:, 0]
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=0, confidence_level=0.9, method="BCa", bootstrap_result=theirs
        )
        assert (own.low[0], own.high[0]) == pytest.approx(tuple(found.confidence_interval), rel=1e-9)
    plain = bootstrap(np.arange(25), mean_of(values))
    assert plain.draws.shape == (1000, 1)
    expected = [row @ values / 25 for row in patient_weights(np.zeros(25), n_draws=1000, seed=0)]
    assert plain.draws[:, 0] == pytest.approx(expected)
    assert (plain.low[0], plain.high[0]) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))
    assert plain.left_out.shape == (0, 1)


def test_patients_are_left_out_within_their_strata() -> None:
    values, strata = np.array([1.0, 2, 4, 8, 16, 32]), np.array([0, 0, 0, 1, 1, 2])
    found = bootstrap(np.arange(6), mean_of(values), strata=strata, n_draws=100, method="bca")
    assert found.left_out_strata.tolist() == [0, 0, 0, 1, 1]  # the one that is alone stays
    expected = [(7 - v) * 1.5 + 24 + 32 for v in (1, 2, 4)] + [7 + 2 * v + 32 for v in (16, 8)]
    assert found.left_out[:, 0] * 6 == pytest.approx(expected)
    by_stratum = {k: found.left_out[found.left_out_strata == k, 0].tolist() for k in (0, 1)}
    levels = bca_levels(found.estimate[0], found.draws[:, 0], acceleration_of(by_stratum), np.array([0.025, 0.975]))
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(np.quantile(found.draws[:, 0], levels)))
    alone = bootstrap(np.arange(3), mean_of(values[:3]), strata=np.arange(3), n_draws=100, method="bca")
    assert alone.left_out.shape == (0, 1)
    assert (alone.low[0], alone.high[0]) == pytest.approx((7 / 3, 7 / 3))


def test_beyond_200_patients_groups_are_left_out_in_proportion() -> None:
    strata = np.repeat([0, 1, 2], [300, 99, 1])
    values = np.random.default_rng(3).normal(size=400)
    found = bootstrap(np.arange(400), mean_of(values), strata=strata, n_draws=100, method="bca")
    n_groups = [150, 50]  # of 200, rounded to the even number
    assert [int((found.left_out_strata == k).sum()) for k in range(3)] == [*n_groups, 0]
    kept = np.ones(400)
    kept[:300] = 300 / 298
    kept[[0, 150]] = 0
    assert found.left_out[0, 0] == pytest.approx(kept @ values / kept.sum())
    few = bootstrap(np.arange(200), mean_of(values[:200]), strata=strata[200:], n_draws=100, method="bca")
    assert len(few.left_out) == 199
    scarce = np.repeat([0, 1], [998, 2])
    found = bootstrap(np.arange(1000), mean_of(np.arange(1000.0)), strata=scarce, n_draws=100, method="bca")
    assert int((found.left_out_strata == 1).sum()) == 2


def test_bca_clips_its_bias_and_keeps_levels_that_nothing_can_correct() -> None:
    levels, draws = np.array([0.025, 0.975]), np.arange(100.0)
    for estimate, share in ((-1.0, 0.5 / 100), (1000.0, 1 - 0.5 / 100)):
        z0 = norm.ppf(share)
        expected = norm.cdf(z0 + (z0 + norm.ppf(levels)) / (1 - 0.1 * (z0 + norm.ppf(levels))))
        assert bca_levels(estimate, draws, 0.1, levels) == pytest.approx(expected)
    tied = np.repeat([0.0, 1.0, 2.0], [1, 2, 1])
    assert bca_levels(1.0, tied, 0.0, levels) == pytest.approx(levels)  # half of the ties lie below
    noisy = tied + np.array([0, 1e-15, -1e-15, 0])
    assert bca_levels(1.0, noisy, 0.0, levels) == pytest.approx(levels)  # sums in another order tie all the same
    assert bca_levels(1.0, np.append(tied, np.nan), 0.0, levels) == pytest.approx(levels)
    assert bca_levels(1.0, np.full(3, np.nan), 0.0, levels) is levels
    assert bca_levels(1.0, tied, math.inf, levels) is levels


def test_a_statistic_that_never_moves_has_no_width() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap(np.arange(9), lambda w: np.full((len(w), 1), 0.3), n_draws=100, method="bca")
    assert (found.estimate[0], found.low[0], found.high[0]) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize(("n_undefined", "defined"), [(5, True), (6, False)])
def test_one_draw_in_twenty_may_be_undefined(n_undefined: int, defined: bool) -> None:
    first = patient_weights(np.zeros(30), n_draws=100, seed=0)[:n_undefined]

    def statistic(w: np.ndarray) -> np.ndarray:
        undefined = np.array([any((row == bad).all() for bad in first) for row in w])
        return np.where(undefined, np.nan, w[:, 0])[:, None]

    found = bootstrap(np.arange(30), statistic, n_draws=100)
    assert np.isnan(found.draws).sum() == n_undefined
    assert np.isfinite(found.low[0]) == np.isfinite(found.high[0]) == defined
    if defined:
        assert found.high[0] == np.quantile(found.draws[n_undefined:, 0], 0.975)


def test_an_undefined_estimate_has_no_interval() -> None:
    found = bootstrap(np.arange(9), lambda w: np.where((w == 1).all(axis=1), np.nan, 1.0)[:, None], n_draws=100)
    assert np.isnan([found.estimate[0], found.low[0], found.high[0]]).all()
