"""Two runs' differences, the drops beside another run, and the sentences on them, again by plain loops."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

from csasn.config import EvaluateSettings
from csasn.evidence.generalisation import DROPS, drops
from csasn.evidence.run_differences import RunDifference, differences
from csasn.evidence.wording import adjusted_p, better_of, found, in_words, not_found, untold
from csasn.schema import ClassList
from csasn.units import Unit as UnitName
from csasn.units import per_unit
from tests.evidence.test_delong import naive_clusters
from tests.support.hand_made import (
    CLASSES,
    NAMES,
    NOT_READ,
    PREDICTIONS,
    RIVAL,
    SETTINGS,
    Unit,
    called,
    draws_of,
    figure_of,
    short_of,
    sides,
    units,
)
from tests.support.plain_statistics import p_of_draws, stepped

Z = norm.ppf(0.95)  # of the 90 % intervals
OVERALL = ("macro_auroc", "macro_auprc", "macro_f1", "brier", "ece")
TARGETS = ("malignancy", *NAMES)
WORDS = dict(
    zip(OVERALL, ("macro AUROC", "macro AUPRC", "macro F1", "Brier score", "calibration error (ECE)"), strict=True)
)
WORDS |= {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}


def table(model: str, unit: UnitName) -> pl.DataFrame:
    """A model's rows in CSASN's place; of the patient that the baseline did not read there is no test row."""
    frame = PREDICTIONS.filter(pl.col("model") == model).with_columns(pl.lit("csasn").alias("model"))
    read = (pl.col("partition") != "test") | (pl.col("patient_id") != NOT_READ)
    return per_unit(frame.filter(read), CLASSES, unit=unit)


def told_by(unit: UnitName) -> list[RunDifference]:
    return differences([table("csasn", unit), table(RIVAL, unit)], CLASSES, SETTINGS, unit=unit)


def read(unit: str) -> tuple[list[Unit], list[Unit]]:
    return [each for each in units(unit) if each.patient != NOT_READ], list(units(unit, RIVAL))


def reach_of(error: float, family: int) -> float:
    return float(norm.ppf(1 - 0.1 / 2 / family) + norm.ppf(0.8)) * error


@pytest.mark.parametrize("unit", ["patient", "nodule"])
def test_differences_over_all_classes(unit: UnitName) -> None:
    rows, (one, other) = [each for each in told_by(unit) if each.family == "over all classes"], read(unit)
    assert [each.metric for each in rows] == list(OVERALL)
    p_values, errors = [], []
    for told in rows:
        draws = np.array(draws_of(one, "all", told.metric)) - np.array(draws_of(other, "all", told.metric))
        p_values.append(p_of_draws(draws.tolist()))
        errors.append(draws.std())
        first, second = figure_of(one, "all", told.metric), figure_of(other, "all", told.metric)
        assert (told.first, told.second) == (pytest.approx(first), pytest.approx(second))
        assert (told.estimate, told.p) == (pytest.approx(first - second), pytest.approx(p_values[-1]))
        assert (told.low, told.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
        assert told.n == sum(1 for each in one if each.subtype)
        assert told.n_patients == len({each.patient for each in one if each.subtype})
        assert (told.unit, told.target, told.first_alone, told.second_alone) == (unit, "all", None, None)
        assert told.method == "bootstrap over patients within classes, the same 100 draws for both"
    assert [each.p_holm for each in rows] == pytest.approx(stepped(p_values))
    assert [each.detectable for each in rows] == pytest.approx([reach_of(each, 5) for each in errors])


class Side:
    """A share's units: by patient how many there are, and how many one run alone has right."""

    def __init__(self, unit: str, target: str, metric: str) -> None:
        one, other = read(unit)
        calls = [dict(zip((e.key for e, _ in rows), (yes for _, yes in rows), strict=True))
                 for rows in (called(unit, one, target), called(unit, other, target, RIVAL))]  # fmt: skip
        kept = [each for each in one if each.key in calls[0] and each.is_of(target) == (metric == "sensitivity")]
        right = [[calls[run][each.key] == each.is_of(target) for each in kept] for run in (0, 1)]
        self.shares = [sum(each) / len(each) if each else math.nan for each in right]
        self.names = sorted({each.patient for each in kept})
        self.n = [sum(each.patient == name for each in kept) for name in self.names]
        alone = []
        for run in (0, 1):
            lone = [a and not b for a, b in zip(right[run], right[1 - run], strict=True)]
            alone.append(
                [sum(yes for yes, e in zip(lone, kept, strict=True) if e.patient == name) for name in self.names]
            )
        self.b, self.c = alone
        self.n_out = len(sides(one, target)[0]) - len(calls[0])

    def p(self) -> float:
        """Every exchange of whole patients counted."""
        excess = [b - c for b, c in zip(self.b, self.c, strict=True) if b != c]
        sums = [
            abs(sum(s * e for s, e in zip(signs, excess, strict=True)))
            for signs in product((-1, 1), repeat=len(excess))
        ]
        return sum(each >= abs(sum(excess)) for each in sums) / len(sums)

    def error(self) -> float:
        m, total = len(self.n), sum(self.n)
        share = (sum(self.b) - sum(self.c)) / total
        squares = sum((b - c - share * n) ** 2 for b, c, n in zip(self.b, self.c, self.n, strict=True))
        return math.sqrt(m / (m - 1) * squares) / total

    def interval(self) -> tuple[float, float]:
        total, b, c = sum(self.n), sum(self.b), sum(self.c)
        size = float(total)
        if len(self.n) < total:
            plain = (b + c) / total - ((b - c) / total) ** 2
            size = min(size, plain / self.error() ** 2 if self.error() > 0 else len(self.n))
        b, c = b * size / total, c * size / total
        return -tangos_end(c, b, size), tangos_end(b, c, size)


def tangos_end(b: float, c: float, n: float) -> float:
    """The upper end at 90 %: where the score of the difference is -z (Tango 1998)."""

    def score(d: float) -> float:
        linear = b + c - (2 * n - b + c) * d
        q = (linear + math.sqrt(linear**2 + 8 * n * c * d * (1 - d))) / (4 * n)
        return (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))

    estimate = (b - c) / n
    return 1.0 if estimate >= 1 else float(brentq(lambda d: score(d) + Z, max(estimate, -1) + 1e-9, 1 - 1e-9))


def least_share(n: int, family: int) -> float | None:
    """The smallest share of n patients that exact signs can find four times in five."""
    k = next(k for k in range(1, 99) if 2 / 2**k <= 0.1 / family)
    return float(brentq(lambda share: binom.sf(k - 1, n, share) - 0.8, 0, 1)) if n >= k else None


@pytest.mark.parametrize("unit", ["patient", "nodule"])
def test_differences_by_target(unit: UnitName) -> None:
    rows, (one, other) = [each for each in told_by(unit) if each.family == "by target"], read(unit)
    metrics = ("auroc", "sensitivity", "specificity")
    assert [(each.target, each.metric) for each in rows] == [
        (target, metric) for target in TARGETS for metric in metrics
    ]
    known = [each.p for each in rows if each.p is not None]
    adjusted = iter(stepped(known))
    for told in rows:
        assert told.p_holm == (None if told.p is None else pytest.approx(next(adjusted)))
        if told.metric == "auroc":
            y, p, kept = sides(one, told.target)
            both = np.array([p, sides(other, told.target)[1]])
            covariance = naive_clusters(np.array(y), both, np.array([each.patient for each in kept]))
            error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
            first, second = figure_of(one, told.target, "auroc"), figure_of(other, told.target, "auroc")
            ends, p_value = (
                (first - second - Z * error, first - second + Z * error),
                2 * norm.sf(abs(first - second) / error),
            )
            least: float | None = 0.0
            n, m, alone = len(y), len({each.patient for each in kept}), (None, None)
            method = "DeLong" if unit == "patient" else "DeLong with patients as clusters (Obuchowski)"
            few = len({each.patient for each, yes in zip(kept, y, strict=True) if yes})
            note = f"only {few} patients with {told.target}" if few < 10 else ""
        else:
            side = Side(unit, told.target, told.metric)
            n, m = sum(side.n), len(side.n)
            alone = (sum(side.b), sum(side.c))
            method = (
                "McNemar exact; Tango's interval"
                if unit == "patient"
                else "McNemar exact, the signs of whole patients exchanged; Tango's interval at the effective n"
            )
            out = f"{side.n_out} {unit}(s) left out: their fold has no tuning threshold for {told.target}"
            empty = "" if n else f"not estimable: the denominator of {told.metric} is 0"
            note = "; ".join(filter(None, [empty, out if side.n_out else ""]))
            if n:
                first, second, ends, p_value, error = *side.shares, side.interval(), side.p(), side.error()
                least = least_share(m, len(known))
        assert (told.n, told.n_patients, told.method, told.note) == (n, m, method, note)
        assert (told.first_alone, told.second_alone) == alone
        if not n:
            assert (told.first, told.second, told.estimate, told.low, told.high, told.p, told.detectable) == (None,) * 7
            continue
        assert (told.first, told.second) == (pytest.approx(first), pytest.approx(second))
        assert (told.estimate, told.p) == (pytest.approx(first - second), pytest.approx(p_value))
        assert (told.low, told.high) == pytest.approx(ends, abs=1e-7)
        expected = None if least is None else max(reach_of(error, len(known)), least)
        assert told.detectable == (expected and pytest.approx(expected))
    assert any(each.n == 0 for each in rows)
    assert any(each.detectable is None and each.n > 0 for each in rows)


@pytest.mark.parametrize("unit", ["patient", "nodule"])
def test_every_verdict_says_what_its_row_says(unit: UnitName) -> None:
    kinds = set()
    for told in told_by(unit):
        what = WORDS[told.metric] + ("" if told.target == "all" else f" for {told.target}")
        better = ""
        if told.estimate is None or told.low is None or told.high is None or told.p_holm is None:
            kinds.add("untold")
            expected = f"Which of the two has the better {what} cannot be told ({told.note})."
        elif told.p_holm < 0.1:
            kinds.add("found")
            lower = told.metric in ("brier", "ece")
            better = "A" if (told.estimate < 0) == lower else "B"
            low, high = sorted((told.low, told.high) if told.estimate > 0 else (-told.low, -told.high))
            p = "below 0.001" if told.p_holm < 0.001 else f"{told.p_holm:.3f}"
            expected = (
                f"{better} is better: its {what} is {abs(told.estimate):.3f} {'lower' if lower else 'higher'} "
                f"(90 % interval {low:.3f} to {high:.3f}; p by Holm {p})."
            )
        elif told.low == told.high or (told.first_alone, told.second_alone) == (0, 0):
            kinds.add("alike")
            expected = f"A and B have the same {what}, and not one patient tells them apart."
        elif told.detectable is None:
            kinds.add("too few")
            expected = (
                f"No difference in {what} could have been found, however large: {told.n_patients} patients are too few."
            )
        else:
            kinds.add("not found")
            expected = (
                f"No difference in {what} was found; with these {told.n_patients} patients a true one of "
                f"{told.detectable:.3f} would have been found four times in five, and smaller ones cannot be excluded."
            )
        assert told.verdict == expected.replace("-", "−")
        assert told.better == better
    assert {"untold", "too few", "not found"} <= kinds


def test_the_words_of_a_difference() -> None:
    assert in_words("all", "ece") == "calibration error (ECE)"
    assert in_words("FTC", "sensitivity") == "sensitivity for FTC"
    assert [better_of("macro_f1", each) for each in (0.5, -0.5)] == ["A", "B"]
    assert [better_of("ece", each) for each in (0.5, -0.5)] == ["B", "A"]
    assert adjusted_p(0.00099) == "p by Holm below 0.001"
    assert adjusted_p(0.001) == "p by Holm 0.001"
    told = found("macro AUROC", "macro_auroc", (0.1, 0.05, 0.15), p_holm=0.0004, level="95 %")
    assert told == (
        "A is better: its macro AUROC is 0.100 higher (95 % interval 0.050 to 0.150; p by Holm below 0.001)."
    )
    told = found("macro F1", "macro_f1", (-0.1, -0.15, 0.02), p_holm=0.02, level="90 %")
    assert told == "B is better: its macro F1 is 0.100 higher (90 % interval −0.020 to 0.150; p by Holm 0.020)."
    told = found("Brier score", "brier", (0.1, -0.02, 0.2), p_holm=0.02, level="95 %")
    assert told == "B is better: its Brier score is 0.100 lower (95 % interval −0.020 to 0.200; p by Holm 0.020)."
    told = found("Brier score", "brier", (-0.1, -0.2, -0.01), p_holm=0.02, level="95 %")
    assert told == "A is better: its Brier score is 0.100 lower (95 % interval 0.010 to 0.200; p by Holm 0.020)."
    assert not_found("AUROC", n_patients=1234, detectable=0.0512, alike=False) == (
        "No difference in AUROC was found; with these 1,234 patients a true one of 0.051 would have been found four "
        "times in five, and smaller ones cannot be excluded."
    )
    assert not_found("AUROC", n_patients=3, detectable=0.05, alike=True).startswith("A and B have the same AUROC")
    assert not_found("AUROC", n_patients=3, detectable=None, alike=False).endswith("large: 3 patients are too few.")
    assert untold("AUROC", "why") == "Which of the two has the better AUROC cannot be told (why)."


TWO = ClassList(names=("benign", "PTC"), n_non_malignant=1)


def of_two(p: Sequence[float], malignant: Sequence[bool]) -> pl.DataFrame:
    """Test and tuning rows of patients read with p(PTC)."""
    keys = [f"P{place:02d}" for place in range(len(p))]
    rows = [
        {"model": "csasn", "fold": 0, "partition": partition, "image_path": key, "site": "A", "nodule_id": key}
        | {"patient_id": key, "malignant": yes, "subtype": "PTC" if yes else "benign"}
        | {"logit_benign": math.log(1 - each), "logit_PTC": math.log(each)}
        | {"probability_benign": 1 - each, "probability_PTC": each}
        for partition in ("test", "tuning")
        for key, each, yes in zip(keys, p, malignant, strict=True)
    ]
    return per_unit(pl.DataFrame(rows), TWO, unit="patient")


def test_areas_without_variance_are_alike_or_cannot_be_told_apart() -> None:
    malignant = [True] * 6 + [False] * 6
    right, wrong = [0.9] * 6 + [0.1] * 6, [0.1] * 6 + [0.9] * 6
    settings = EvaluateSettings(n_bootstrap=100, calibration_bins=2, confidence=0.9)
    rows = differences([of_two(right, malignant), of_two(wrong, malignant)], TWO, settings, unit="patient")
    assert {each.target for each in rows} == {"all", "malignancy", "PTC"}  # a lone other class is not tested twice
    apart = next(each for each in rows if each.metric == "auroc")
    assert (apart.first, apart.second) == (1.0, 0.0)
    assert (apart.estimate, apart.low, apart.high, apart.p, apart.p_holm) == (None,) * 5
    assert apart.note == "not estimable: the difference has no variance"
    assert apart.verdict == (
        "Which of the two has the better AUROC for malignancy cannot be told "
        "(not estimable: the difference has no variance)."
    )
    sensitivity = next(each for each in rows if each.metric == "sensitivity")
    assert (sensitivity.estimate, sensitivity.p) == (0.0, 1.0)  # the one calls everyone at its own lowest threshold
    same = differences([of_two(right, malignant)] * 2, TWO, settings, unit="patient")
    alike = next(each for each in same if each.metric == "auroc")
    assert (alike.first, alike.second, alike.estimate, alike.p) == (1.0, 1.0, 0.0, 1.0)
    assert (alike.low, alike.high, alike.detectable) == (None, None, None)
    assert alike.note == "only 6 patients with malignancy; no interval: the difference has no variance"
    assert alike.verdict == "A and B have the same AUROC for malignancy, and not one patient tells them apart."


def test_a_found_difference_names_the_better_run() -> None:
    rng = np.random.default_rng(0)
    malignant = [place % 2 == 0 for place in range(60)]
    good = [0.6 * yes + 0.2 + 0.1 * noise for yes, noise in zip(malignant, rng.random(60), strict=True)]
    poor = [0.2 + 0.6 * noise for noise in rng.random(60)]
    settings = EvaluateSettings(n_bootstrap=100, calibration_bins=2, confidence=0.9)
    rows = differences([of_two(good, malignant), of_two(poor, malignant)], TWO, settings, unit="patient")
    told = {(each.target, each.metric): each for each in rows}
    assert told["all", "macro_f1"].better == told["malignancy", "auroc"].better == told["all", "brier"].better == "A"
    sentence = told["malignancy", "auroc"].verdict
    assert sentence.startswith("A is better: its AUROC for malignancy is 0.")
    assert " higher (90 % interval 0." in sentence
    assert " lower (90 % interval 0." in told["all", "brier"].verdict


def test_drops_are_differences_over_all_and_at_each_site() -> None:
    here, other = (table(model, "patient").filter(pl.col("partition") == "test") for model in ("csasn", RIVAL))
    whole = PREDICTIONS.filter(pl.col("model") == "csasn", pl.col("partition") == "test")
    rows = drops(per_unit(whole, CLASSES, unit="patient"), other, CLASSES, SETTINGS)
    sites = ("all", "Alm", "Birk", "Ceder")
    assert [(each.site, each.target, each.metric) for each in rows] == [(s, *key) for s in sites for key in DROPS]
    for told in rows:
        one, baseline = ([each for each in of if told.site in ("all", each.site)] for of in read("patient"))
        apart = told.site in ("all", "Alm")  # the patient that one run did not read
        left_out = "1 patients tested by one of the two alone were left out" if apart else ""
        few = len({each.patient for each in one if each.malignant})
        chosen = [name for name in NAMES if not short_of(one, name)]
        if told.target == "malignancy":
            note = short_of(one, "malignancy") or (f"only {few} patients with malignancy" if few < 10 else "")
        elif len(chosen) < 2:
            note = "not estimable: fewer than two classes have enough patients"
        else:
            short = ", ".join(name for name in NAMES if name not in chosen)
            note = f"over {len(chosen)} classes, left out for want of patients: {short}" if short else ""
        assert told.note == "; ".join(filter(None, [note, left_out]))
        assert told.n == sum(1 for each in one if told.target == "malignancy" or each.subtype)
        if note.startswith("not"):
            assert (told.here, told.other, told.estimate, told.low, told.high, told.p) == (None,) * 6
            continue
        draws = np.array(draws_of(one, told.target, told.metric)) - np.array(
            draws_of(baseline, told.target, told.metric)
        )
        expected = [figure_of(each, told.target, told.metric) for each in (one, baseline)]
        assert (told.here, told.other) == pytest.approx(tuple(expected))
        assert told.estimate == pytest.approx(expected[0] - expected[1])
        assert (told.low, told.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
        assert told.p == pytest.approx(p_of_draws(draws.tolist()))
    one_site = [each.with_columns(pl.lit("Alm").alias("site")) for each in (here, other)]
    assert [each.site for each in drops(*one_site, CLASSES, SETTINGS)] == ["all"] * 4
    two = [each.filter(pl.col("site") != "Ceder") for each in (here, other)]
    assert {each.site for each in drops(*two, CLASSES, SETTINGS)} == {"all", "Alm", "Birk"}
