"""Every record, operating point and table of counts of a small evaluation, again by plain loops."""

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm, t

from csasn.config import EvaluateSettings
from csasn.evidence.evaluation import Confusion, Evaluation
from csasn.evidence.metric_panel import OVERALL
from csasn.evidence.record import Record
from tests.support.evaluation import evaluate
from tests.support.hand_made import (
    CLASSES,
    NAMES,
    POPULATION,
    PREDICTIONS,
    RIVAL,
    SETTINGS,
    Unit,
    called,
    draws_of,
    evaluation,
    figure_of,
    left_out_of,
    manifest,
    n_patients,
    short_of,
    sides,
    threshold_of,
    units,
)
from tests.support.plain_statistics import bca_of, wilson_of

TARGETS = ("malignancy", *NAMES)
SITES = ("all", "Alm", "Birk", "Ceder")
FULL = ("auroc", "auprc", "sensitivity_at_specificity", "specificity_at_sensitivity", "brier", "ece")
BRIEF = ("auroc", "auprc", "brier", "ece")
SHARES = ("prevalence", "sensitivity", "specificity", "ppv", "npv")
Z = norm.ppf(0.95)  # of the 90 % intervals
PLACES = [
    *(("csasn", "patient", site) for site in SITES),
    (RIVAL, "patient", "all"),
    *(("csasn", "nodule", site) for site in SITES),
    *(("csasn", "image", site) for site in SITES),
    (RIVAL, "image", "all"),
]


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluation()


@pytest.fixture(scope="module")
def records(found: Evaluation) -> dict[tuple[str, str, str, str, str], Record]:
    return {(each.model, each.unit, each.site, each.target, each.metric): each for each in found.records}


def at(model: str, unit: str, site: str) -> list[Unit]:
    return [each for each in units(unit, model) if site in ("all", each.site)]


def panel(model: str, unit: str, site: str) -> list[tuple[str, str]]:
    """Target and metric of what is resampled at a place, in order."""
    full = (model, unit, site) == ("csasn", "patient", "all")
    keys = [("all", metric) for metric in OVERALL]
    keys += [(target, metric) for target in TARGETS for metric in (FULL if full else BRIEF)]
    return keys + [(name, "auroc_vs_benign") for name in (CLASSES.malignant if full else ())]


def close(value: float | None, expected: float) -> None:
    assert value is not None
    assert value == pytest.approx(expected, abs=1e-9)


def test_records_stand_in_a_fixed_order(found: Evaluation) -> None:
    expected = []
    for place in PLACES:
        expected += [(*place, *key) for key in panel(*place)]
        expected += [
            (*place, target, metric)
            for target in TARGETS
            for metric in (*SHARES, "ppv_in_population", "npv_in_population")
        ]
    told = [(each.model, each.unit, each.site, each.target, each.metric) for each in found.records]
    assert told == expected
    assert {each.partition for each in found.records} == {"test"}


@pytest.mark.parametrize("place", PLACES)
def test_figures_of_one_target(records: dict[tuple[str, ...], Record], place: tuple[str, str, str]) -> None:
    own = at(*place)
    for target, metric in panel(*place):
        if target == "all":
            continue
        told, reason = records[*place, target, metric], short_of(own, target)
        y, _, _ = sides(own, target)
        n, k = len(y), sum(y)
        if metric == "auroc_vs_benign":
            n = sum(1 for each in own if each.subtype == target or not each.malignant)
        assert (told.n, told.n_positive) == (n, k)
        if reason:
            assert (told.estimate, told.low, told.high, told.note) == (None, None, None, reason)
            continue
        close(told.estimate, figure_of(own, target, metric))
        with_target = n_patients(own, target, positive=True)
        few = f"only {with_target} patients with {target}" if with_target < 10 else ""
        noise = "resampling adds noise to ece: its interval leans upwards" if metric == "ece" else ""
        assert told.note == "; ".join(filter(None, [few, noise]))


@pytest.mark.parametrize("place", PLACES)
def test_figures_over_all_classes(records: dict[tuple[str, ...], Record], place: tuple[str, str, str]) -> None:
    own = at(*place)
    chosen = [name for name in NAMES if not short_of(own, name)]
    short = [name for name in NAMES if name not in chosen]
    fewer = f"over {len(chosen)} classes, left out for want of patients: {', '.join(short)}" if short else ""
    noise = "resampling adds noise to ece: its interval leans upwards"
    for metric in OVERALL:
        told = records[*place, "all", metric]
        assert (told.n, told.n_positive) == (sum(1 for each in own if each.subtype), None)
        if len(chosen) < 2:
            assert (told.estimate, told.note) == (None, "not estimable: fewer than two classes have enough patients")
            continue
        close(told.estimate, figure_of(own, "all", metric))
        notes = dict.fromkeys(("brier", "mcc", "kappa"), "") | {"ece": f"of the most probable class; {noise}"}
        notes["classwise_ece"] = "; ".join(filter(None, [fewer, noise]))
        assert told.note == notes.get(metric, fewer)


RESAMPLED = "bootstrap over patients within classes, 100 draws"


@pytest.mark.parametrize(
    ("target", "metric"),
    [
        ("all", "ece"),
        ("all", "classwise_ece"),
        ("malignancy", "sensitivity_at_specificity"),
        ("PTC", "specificity_at_sensitivity"),
        ("FTC", "ece"),
    ],
)
def test_rough_figures_take_percentiles(records: dict[tuple[str, ...], Record], target: str, metric: str) -> None:
    told = records["csasn", "patient", "all", target, metric]
    low, high = np.quantile(draws_of(units("patient"), target, metric), [0.05, 0.95])
    close(told.low, low)
    close(told.high, high)
    assert told.method == RESAMPLED


@pytest.mark.parametrize(
    ("place", "target", "metric"),
    [
        (("csasn", "patient", "all"), "all", "macro_auroc"),
        (("csasn", "patient", "all"), "all", "balanced_accuracy"),
        (("csasn", "patient", "all"), "all", "macro_f1"),
        (("csasn", "patient", "all"), "all", "mcc"),
        (("csasn", "patient", "all"), "all", "kappa"),
        (("csasn", "patient", "all"), "all", "top2_sensitivity"),
        (("csasn", "patient", "all"), "all", "brier"),
        (("csasn", "patient", "all"), "PTC", "auroc_vs_benign"),
        (("csasn", "patient", "all"), "malignancy", "brier"),
        (("csasn", "patient", "Alm"), "all", "macro_auroc"),
        (("csasn", "image", "Birk"), "malignancy", "auroc"),
        ((RIVAL, "image", "all"), "PTC", "brier"),
        ((RIVAL, "patient", "all"), "FTC", "auroc"),
    ],
)
def test_smooth_figures_take_bca(
    records: dict[tuple[str, ...], Record], place: tuple[str, str, str], target: str, metric: str
) -> None:
    told, own = records[*place, target, metric], at(*place)
    low, high = bca_of(figure_of(own, target, metric), draws_of(own, target, metric), left_out_of(own, target, metric))
    close(told.low, low)
    close(told.high, high)
    assert told.method == RESAMPLED


@pytest.mark.parametrize(
    ("place", "target"),
    [
        (("csasn", "patient", "all"), "malignancy"),
        (("csasn", "patient", "all"), "all"),
        (("csasn", "image", "all"), "FTC"),
        (("csasn", "nodule", "Birk"), "all"),
    ],
)
def test_auprc_takes_its_jackknife(
    records: dict[tuple[str, ...], Record], place: tuple[str, str, str], target: str
) -> None:
    metric, own = "macro_auprc" if target == "all" else "auprc", at(*place)
    told, estimate = records[*place, target, metric], figure_of(own, target, metric)
    variance = 0.0
    for values in left_out_of(own, target, metric).values():
        logits = logit(values)
        variance += (len(values) - 1) / len(values) * sum((each - logits.mean()) ** 2 for each in logits)
    names = [name for name in NAMES if not short_of(own, name)] if target == "all" else [target]
    fewest = min(n_patients(own, name, positive=side) for name in names for side in (True, False))
    reach = t.ppf(0.95, fewest - 1) * math.sqrt(variance)
    close(told.low, expit(logit(estimate) - reach))
    close(told.high, expit(logit(estimate) + reach))
    assert told.method == "jackknife over patients within classes, logit scale, Student's t"


def effective_n(hits: list[bool], patients: list[str]) -> float:
    """Units over the design effect of the ratio estimator, at most the units; patients where none or all are hits."""
    share, names = sum(hits) / len(hits), sorted(set(patients))
    excess = [sum(hit - share for hit, each in zip(hits, patients, strict=True) if each == name) for name in names]
    variance = len(names) / max(len(names) - 1, 1) * sum(each**2 for each in excess) / len(hits) ** 2
    return min(len(hits), share * (1 - share) / variance if variance > 1e-15 else len(names))


def hits_of(place: tuple[str, str, str], target: str, metric: str) -> tuple[list[bool], list[str], int]:
    """Hits and patients within the denominator of a share, and how many units have no threshold."""
    model, unit, _ = place
    y, _, kept = sides(at(*place), target)
    if metric == "prevalence":
        return y, [each.patient for each in kept], 0
    rows = called(unit, at(*place), target, model)
    within = {
        "sensitivity": [(yes, each) for each, yes in rows if each.is_of(target)],
        "specificity": [(not yes, each) for each, yes in rows if not each.is_of(target)],
        "ppv": [(bool(each.is_of(target)), each) for each, yes in rows if yes],
        "npv": [(not each.is_of(target), each) for each, yes in rows if not yes],
    }[metric]
    return [hit for hit, _ in within], [each.patient for _, each in within], len(kept) - len(rows)


@pytest.mark.parametrize("place", PLACES)
def test_shares_at_frozen_thresholds(records: dict[tuple[str, ...], Record], place: tuple[str, str, str]) -> None:
    unit = place[1]
    plain = "Wilson" if unit == "patient" else "Wilson at the effective n of clustered units"
    for target in TARGETS:
        reason = short_of(at(*place), target)
        for metric in SHARES:
            told = records[*place, target, metric]
            hits, patients, n_out = hits_of(place, target, metric)
            n, k = len(hits), sum(hits)
            assert (told.n, told.n_positive) == (n, k)
            end = "" if metric == "prevalence" else "; Youden threshold frozen on each fold's tuning partition"
            assert told.method == plain + end
            out = f"{n_out} {unit}(s) left out: their fold has no tuning threshold for {target}" if n_out else ""
            empty = "" if n or reason else f"not estimable: the denominator of {metric} is 0"
            assert told.note == "; ".join(filter(None, [reason, empty, out]))
            if reason or not n:
                assert (told.estimate, told.low, told.high) == (None, None, None)
                continue
            size = n if unit == "patient" else effective_n(hits, patients)
            low, high = wilson_of(k / n * size, size)
            close(told.estimate, k / n)
            close(told.low, 0.0 if k == 0 else low)
            close(told.high, 1.0 if k == n else high)


def test_the_cohort_has_units_without_a_threshold_and_empty_denominators() -> None:
    """What the test above must meet so that it tells."""
    whole = ("csasn", "patient", "all")
    assert hits_of(whole, "FA", "sensitivity")[0] == []
    assert hits_of(whole, "FA", "specificity")[2] > 0
    assert short_of(at("csasn", "patient", "Ceder"), "malignancy") == "not estimable: 1 patient with malignancy"
    assert short_of(at("csasn", "patient", "Ceder"), "FTC") == "not estimable: 0 patients with FTC"


def bayes(place: tuple[str, str, str], target: str, prevalence: float) -> dict[str, tuple[float, float, float]] | None:
    """PPV and NPV at a prevalence with the logit intervals of Mercaldo 2007; None where a side is empty."""
    sides_of = [hits_of(place, target, metric)[0] for metric in ("sensitivity", "specificity")]
    if not all(sides_of):
        return None
    (ks, ns), (kp, np_) = ((sum(each), len(each)) for each in sides_of)
    se, sp, pi = ks / ns, kp / np_, prevalence
    plain = {"ppv": (se * pi, (1 - sp) * (1 - pi)), "npv": (sp * (1 - pi), (1 - se) * pi)}
    if ks in (0, ns):
        se, ns = (ks + 0.5) / (ns + 1), ns + 1
    if kp in (0, np_):
        sp, np_ = (kp + 0.5) / (np_ + 1), np_ + 1
    logits = {
        "ppv": (math.log(se * pi / (1 - sp) / (1 - pi)), (1 - se) / se / ns + sp / (1 - sp) / np_),
        "npv": (math.log(sp * (1 - pi) / (1 - se) / pi), se / (1 - se) / ns + (1 - sp) / sp / np_),
    }
    found = {}
    for name, (centre, variance) in logits.items():
        wanted, other = plain[name]
        estimate = wanted / (wanted + other) if wanted + other else math.nan
        ends = [expit(centre + sign * Z * math.sqrt(variance)) for sign in (-1, 1)]
        found[name] = (estimate, min(ends[0], estimate), max(ends[1], estimate))
    return found


@pytest.mark.parametrize("place", PLACES)
def test_predictive_values_in_the_declared_population(
    records: dict[tuple[str, ...], Record], place: tuple[str, str, str]
) -> None:
    prevalence = POPULATION | {"malignancy": POPULATION["PTC"] + POPULATION["FTC"]}
    for target in TARGETS:
        reason, ends = short_of(at(*place), target), bayes(place, target, prevalence[target])
        for name in ("ppv", "npv"):
            told = records[*place, target, f"{name}_in_population"]
            assert (told.n, told.n_positive) == (len(called(place[1], at(*place), target, place[0])), None)
            assert told.method == (
                f"Bayes at the declared prevalence {prevalence[target]:g}, logit interval (Mercaldo 2007)"
            )
            assert told.note == (reason or ("" if ends else "not estimable: one side is empty"))
            if reason or not ends:
                assert (told.estimate, told.low, told.high) == (None, None, None)
            else:
                for value, expected in zip((told.estimate, told.low, told.high), ends[name], strict=True):
                    close(value, expected)


def test_a_population_of_malignancy_alone_keeps_the_cohorts_mix_of_classes() -> None:
    own = PREDICTIONS.filter(model="csasn")
    settings = EvaluateSettings(**(SETTINGS.model_dump() | {"population": {"malignancy": 0.3}}))
    told = [each for each in evaluate(own, manifest(), CLASSES, settings).records if each.metric == "ppv_in_population"]
    n = {name: sum(1 for each in units("patient") if each.subtype == name) for name in NAMES}
    expected = {name: 0.7 * n[name] / (n["benign"] + n["FA"]) for name in ("benign", "FA")}
    expected |= {name: 0.3 * n[name] / (n["PTC"] + n["FTC"]) for name in ("PTC", "FTC")}
    expected["malignancy"] = 0.3
    assert {each.site for each in told} == set(SITES)
    for each in told:
        ends = bayes((each.model, each.unit, each.site), each.target, expected[each.target])
        assert f"prevalence {expected[each.target]:g}," in each.method
        if ends is not None and not each.note:
            close(each.estimate, ends["ppv"][0])


def test_operating_points_are_those_of_the_tuning_units(found: Evaluation) -> None:
    expected = [
        (model, unit, target, fold)
        for unit in ("patient", "nodule", "image")
        for model in ("csasn", RIVAL)
        for fold in (0, 1)
        for target in TARGETS
    ]
    assert [(each.model, each.unit, each.target, each.fold) for each in found.operating_points] == expected
    for point in found.operating_points:
        threshold, index, n, k = threshold_of(point.unit, point.fold, point.target, point.model)
        assert (point.n, point.n_positive) == (n, k)
        if threshold is None or index is None:
            assert (point.threshold, point.youden_index) == (None, None)
            assert point.note == f"not estimable: {k} of {n} tuning units are {point.target}"
        else:
            assert (point.threshold, point.youden_index) == pytest.approx((threshold, index))
            assert point.note == ""
    assert any(each.threshold is None for each in found.operating_points)


@pytest.mark.parametrize("unit", ["patient", "nodule", "image"])
def test_the_confusion_counts_known_units(found: Evaluation, unit: str) -> None:
    counts = [[0] * 4 for _ in NAMES]
    for each in units(unit):
        if each.subtype is not None:
            counts[NAMES.index(each.subtype)][max(range(4), key=lambda k: each.p[k])] += 1
    assert found.confusion[unit] == Confusion(classes=list(NAMES), counts=counts)
