"""Comparisons with a rival, paired tests, sites and subgroups of a small evaluation, again by plain loops."""

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, chi2, norm, t

from csasn.evidence.aggregation import UNITS
from csasn.evidence.comparison import bootstrap_p, detectable_difference, mcnemar, paired_difference
from csasn.evidence.measures import Figure
from csasn.evidence.record import Place
from csasn.evidence.resampled import Resampled
from csasn.evidence.resampling import Bootstrapped
from csasn.evidence.sites import combine, heterogeneity
from csasn.evidence.subgroups import Subgroup, groups_of, subgroups
from hand_made import (
    CLASSES,
    NOT_READ,
    RIVAL,
    Unit,
    auroc_of,
    called,
    draws_of,
    evaluation,
    figure_of,
    manifest,
    short_of,
    sides,
    units,
)

Z = norm.ppf(0.95)  # of the 90 % intervals
FIGURES = ("auroc", "sensitivity", "specificity")
COMPARED = ("macro_auroc", "balanced_accuracy", "macro_f1")


def both(unit: str) -> tuple[list[Unit], list[Unit]]:
    """The units that both models read."""
    own = [each for each in units(unit) if each.patient != NOT_READ]
    return own, list(units(unit, RIVAL))


def stepped(p: list[float]) -> list[float]:
    """Holm's adjustment, as Holm 1979 writes it."""
    order, found, least = sorted(range(len(p)), key=lambda place: p[place]), [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        found[place] = least
    return found


def test_comparisons_are_differences_draw_by_draw() -> None:
    rows = evaluation().comparisons
    assert [(each.unit, each.metric) for each in rows] == [(u, m) for u in ("patient", "image") for m in COMPARED]
    for unit in ("patient", "image"):
        family, (own, other) = [each for each in rows if each.unit == unit], both(unit)
        p_values = []
        for told in family:
            metric = told.metric
            draws = np.array(draws_of(own, "all", metric)) - np.array(draws_of(other, "all", metric))
            tail = min((draws <= 1e-12).sum(), (draws >= -1e-12).sum())
            p_values.append(min(1.0, 2 * (tail + 1) / 101))
            estimate = figure_of(own, "all", metric) - figure_of(other, "all", metric)
            assert (told.estimate, told.p) == (pytest.approx(estimate), pytest.approx(p_values[-1]))
            assert (told.low, told.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
            assert told.detectable == pytest.approx((norm.ppf(1 - 0.1 / 6) + norm.ppf(0.8)) * draws.std())
            assert told.n == sum(1 for each in own if each.subtype)
            apart = len(units(unit)) - len(own)
            assert told.note == f"{apart} units tested by one of the two alone were left out"
        assert [each.p_holm for each in family] == pytest.approx(stepped(p_values))


def delong_by_pairs(own: list[Unit], *others: list[Unit]) -> tuple[list[float], np.ndarray]:
    """AUROCs of malignancy of several readers, and their covariance from placements, pair by pair (DeLong 1988)."""
    areas, of_positives, of_negatives = [], [], []
    for reader in (own, *others):
        y, p, _ = sides(reader, "malignancy")
        high, low = ([v for v, yes in zip(p, y, strict=True) if yes is side] for side in (True, False))
        wins = [[(a > b) + (a == b) / 2 for b in low] for a in high]
        areas.append(float(np.mean(wins)))
        of_positives.append(np.mean(wins, axis=1))
        of_negatives.append(np.mean(wins, axis=0))
    covariance = np.cov(of_positives) / len(of_positives[0]) + np.cov(of_negatives) / len(of_negatives[0])
    return areas, np.atleast_2d(covariance)


def test_paired_tests_are_delongs_and_mcnemars() -> None:
    delong, *shares = evaluation().paired_tests
    own, other = both("patient")
    areas, covariance = delong_by_pairs(own, other)
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
        place=Place(model="csasn", site=name, unit="patient"),
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


def band(value: float | None, edges: tuple[float, ...], unit: str) -> str:
    """The name of the band of a value."""
    if value is None:
        return "not known"
    if value < edges[0]:
        return f"below {edges[0]:g} {unit}"
    for low, high in pairwise(edges):
        if low <= value < high:
            return f"{low:g} to below {high:g} {unit}"
    return f"{edges[-1]:g} {unit} or more"


def groups_by_hand(table: pl.DataFrame) -> dict[str, dict[str, str]]:
    """By grouping and patient, the name of its group."""
    found: dict[str, dict[str, str]] = {"device": {}, "age": {}, "sex": {}, "nodule_size": {}}
    for name in table["patient_id"].unique().to_list():
        rows = [row for row in table.iter_rows(named=True) if row["patient_id"] == name]
        for by in ("device", "sex"):
            values = {row[by] for row in rows if row[by] is not None}
            found[by][name] = "several" if len(values) > 1 else next(iter(values), "not known")
        ages = [row["age_years"] for row in rows if row["age_years"] is not None]
        sizes = [row["nodule_size_mm"] for row in rows if row["nodule_size_mm"] is not None]
        found["age"][name] = band(min(ages, default=None), (40.0, 55.0, 70.0), "years")
        found["nodule_size"][name] = band(max(sizes, default=None), (10.0, 20.0, 40.0), "mm")
    return found


def test_a_patient_is_in_the_group_of_all_its_images() -> None:
    patients = pl.DataFrame({"patient_id": [f"P{number}" for number in range(8)]})
    rows = [  # a patient has the youngest age and the largest nodule; one value of two is known
        ("P0", "old", 39.9, "male", 9.9),
        ("P1", "old", 40.0, "male", 10.0),
        ("P1", "new", 40.5, "female", 10.5),
        ("P2", None, 55.5, None, 20.5),
        ("P2", "new", 54.9, "male", 19.0),
        ("P3", "old", 55.0, "male", 40.5),
        ("P3", "old", 71.0, "male", 39.0),
        ("P4", "old", None, "male", 40.0),
        ("P5", None, 70.5, None, None),
        ("P6", "new", 70.0, "female", 20.0),
        ("P7", "new", 56.0, "female", 11.0),
    ]
    names = ("patient_id", "device", "age_years", "sex", "nodule_size_mm")
    table = pl.DataFrame(rows, schema=list(names), orient="row")
    found, expected = groups_of(patients, table), groups_by_hand(table)
    assert found.columns == ["patient_id", "device", "age", "sex", "nodule_size"]
    for by, of_patient in expected.items():
        assert found[by].to_list() == [of_patient[name] for name in patients["patient_id"]], by
    bare = groups_of(patients, table.with_columns(pl.lit(None, pl.String).alias("sex")))
    assert bare.columns == ["patient_id", "device", "age", "nodule_size"]
    one = table.with_columns(
        pl.when(pl.col("patient_id") == "P0").then(pl.lit("male")).alias("sex"),
    )
    assert groups_of(patients, one)["sex"].to_list() == ["male"] + ["not known"] * 7


def newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """Newcombe's method 5 at 90 %."""

    def excess(a: float) -> float:
        spread = 1 + ((m + n) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
        return float((area - a) ** 2 - Z**2 * a * (1 - a) * spread / m / n)

    if area == 1:
        return float(brentq(excess, 1e-9, 1 - 1e-9)), 1.0
    return 0.0, float(brentq(excess, 1e-9, 1 - 1e-9))


def expected_figures(group: list[Unit]) -> list[tuple[float | None, float | None, float | None, int, int, str, str]]:
    """Estimate, interval, n, n_positive, method and note of AUROC, sensitivity and specificity of a group."""
    y, p, _ = sides(group, "malignancy")
    reason = short_of(group, "malignancy")
    ends: tuple[float | None, float | None, float | None] = (None, None, None)
    method = "DeLong, logit scale"
    if not reason:
        area = auroc_of(y, p, [1.0] * len(y))
        if 0 < area < 1:
            error = math.sqrt(delong_by_pairs(group)[1][0, 0]) / area / (1 - area)
            ends = (area, float(expit(logit(area) - Z * error)), float(expit(logit(area) + Z * error)))
        else:
            method, ends = "Newcombe's method 5", (area, *newcombe(area, sum(y), len(y) - sum(y)))
    found = [(*ends, len(y), sum(y), method, reason)]
    for metric in ("sensitivity", "specificity"):
        rows = called("patient", group, "malignancy")
        hits = [yes == each.malignant for each, yes in rows if each.malignant == (metric == "sensitivity")]
        k, n = sum(hits), len(hits)
        if n:
            low, high = binomtest(k, n).proportion_ci(0.9, method="wilson")
            found.append((k / n, low, high, n, k, "Wilson at the frozen operating point", ""))
        else:
            note = f"not estimable: the denominator of {metric} is 0"
            found.append((None, None, None, 0, 0, "Wilson at the frozen operating point", note))
    return found


def figures_of(rows: list[Subgroup]) -> list[tuple[float | None, float | None, float | None, int, int, str, str]]:
    return [(each.estimate, each.low, each.high, each.n, each.n_positive, each.method, each.note) for each in rows]


def test_subgroups_are_read_by_their_own_patients() -> None:
    told, patients = evaluation().subgroups, units("patient")
    expected, methods = [], set()
    for by, of_patient in groups_by_hand(manifest()).items():
        for group in sorted({of_patient[each.patient] for each in patients}):
            own = [each for each in patients if of_patient[each.patient] == group]
            figures = expected_figures(own)
            methods.add((figures[0][5], bool(figures[0][6])))
            expected += [((by, group, m), f) for m, f in zip(FIGURES, figures, strict=True)]
    assert [(each.by, each.group, each.metric) for each in told] == [key for key, _ in expected]
    for mine, (key, theirs) in zip(figures_of(told), expected, strict=True):
        assert mine[3:] == theirs[3:], key
        for a, b in zip(mine[:3], theirs[:3], strict=True):
            assert a == (None if b is None else pytest.approx(b, abs=1e-9)), key
    assert methods == {("DeLong, logit scale", False), ("DeLong, logit scale", True)}


def of_one_device(malignant: list[bool], p: list[float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Patients P0, P1, ... read with p(malignant), and a manifest that holds their device alone."""
    names = [f"P{place}" for place in range(len(p))]
    test = pl.DataFrame(
        [
            {"patient_id": name, "malignant": yes, "subtype": "PTC" if yes else "benign"}
            | {"probability_benign": 1 - each, "probability_FA": 0.0, "probability_PTC": each, "probability_FTC": 0.0}
            for name, yes, each in zip(names, malignant, p, strict=True)
        ]
    )
    empty = {"age_years": pl.Float64, "sex": pl.String, "nodule_size_mm": pl.Float64}
    table = pl.DataFrame({"patient_id": names}).with_columns(pl.lit("old").alias("device"))
    return test, table.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in empty.items())


@pytest.mark.parametrize("turned", [False, True])
def test_a_subgroup_ranked_without_error_takes_newcombes_interval(turned: bool) -> None:
    p = [0.9, 0.8, 0.3, 0.2, 0.1]
    test, table = of_one_device([True, True, False, False, False], [1 - each for each in p] if turned else p)
    found = subgroups(test, {}, table, CLASSES, confidence=0.9)[0]
    area = 0.0 if turned else 1.0
    assert (found.estimate, found.method, found.note) == (area, "Newcombe's method 5", "")
    assert (found.low, found.high) == pytest.approx(newcombe(area, 2, 3))


def test_a_subgroup_leaves_out_whom_no_operating_point_calls() -> None:
    test, table = of_one_device([True, True, False], [0.3] * 3)
    found = subgroups(test, {"P1": True}, table, CLASSES)
    assert [(each.metric, each.estimate, each.n) for each in found] == [
        ("auroc", None, 3), ("sensitivity", 1.0, 1), ("specificity", None, 0)
    ]  # fmt: skip
    assert found[1].low == pytest.approx(binomtest(1, 1).proportion_ci(0.95, method="wilson").low)
    assert found[2].note == "not estimable: the denominator of specificity is 0"


def test_units_are_evaluated_from_patient_to_image() -> None:
    assert UNITS == ("patient", "nodule", "image")
