"""Every published value that the statistics must reproduce, to the digits in print."""

import numpy as np
import pytest
from crepes import ConformalClassifier
from scipy.stats import chi2, norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.inter_rater import cohens_kappa

from csasn.calibration.prediction_sets import coverage_band, needed, rank_of, threshold
from csasn.evidence.decision import net_benefit
from csasn.evidence.heterogeneity import combine
from csasn.evidence.statistics import metrics
from csasn.evidence.statistics.delong import delong
from csasn.evidence.statistics.paired import holm, mcnemar
from csasn.evidence.statistics.paired_proportions import Discordant, tango_score
from csasn.evidence.statistics.reliability import ece_norms, murphy


def test_mcnemar_as_r_prints_it() -> None:
    statistic, p, _ = mcnemar(121, 59)
    assert (round(statistic, 5), f"{p:.6e}") == (20.67222, "5.450095e-06")
    statistic, p, _ = mcnemar(70, 59)
    assert (round(statistic, 7), round(p, 7)) == (0.7751938, 0.3786151)


def test_uncorrected_and_exact_mcnemar_as_r_prints_them() -> None:
    """Tango's score at no difference is McNemar's uncorrected statistic; one unit a patient is McNemar's exact test."""
    statistic = tango_score(121, 59, 314, 0.0) ** 2
    assert (round(statistic, 5), f"{chi2.sf(statistic, 1):.6e}") == (21.35556, "3.815136e-06")
    one = np.ones(129, dtype=np.int64)
    first = (np.arange(129) < 70).astype(np.int64)
    assert round(Discordant(n=one, first_alone=first, second_alone=1 - first).p(), 6) == 0.378688


def test_kappa_as_sas_prints_it() -> None:
    table = np.array([[0.0, 4, 1], [0, 8, 0], [0, 1, 5]])
    assert round(float(metrics.kappa(table)), 4) == 0.4842
    assert metrics.kappa(table) == pytest.approx(cohens_kappa(table).kappa)


def test_the_interval_of_kappa_as_sas_prints_it() -> None:
    """The delta method on our kappa: its slope towards one more unit of each cell, squared, summed over the units."""
    table, step = np.array([[0.0, 4, 1], [0, 8, 0], [0, 1, 5]]), 1e-5
    plain, variance = float(metrics.kappa(table)), 0.0
    for cell in np.ndindex(3, 3):
        more = table.copy()
        more[cell] += step
        variance += table[cell] * ((float(metrics.kappa(more)) - plain) / step) ** 2
    reach = norm.ppf(0.975) * np.sqrt(variance)
    assert (round(plain - reach, 4), round(plain + reach, 4)) == (0.2137, 0.7547)


@pytest.mark.parametrize(
    ("brier", "reliability", "resolution", "uncertainty"), [(0.144, 0.025, 0.060, 0.179), (0.037, 0.003, 0.020, 0.054)]
)
def test_brier_falls_into_murphys_three_parts(
    brier: float, reliability: float, resolution: float, uncertainty: float
) -> None:
    """The published parts add up, and forecasts made to have them are taken apart into them."""
    assert round(reliability - resolution + uncertainty, 3) == brier
    base = 0.5 - np.sqrt(0.25 - uncertainty)  # the share of positives with that uncertainty
    high = base**2 / (resolution + base**2)  # the share of forecasts that are not about none, for that resolution
    n = np.rint(400_000 * np.array([1 - high, high])).astype(int)
    shares = np.array([0.0, base / high])
    y = np.concatenate([np.arange(m) < round(m * share) for m, share in zip(n, shares, strict=True)])
    p = np.repeat(shares + np.sqrt(reliability), n)
    found = murphy("malignancy", y, p, np.repeat([0, 1], n))
    assert found.brier == pytest.approx(brier, abs=6e-4)
    assert round(found.reliability, 3) == reliability
    assert round(found.resolution, 3) == resolution
    assert round(found.uncertainty, 3) == uncertainty
    assert found.within == pytest.approx(0, abs=1e-12)


def test_ece_norms_as_torchmetrics_prints_them() -> None:
    p, y = np.array([0.25, 0.25, 0.55, 0.75, 0.75]), np.array([0, 0, 1, 1, 1])
    found = ece_norms(y, p, edges=np.array([0, 0.5, 1]))
    assert [f"{each:.4f}" for each in found] == ["0.2900", "0.2918", "0.3167"]


def test_net_benefit_as_dcurves_prints_it() -> None:
    t = np.array([0.05, 0.10, 0.15, 0.20])
    model = net_benefit(np.array(24), np.array(91), 750, t)
    np.testing.assert_array_equal(model.round(10), [0.0256140351, 0.0185185185, 0.0105882353, 0.0016666667])
    everyone = net_benefit(np.array(105), np.array(645), 750, t)
    np.testing.assert_array_equal(everyone.round(10), [0.0947368421, 0.0444444444, -0.0117647059, -0.075])


def test_holm_as_r_prints_it() -> None:
    assert np.round(holm([0.01, 0.04, 0.03, 0.005]), 10).tolist() == [0.03, 0.06, 0.06, 0.02]


def naive_delong(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The placement values pair by pair, as DeLong 1988 writes them."""
    areas, tens, ones = [], [], []
    for reader in p:
        wins = np.array([[1.0 if x > z else 0.5 if x == z else 0.0 for z in reader[~y]] for x in reader[y]])
        areas.append(wins.mean())
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    covariance = np.zeros((len(p), len(p)))
    for i in range(len(p)):
        for j in range(len(p)):
            s10 = sum((a - areas[i]) * (b - areas[j]) for a, b in zip(tens[i], tens[j], strict=True)) / (y.sum() - 1)
            s01 = sum((a - areas[i]) * (b - areas[j]) for a, b in zip(ones[i], ones[j], strict=True)) / ((~y).sum() - 1)
            covariance[i, j] = s10 / y.sum() + s01 / (~y).sum()
    return np.array(areas), covariance


def test_fast_delong_equals_the_naive_one_on_200_data_sets() -> None:
    worst = 0.0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(6, 60))
        y = rng.random(n) < rng.uniform(0.2, 0.8)
        y[:4] = True, True, False, False
        p = rng.normal(size=(2, n)) + y * rng.uniform(0, 2, (2, 1))
        p = np.round(p, 1) if seed % 2 else p  # half of them with ties
        found, (areas, covariance) = delong(y, p), naive_delong(y, p)
        worst = max(worst, np.abs(found.auroc - areas).max(), np.abs(found.covariance - covariance).max())
        assert found.auroc == pytest.approx([roc_auc_score(y, each) for each in p], abs=1e-12)
    assert worst < 1e-10


def test_delongs_interval_and_test_by_hand() -> None:
    rng = np.random.default_rng(7)
    y = rng.random(80) < 0.4
    p = rng.normal(size=(2, 80)) + y * np.array([[1.5], [0.3]])
    found, (areas, covariance) = delong(y, p), naive_delong(y, p)
    error = np.sqrt(covariance[0, 0])
    assert found.interval(scale="plain") == pytest.approx((areas[0] - 1.959964 * error, areas[0] + 1.959964 * error))
    logit = np.log(areas[0] / (1 - areas[0])) + 1.959964 * error / areas[0] / (1 - areas[0]) * np.array([-1, 1])
    assert found.interval() == pytest.approx(tuple(1 / (1 + np.exp(-logit))))
    z = (areas[0] - areas[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.z() == pytest.approx(z)
    assert found.z(1, 0) == pytest.approx(-z)
    assert found.p() == pytest.approx(2 * norm.sf(abs(z)))
    with pytest.raises(ValueError, match="two units"):
        delong(np.array([True, False, False]), np.zeros(3))
    assert np.isnan(delong(np.array([True, True, False, False]), np.array([4, 3, 2, 1.0])).interval()).all()
    assert np.isnan(delong(y, np.stack([p[0], p[0]])).z())


def test_the_rank_of_a_threshold_and_what_it_promises() -> None:
    assert [rank_of(n, 0.1) for n in (8, 9, 10, 19, 20, 100)] == [9, 9, 10, 18, 19, 91]
    assert (needed(0.1), needed(0.05), needed(0.2)) == (9, 19, 4)
    scores = np.arange(1.0, 10.0)
    assert threshold(scores, 0.1) == 9.0
    assert threshold(scores[:8], 0.1) == float("inf")
    assert threshold(np.arange(1.0, 20.0), 0.1) == 18.0
    fifth = [coverage_band(n, 0.1, band=0.9)[1] for n in (9, 20, 50, 100)]
    assert [round(each, 2) for each in fifth] == [0.72, 0.78, 0.83, 0.85]
    assert coverage_band(8, 0.1) == (1.0, 1.0, 1.0)
    assert coverage_band(20, 0.1)[0] == pytest.approx(19 / 21)


def test_class_conditional_sets_equal_those_of_crepes() -> None:
    rng, k = np.random.default_rng(2), 3
    y, p = rng.integers(0, k, 400), rng.dirichlet(np.ones(k), 400)
    calibration, test = slice(0, 250), slice(250, 400)
    library = ConformalClassifier()
    library.fit(1 - p[calibration][np.arange(250), y[calibration]], bins=y[calibration])
    theirs = np.zeros((150, k), dtype=bool)
    for each in range(k):
        values = library.predict_p(1 - p[test][:, [each]], bins=np.full(150, each), smoothing=False)
        theirs[:, each] = values[:, 0] > 0.1
    cut = [threshold(1 - p[calibration][y[calibration] == each, each], 0.1) for each in range(k)]
    np.testing.assert_array_equal(1 - p[test] <= np.array(cut), theirs)


def test_random_effects_by_hand() -> None:
    """Paule and Mandel's tau^2 solves Q(tau^2) = k - 1; the interval is Hartung and Knapp's."""
    share, error = np.array([0.70, 0.80, 0.92, 0.85]), np.array([0.03, 0.02, 0.015, 0.04])
    found = combine(share, error)
    effect, variance = np.log(share / (1 - share)), (error / share / (1 - share)) ** 2
    weights = 1 / (variance + found["tau"] ** 2)
    mean = (weights @ effect) / weights.sum()
    assert weights @ (effect - mean) ** 2 == pytest.approx(3, abs=1e-4)
    assert found["estimate"] == pytest.approx(1 / (1 + np.exp(-mean)))
    standard_error = np.sqrt(max(1, weights @ (effect - mean) ** 2 / 3) / weights.sum())
    assert np.log(found["high"] / (1 - found["high"])) == pytest.approx(mean + 3.182446 * standard_error, rel=1e-5)
    wide = 4.302653 * np.sqrt(found["tau"] ** 2 + standard_error**2)
    assert np.log(found["prediction_low"] / (1 - found["prediction_low"])) == pytest.approx(mean - wide, rel=1e-4)
    fixed = 1 / variance
    q = fixed @ (effect - fixed @ effect / fixed.sum()) ** 2
    assert (found["q"], found["i2"]) == (pytest.approx(q), pytest.approx((q - 3) / q))


def test_equal_sites_show_no_spread_and_two_sites_predict_nothing() -> None:
    found = combine([0.8, 0.8, 0.8], [0.02, 0.03, 0.02])
    assert found["tau"] == pytest.approx(0, abs=1e-6)
    assert found["i2"] == 0.0
    assert found["estimate"] == pytest.approx(0.8)
    assert np.isnan(combine([0.7, 0.8], [0.02, 0.03])["prediction_low"])
    with pytest.raises(ValueError, match="Two or more"):
        combine([0.8, 1.0], [0.02, 0.02])
