"""Comparisons with a baseline, paired tests and sites of a small evaluation, again by plain loops."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, chi2, norm, t

from csasn.evidence.comparison import paired_difference
from csasn.evidence.estimates import Resampled
from csasn.evidence.heterogeneity import combine, heterogeneity
from csasn.evidence.metric_panel import Figure
from csasn.evidence.record import Scope
from csasn.evidence.statistics.bootstrap import Bootstrapped
from csasn.evidence.statistics.paired import bootstrap_p, detectable_difference, mcnemar
from csasn.units import UNITS
from tests.support.hand_made import (
    NOT_READ,
    RIVAL,
    Unit,
    called,
    draws_of,
    evaluation,
    figure_of,
    sides,
    units,
)
from tests.support.plain_statistics import delong_by_pairs, p_of_draws, stepped

Z = norm.ppf(0.95)  # of the 90 % intervals
COMPARED = ("macro_auroc", "balanced_accuracy", "macro_f1")


def both(unit: str) -> tuple[list[Unit], list[Unit]]:
    """The units that both models read."""
    own = [each for each in units(unit) if each.patient != NOT_READ]
    return own, list(units(unit, RIVAL))


def test_comparisons_are_differences_draw_by_draw() -> None:
    rows = evaluation().comparisons
    assert [(each.unit, each.metric) for each in rows] == [(u, m) for u in ("patient", "image") for m in COMPARED]
    for unit in ("patient", "image"):
        family, (own, other) = [each for each in rows if each.unit == unit], both(unit)
        p_values = []
        for told in family:
            metric = told.metric
            draws = np.array(draws_of(own, "all", metric)) - np.array(draws_of(other, "all", metric))
            p_values.append(p_of_draws(draws.tolist()))
            estimate = figure_of(own, "all", metric) - figure_of(other, "all", metric)
            assert (told.estimate, told.p) == (pytest.approx(estimate), pytest.approx(p_values[-1]))
            assert (told.low, told.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
            assert told.detectable == pytest.approx((norm.ppf(1 - 0.1 / 6) + norm.ppf(0.8)) * draws.std())
            assert told.n == sum(1 for each in own if each.subtype)
            apart = len(units(unit)) - len(own)
            assert told.note == f"{apart} units tested by one of the two alone were left out"
        assert [each.p_holm for each in family] == pytest.approx(stepped(p_values))


def test_paired_tests_are_delongs_and_mcnemars() -> None:
    delong, *shares = evaluation().paired_tests
    own, other = both("patient")
    y, p, _ = sides(own, "malignancy")
    areas, covariance = delong_by_pairs(y, p, sides(other, "malignancy")[1])
    z = (areas[0] - areas[1]) / math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (delong.metric, delong.method, delong.n, delong.note) == ("auroc", "DeLong", len(own), "")
    assert (delong.b, delong.c) == (None, None)
    assert delong.estimate == pytest.approx(areas[0] - areas[1])
    assert delong.statistic == pytest.approx(z)
    assert delong.p == pytest.approx(2 * norm.sf(abs(z)))
    p_values = [2 * float(norm.sf(abs(z)))]
    for told, metric in zip(shares, ("sensitivity", "specificity"), strict=True):
        calls = [
            {each.patient: yes == each.malignant for each, yes in called("patient", list(read), "malignancy", model)}
            for model, read in (("csasn", units("patient")), (RIVAL, units("patient", RIVAL)))
        ]
        names = [each.patient for each in own if each.malignant == (metric == "sensitivity")]
        b = sum(calls[0][name] and not calls[1][name] for name in names)
        c = sum(calls[1][name] and not calls[0][name] for name in names)
        p_values.append(binomtest(b, b + c).pvalue)
        assert (told.metric, told.method, told.b, told.c, told.n) == (metric, "McNemar exact", b, c, len(names))
        assert told.estimate == pytest.approx((b - c) / len(names))
        assert (told.statistic, told.p) == (min(b, c), pytest.approx(p_values[-1]))
        assert told.note == ""
        assert b != c
    assert [each.p_holm for each in evaluation().paired_tests] == pytest.approx(stepped(p_values))


def test_a_p_counts_draws_on_either_side_of_nothing() -> None:
    draws = np.array([-1.0, 0.0, 0.5, 1, 2, 3, 4, 5, 6])
    assert bootstrap_p(draws) == pytest.approx(2 * 3 / 10)
    assert bootstrap_p(np.append(-draws, [np.nan, np.nan])) == pytest.approx(2 * 3 / 10)
    assert bootstrap_p(np.array([-1.0, 0, 1])) == 1.0
    assert math.isnan(bootstrap_p(np.full(3, np.nan)))


def test_a_difference_leaves_undefined_draws_out() -> None:
    one, other = np.array([3.0, 4, np.nan, 8, 9]), np.array([1.0, 1, 1, 2, np.nan])
    found = paired_difference((0.7, one), (0.2, other), confidence=0.5)
    assert found.estimate == pytest.approx(0.5)
    assert (found.low, found.high) == tuple(np.quantile([2, 3, 6], [0.25, 0.75]))
    assert found.error == pytest.approx(np.std([2, 3, 6]))
    assert found.p == pytest.approx(2 * 1 / 4)
    nothing = paired_difference((0.7, np.full(3, np.nan)), (0.2, np.ones(3)), confidence=0.9)
    assert nothing == paired_difference(None, (0.2, np.ones(3)), confidence=0.9)
    assert nothing == paired_difference((0.2, np.ones(3)), None, confidence=0.9)
    assert (nothing.estimate, nothing.p, nothing.error) == (None, None, None)


def test_mcnemar_changes_from_exact_to_corrected_at_25_pairs() -> None:
    for b, c in ((9, 15), (15, 9), (0, 3)):
        assert mcnemar(b, c) == (min(b, c), pytest.approx(binomtest(b, b + c).pvalue), "McNemar exact")
    statistic = (abs(8 - 17) - 1) ** 2 / 25
    assert mcnemar(8, 17) == (pytest.approx(statistic), pytest.approx(chi2.sf(statistic, 1)), "McNemar corrected")
    assert detectable_difference(0.02, confidence=0.9, family=4, power=0.9) == pytest.approx(
        0.02 * (norm.ppf(1 - 0.1 / 8) + norm.ppf(0.9))
    )


def test_random_effects_of_two_and_three_sites_by_hand() -> None:
    """Paule and Mandel: tau^2 makes the weighted squares k - 1; Hartung and Knapp's interval, never narrower."""
    for share, error in (
        ([0.6, 0.9], [0.03, 0.02]),
        ([0.5, 0.7, 0.9], [0.05, 0.03, 0.04]),
        ([0.7, 0.72, 0.71], [0.05, 0.08, 0.06]),
    ):
        k, y = len(share), logit(share)
        v = np.array([e**2 / (s * (1 - s)) ** 2 for s, e in zip(share, error, strict=True)])

        def squares(tau2: float, y: np.ndarray = y, v: np.ndarray = v) -> float:
            w = 1 / (v + tau2)
            return float(sum(w * (y - sum(w * y) / sum(w)) ** 2))

        q = squares(0)
        tau2 = 0.0 if q <= k - 1 else float(brentq(lambda x: squares(x) - k + 1, 0, 50))  # noqa: B023
        w = 1 / (v + tau2)
        mean = sum(w * y) / sum(w)
        se = math.sqrt(max(1.0, squares(tau2) / (k - 1)) / sum(w))
        found = combine(share, error, confidence=0.9)
        reach = t.ppf(0.95, k - 1) * se
        expected = [expit(mean), expit(mean - reach), expit(mean + reach), math.sqrt(tau2), q, chi2.sf(q, k - 1)]
        names = ("estimate", "low", "high", "tau", "q", "q_p")
        assert [found[name] for name in names] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert found["i2"] == pytest.approx(max(0.0, 1 - (k - 1) / q))
        wide = t.ppf(0.95, k - 2) * math.sqrt(tau2 + se**2) if k > 2 else math.nan
        ends = [found["prediction_low"], found["prediction_high"]]
        assert ends == pytest.approx([expit(mean - wide), expit(mean + wide)], rel=1e-5, nan_ok=True)
    assert combine([0.8, 0.8], [0.1, 0.2])["i2"] == 0.0  # Q is 0
    for share, error in (([0.5], [0.1]), ([0.0, 0.5], [0.1] * 2), ([1.0, 0.5], [0.1] * 2), ([0.5] * 2, [0.1, 0.0])):
        with pytest.raises(ValueError, match="are combined"):
            combine(share, error)


def site(name: str, figures: dict[tuple[str, str], tuple[float, list[float]]]) -> Resampled:
    """A site whose figures and draws are given."""
    keys = (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("malignancy", "auroc"))
    told = [figures[key] for key in keys if key in figures]
    n_draws = max((len(draws) for _, draws in told), default=0)
    empty = np.zeros(len(told))
    return Resampled(
        scope=Scope(model="csasn", site=name, unit="patient"),
        keys=(),
        units=None,  # type: ignore[arg-type]
        figures=tuple(
            Figure(target=key[0], metric=key[1], estimable=key in figures, n=9, n_positive=None, note="")
            for key in keys
        ),
        found=Bootstrapped(
            estimate=np.array([each for each, _ in told]),
            low=empty,
            high=empty,
            draws=np.array([draws for _, draws in told]).reshape(len(told), n_draws).T,
            left_out=np.zeros((0, len(told))),
            left_out_strata=np.zeros(0, dtype=np.int64),
        ),
    )


def test_sites_are_combined_where_they_have_a_figure_with_spread() -> None:
    auroc, macro, accuracy = ("malignancy", "auroc"), ("all", "macro_auroc"), ("all", "balanced_accuracy")
    spread = [0.7, 0.8, np.nan, 0.9]
    found = heterogeneity(
        [
            site("A", {auroc: (0.8, spread), macro: (0.7, [0.6, 0.7, 0.7, 0.8])}),
            site("B", {auroc: (0.9, [0.85, 0.9, 0.95, 0.9]), macro: (1.0, [1.0, 0.9, 1.0, 1.0])}),
            site("C", {auroc: (0.7, [0.6, 0.7, 0.8, 0.7]), accuracy: (0.4, [0.4, 0.4, 0.4, 0.4])}),
            site("D", {macro: (0.6, [0.5, 0.6, 0.7, 0.6]), accuracy: (0.5, [0.4, 0.5, 0.6, 0.5])}),
        ],
        confidence=0.9,
    )
    assert [(each.target, each.metric) for each in found] == [macro, accuracy, auroc]
    of_auroc = combine(
        [0.8, 0.9, 0.7], [np.nanstd(spread), np.std([0.85, 0.9, 0.95, 0.9]), np.std([0.6, 0.7, 0.8, 0.7])],
        confidence=0.9,
    )  # fmt: skip
    assert found[2].n_sites == 3
    assert {name: getattr(found[2], name) for name in of_auroc} == pytest.approx(of_auroc)
    assert found[2].note == "left out, not estimable there or without spread: D"
    assert found[0].n_sites == 2
    assert found[0].note == (
        "the range of a further site needs three; left out, not estimable there or without spread: B, C"
    )
    assert (found[0].prediction_low, found[0].prediction_high) == (None, None)
    assert found[0].estimate is not None
    assert found[1].note == (
        "not estimable: 1 site(s) with an estimate; left out, not estimable there or without spread: A, B, C"
    )
    assert (found[1].estimate, found[1].tau, found[1].q_p, found[1].n_sites) == (None, None, None, 1)
    every = heterogeneity([site(name, {auroc: (0.8, spread)}) for name in "ABC"])[2]
    assert every.note == ""
    assert every.low == pytest.approx(combine([0.8] * 3, [np.nanstd(spread)] * 3, confidence=0.95)["low"])


def test_the_sites_of_the_evaluation_are_those_of_its_records() -> None:
    told = {(each.target, each.metric): each for each in evaluation().sites}
    for target, metric in (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("malignancy", "auroc")):
        by_site = [[each for each in units("patient") if each.site == name] for name in ("Alm", "Birk")]
        estimates = [figure_of(own, target, metric) for own in by_site]
        errors = [float(np.std(draws_of(own, target, metric))) for own in by_site]
        expected = combine(estimates, errors, confidence=0.9)
        assert told[target, metric].estimate == pytest.approx(expected["estimate"])
        assert told[target, metric].low == pytest.approx(expected["low"])
        assert told[target, metric].note.endswith("without spread: Ceder")


def test_units_are_evaluated_from_patient_to_image() -> None:
    assert UNITS == ("patient", "nodule", "image")
