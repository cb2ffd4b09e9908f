"""Bins, calibration errors, Brier's parts, temperatures and the calibration section, again by plain loops."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from csasn.calibration.prevalence import declared_prevalence, shifted
from csasn.calibration.temperature import Temperature, fit_temperature, nll, temperatures
from csasn.config import EvaluateSettings
from csasn.errors import BadInputError
from csasn.evidence.calibration_section import CalibrationSection, ReliabilityBin, calibration_section
from csasn.evidence.statistics.reliability import ece, ece_norms, equal_mass_bins, murphy, reliability, top_label
from csasn.schema import ClassList
from csasn.units import per_unit
from tests.support.hand_made import CLASSES, NAMES, POPULATION, PREDICTIONS, Unit, evaluation, short_of, sides, units
from tests.support.plain_statistics import bins_of, ece_of

P = [0.05, 0.1, 0.1, 0.2, 0.35, 0.35, 0.35, 0.6, 0.8, 0.9, 0.95]
Y = [False, False, True, False, True, False, False, True, True, False, True]
THREE = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)


@pytest.mark.parametrize("n_bins", [2, 3, 4, 7])
def test_bins_and_the_reliability_diagram(n_bins: int) -> None:
    own = bins_of(P, n_bins)
    assert equal_mass_bins(np.array(P), n_bins=n_bins).tolist() == own
    found = reliability(np.array(Y), np.array(P), n_bins=n_bins, confidence=0.8)
    assert len(found) == max(own) + 1
    for number, told in enumerate(found):
        inside = [(p, y) for p, y, each in zip(P, Y, own, strict=True) if each == number]
        k, n = sum(y for _, y in inside), len(inside)
        low, high = binomtest(k, n).proportion_ci(0.8, method="wilson")
        assert (told.n, told.observed) == (n, pytest.approx(k / n))
        assert told.mean_probability == pytest.approx(sum(p for p, _ in inside) / n)
        assert (told.low, told.high) == pytest.approx((low, high))
    weights = np.array([[1.0] * 11, [2, 0, 1, 3, 1, 1, 0, 2, 1, 1, 4]])
    whole = [
        ece(np.array(Y), np.array(P), n_bins=n_bins),
        *ece(np.array(Y), np.array(P), n_bins=n_bins, sample_weight=weights),
    ]
    expected = [ece_of(Y, P, w, n_bins) for w in ([1.0] * 11, *weights.tolist())]
    assert whole == pytest.approx(expected)


def test_ten_bins_and_95_percent_where_nothing_else_is_asked() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(57)
    y = rng.random(57) < p
    assert equal_mass_bins(p).tolist() == bins_of(p.tolist(), 10)
    assert reliability(y, p) == reliability(y, p, n_bins=10, confidence=0.95)
    assert ece(y, p) == pytest.approx(ece_of(y.tolist(), p.tolist(), [1.0] * 57, 10))


def test_bins_of_given_edges_and_their_three_norms() -> None:
    p, y = np.array([0.0, 0.2, 0.3, 0.3, 0.9, 1.0, 1.0]), np.array([0, 1, 0, 1, 1, 0, 1])
    gaps = {  # from 0 to below .3, from .3 to below .6 (none from .6 to below .8), from .8 on, 1 included
        "low": (2, abs(0.2 - 1) / 2),
        "middle": (2, abs(0.6 - 1) / 2),
        "high": (3, abs(2.9 - 2) / 3),
    }
    found = ece_norms(y, p, edges=np.array([0, 0.3, 0.6, 0.8, 1]))
    assert found[0] == pytest.approx(sum(n / 7 * gap for n, gap in gaps.values()))
    assert found[1] == pytest.approx(math.sqrt(sum(n / 7 * gap**2 for n, gap in gaps.values())))
    assert found[2] == pytest.approx(max(gap for _, gap in gaps.values()))
    assert ece_norms(y[:1], p[:1], edges=np.array([0.1, 1])) == (0, 0, 0)  # below the first edge: in the first bin


def test_briers_parts_by_hand() -> None:
    own, base = bins_of(P, 3), sum(Y) / 11
    found = murphy("PTC", np.array(Y), np.array(P), np.array(own))
    parts = {"reliability": 0.0, "resolution": 0.0}
    for each in set(own):
        inside = [(p, y) for p, y, b in zip(P, Y, own, strict=True) if b == each]
        mean, share = (sum(pair[k] for pair in inside) / len(inside) for k in (0, 1))
        parts["reliability"] += len(inside) / 11 * (mean - share) ** 2
        parts["resolution"] += len(inside) / 11 * (share - base) ** 2
    brier = sum((p - y) ** 2 for p, y in zip(P, Y, strict=True)) / 11
    uncertainty = base * (1 - base)
    assert (found.target, found.n) == ("PTC", 11)
    assert (found.brier, found.uncertainty) == pytest.approx((brier, uncertainty))
    assert (found.reliability, found.resolution) == pytest.approx(tuple(parts.values()))
    assert found.within == pytest.approx(brier - parts["reliability"] + parts["resolution"] - uncertainty)
    gap = murphy("PTC", np.array(Y), np.array(P), 2 * np.array(own))  # numbers of bins that nothing is in
    assert gap == found


def test_the_top_label_of_ties_is_the_first() -> None:
    right, top = top_label(np.array([0, 1, 2]), np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]))
    assert (right.tolist(), top.tolist()) == ([True, False, True], [0.4, 0.4, 0.7])


def logits_of(model: str, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and classes of a fold's tuning patients of known class."""
    kept = [each for each in units("patient", model, "tuning") if each.fold == fold and each.subtype]
    return np.log([each.p for each in kept]), np.array([NAMES.index(str(each.subtype)) for each in kept])


def nll_by_hand(logits: np.ndarray, y: np.ndarray, temperature: float) -> float:
    total = 0.0
    for row, k in zip(logits, y, strict=True):
        scaled = [math.exp(each / temperature) for each in row]
        total -= math.log(scaled[k] / sum(scaled))
    return total / len(y)


def calibrated_units() -> list[Unit]:
    """The test patients after the temperature of their fold."""
    of_fold = {each.fold: each.temperature for each in evaluation().calibration.temperatures}
    found = []
    for each in units("patient"):
        scaled = [p ** (1 / of_fold[each.fold]) for p in each.p]
        found.append(Unit(**(each.__dict__ | {"p": tuple(p / sum(scaled) for p in scaled)})))
    return found


def test_temperatures_are_the_best_for_their_tuning_patients() -> None:
    told = evaluation().calibration.temperatures
    assert [each.fold for each in told] == [0, 1]
    for each in told:
        logits, y = logits_of("csasn", each.fold)
        assert (each.n, each.note) == (len(y), "")
        assert each.nll_before == pytest.approx(nll_by_hand(logits, y, 1.0))
        assert each.nll_after == pytest.approx(nll_by_hand(logits, y, each.temperature))
        assert nll(logits / each.temperature, y) == pytest.approx(each.nll_after)
        assert all(each.nll_after <= nll_by_hand(logits, y, other) + 1e-12 for other in np.geomspace(0.05, 20, 200))
    far = fit_temperature(np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([1, 1]))
    assert far == pytest.approx(20, rel=1e-3)  # as far as is looked
    near = fit_temperature(np.array([[0.01, 0.0], [0.0, 0.01]]), np.array([0, 1]))
    assert near == pytest.approx(0.05, rel=1e-3)  # as near as is looked


def test_a_temperature_needs_ten_tuning_patients_of_known_class() -> None:
    table = per_unit(PREDICTIONS.filter(pl.col("model") == "csasn"), CLASSES, unit="patient")
    for n in (9, 10):
        tuning = table.filter(pl.col("partition") == "tuning", pl.col("fold") == 1, pl.col("subtype").is_not_null())
        (told,) = temperatures(tuning.head(n), CLASSES)
        if n == 10:
            assert (told.n, told.note) == (10, "")
            continue
        note = "left at 1: 9 tuning patients of known class, 10 are needed"
        assert told == Temperature(fold=1, temperature=1.0, nll_before=None, nll_after=None, n=0, note=note)


def expected_bins(stage: str, own: Sequence[Unit]) -> list[tuple[Any, ...]]:
    known = [each for each in own if each.subtype]
    top = [max(each.p) for each in known]
    right = [NAMES[max(range(4), key=lambda k, p=each.p: p[k])] == each.subtype for each in known]
    drawn = {"all": (right, top)}
    for target in ("malignancy", *NAMES):
        if not short_of(own, target):
            y, p, _ = sides(own, target)
            drawn[target] = (y, p)
    rows = []
    for target, (y, p) in drawn.items():
        numbers = bins_of(p)
        for number in range(max(numbers) + 1):
            inside = [(pi, yi) for pi, yi, b in zip(p, y, numbers, strict=True) if b == number]
            k, n = sum(yi for _, yi in inside), len(inside)
            low, high = binomtest(k, n).proportion_ci(0.9, method="wilson")
            rows.append((stage, target, sum(pi for pi, _ in inside) / n, k / n, low, high, n))
    return rows


def test_the_reliability_of_both_stages() -> None:
    told: list[ReliabilityBin] = evaluation().calibration.reliability
    expected = expected_bins("raw", units("patient")) + expected_bins("calibrated", calibrated_units())
    assert [(each.stage, each.target, each.n) for each in told] == [(row[0], row[1], row[6]) for row in expected]
    for each, row in zip(told, expected, strict=True):
        assert (each.mean_probability, each.observed, each.low, each.high) == pytest.approx(row[2:6], abs=1e-9)


def test_parts_and_corrections_of_the_section() -> None:
    section = evaluation().calibration
    assert [each.target for each in section.murphy] == ["malignancy", *NAMES]
    for each in section.murphy:
        y, p, _ = sides(units("patient"), each.target)
        expected = murphy(each.target, np.array(y), np.array(p), np.array(bins_of(p)))
        names = ("brier", "reliability", "resolution", "uncertainty", "within", "n")
        assert [getattr(each, name) for name in names] == pytest.approx([getattr(expected, name) for name in names])
    assert [each.stage for each in section.corrections] == ["raw", "calibrated"]
    for told, own in zip(section.corrections, (units("patient"), calibrated_units()), strict=True):
        known = [each for each in own if each.subtype]
        truth = [NAMES.index(str(each.subtype)) for each in known]
        answers = [max(range(4), key=lambda k, p=each.p: p[k]) for each in known]
        n = len(known)
        squares = [sum((p - (k == t)) ** 2 for k, p in enumerate(e.p)) for e, t in zip(known, truth, strict=True)]
        assert told.brier == pytest.approx(sum(squares) / n)
        assert told.nll == pytest.approx(-sum(math.log(e.p[t]) for e, t in zip(known, truth, strict=True)) / n)
        right = [a == t for a, t in zip(answers, truth, strict=True)]
        assert told.ece == pytest.approx(ece_of(right, [max(e.p) for e in known], [1.0] * n))
        assert told.n == n


def test_the_declared_population_moves_each_class() -> None:
    own = calibrated_units()
    known = [each for each in own if each.subtype]
    cohort = {name: sum(each.subtype == name for each in known) / len(known) for name in NAMES}
    moved = []
    for each in own:
        scaled = [p * POPULATION[name] / cohort[name] for p, name in zip(each.p, NAMES, strict=True)]
        moved.append([p / sum(scaled) for p in scaled])
    told = evaluation().calibration.population
    assert [each.target for each in told] == list(NAMES)
    for k, each in enumerate(told):
        assert (each.cohort, each.population) == pytest.approx((cohort[each.target], POPULATION[each.target]))
        assert each.mean_before == pytest.approx(sum(unit.p[k] for unit in own) / len(own))
        assert each.mean_after == pytest.approx(sum(row[k] for row in moved) / len(own))


def section_of(subtypes: Sequence[str | None], settings: EvaluateSettings) -> CalibrationSection:
    """The section of patients read with one set of probabilities."""
    table = pl.DataFrame(
        [
            {"patient_id": f"P{place}", "malignant": name not in ("benign", "FA"), "subtype": name}
            | {f"probability_{each}": (0.1 * (place + 1) if k == 2 else 0.2) for k, each in enumerate(NAMES)}
            for place, name in enumerate(subtypes)
        ],
        schema_overrides={"subtype": pl.String},
    )
    return calibration_section(table, table, [], CLASSES, settings)


def test_what_lacks_patients_is_left_out_of_the_section() -> None:
    settings = EvaluateSettings(calibration_bins=2, population={"malignancy": 0.2})
    found = section_of(["benign", "PTC", "PTC", "benign", "FA"], settings)
    assert [each.target for each in found.murphy] == ["malignancy", "benign", "PTC"]
    assert {each.target for each in found.reliability} == {"all", "malignancy", "benign", "PTC"}
    assert found.population == []  # FTC has no patient to be shifted from
    unknown = section_of([None, None, None], settings)
    assert (unknown.murphy, unknown.corrections, unknown.reliability, unknown.population) == ([],) * 4
    plain = EvaluateSettings(calibration_bins=2)
    whole = ["benign", "FA", "PTC", "FTC"]
    assert section_of(whole, plain).population == []
    assert len(section_of(whole, settings).population) == 4


def test_a_declared_prevalence_by_hand() -> None:
    counts = np.array([6.0, 1, 3])
    assert declared_prevalence({}, THREE, counts) is None
    found = declared_prevalence({"malignancy": 0.2}, THREE, counts)
    assert found is not None
    assert found.tolist() == pytest.approx([0.8, 0.05, 0.15])
    four = declared_prevalence({"malignancy": 0.2}, CLASSES, np.array([6.0, 2, 1, 3]))
    assert four is not None
    assert four.tolist() == pytest.approx([0.6, 0.2, 0.05, 0.15])
    none = declared_prevalence({"malignancy": 0.2}, THREE, np.array([6.0, 0, 0]))
    assert none is not None
    assert none[0] == pytest.approx(0.8)
    assert np.isnan(none[1:]).all()
    whole = {"benign": 0.7, "PTC": 0.2, "FTC": 0.1 + 5e-7}
    assert declared_prevalence(whole, THREE, counts).tolist() == list(whole.values())
    for wrong, words in (
        (
            {"benign": 0.7, "PTC": 0.2, "FTC": 0.11},
            "received a sum of 1.01, and these names are missing or unknown:\n  - none",
        ),
        ({"benign": 0.7, "PTC": 0.2, "FTC": 0.09}, "received a sum of 0.99"),
        ({"benign": 0.7, "PTC": 0.2, "XTC": 0.1}, "missing or unknown:\n  - FTC\n  - XTC"),
        ({"benign": 0.7, "malignancy": 0.3}, "missing or unknown:\n  - FTC\n  - PTC\n  - malignancy"),
    ):
        with pytest.raises(BadInputError) as refused:
            declared_prevalence(wrong, THREE, counts)
        assert words in str(refused.value)


def test_a_shift_by_hand() -> None:
    p, source, target = (
        np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]),
        np.array([0.6, 0.3, 0.1]),
        np.array([0.2, 0.2, 0.6]),
    )
    scaled = p * target / source
    assert shifted(p, source=source, target=target) == pytest.approx(scaled / scaled.sum(axis=1, keepdims=True))
    with pytest.raises(ValueError, match=r"received \[0.5, 0.0, 0.5\]"):
        shifted(p, source=np.array([0.5, 0.0, 0.5]), target=target)
