"""An ablation's figures, differences and words on small cohorts, again by plain loops."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, norm

from csasn.config import EvaluateSettings
from csasn.evidence.ablation import Arm, ArmReading, ablation_content, exchanged_p, mean_predictions, read_arm
from csasn.evidence.run_differences import read_at
from csasn.evidence.statistics.bootstrap import patient_weights
from csasn.evidence.study import NOT_JUDGED
from csasn.evidence.wording import ArmDifference, paragraph, reach, rounded_up, sentence
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.units import per_unit
from tests.support.hand_made import CLASSES, PREDICTIONS, SETTINGS, called, draws_of, figure_of, strata_of, units
from tests.support.plain_statistics import exchanged_p_of, p_of_draws, stepped
from tests.support.synthetic_run import make_run, predictions

RARE = ("FA", "PTC", "FTC")
OF_CLASS = ("auroc", "sensitivity_at_specificity", "sensitivity")
TESTED = [("all", "macro_auroc"), *(("rare classes", metric) for metric in OF_CLASS), ("all", "macro_f1")]
KEYS = [*TESTED, ("malignancy", "auroc"), *((name, metric) for name in RARE for metric in OF_CLASS)]


def found_by_class() -> dict[str, dict[str, bool]]:
    """By class and patient whether it was found at its fold's threshold; none of FA's patients has one."""
    return {
        name: {each.patient: yes for each, yes in called("patient", units("patient"), name) if each.is_of(name)}
        for name in RARE
    }


def mean_sensitivities() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The estimate, first, then 100 draws of each class's sensitivity; and of their mean."""
    strata = strata_of(units("patient"))
    weights = [np.ones(len(strata)), *patient_weights(np.array(list(strata.values())), n_draws=100, seed=0)]
    place = {name: number for number, name in enumerate(strata)}
    of_class = {}
    for name, hits in found_by_class().items():
        if hits:
            inside = [sum(w[place[each]] for each in hits) for w in weights]
            right = [sum(w[place[each]] for each, yes in hits.items() if yes) for w in weights]
            of_class[name] = [a / b for a, b in zip(right, inside, strict=True)]
    return of_class, {"mean": [sum(each) / len(each) for each in zip(*of_class.values(), strict=True)]}


def test_every_figure_of_an_arm() -> None:
    own, known = units("patient"), sum(1 for each in units("patient") if each.subtype)
    table = per_unit(PREDICTIONS.filter(pl.col("model") == "csasn"), CLASSES, unit="patient")
    reading = read_arm(read_at(table, CLASSES, SETTINGS, "patient"), CLASSES, RARE, SETTINGS)
    assert [(each.target, each.metric) for each in reading.figures] == KEYS
    of_class, mean = mean_sensitivities()
    assert set(of_class) == {"PTC", "FTC"}
    size = {name: sum(1 for each in own if each.subtype == name) for name in RARE}
    for told in reading.figures:
        key = (told.target, told.metric)
        n = size.get(told.target, sum(size.values())) if told.metric.startswith("sensitivity") else known
        if told.metric == "sensitivity":
            values = mean["mean"] if told.target == "rare classes" else of_class.get(told.target, [])
        elif told.target == "rare classes":
            draws = [[figure_of(own, name, told.metric), *draws_of(own, name, told.metric)] for name in RARE]
            values = np.mean(draws, axis=0).tolist()
        else:
            values = [figure_of(own, *key), *draws_of(own, *key)]
        assert told.n == n
        if not values:
            assert (told.estimate, told.low, told.high) == (None, None, None)
            assert key not in reading.draws
            continue
        assert told.estimate == reading.draws[key][0] == pytest.approx(values[0])
        assert reading.draws[key][1] == pytest.approx(values[1:])
        ends: Sequence[float] = np.quantile(values[1:], [0.05, 0.95])
        if told.metric == "sensitivity" and told.target in RARE:
            hits = found_by_class()[told.target]
            ends = binomtest(sum(hits.values()), len(hits)).proportion_ci(0.9, method="wilson")
        assert (told.low, told.high) == pytest.approx(tuple(ends))
    adds = {each.patient: 0.0 for each in own}
    for hits in found_by_class().values():
        for name, yes in hits.items():
            adds[name] += yes / len(hits) / 2
    assert reading.found.tolist() == pytest.approx(list(adds.values()))


def test_the_exchange_counts_itself() -> None:
    one, other = np.array([1.0, 0.5, 0.25, 1, 0, 0.5]), np.array([0.0, 0.5, 0.75, 0.25, 0.5, 0.25])
    for n_draws in (1, 9, 64):
        assert exchanged_p(one, other, n_draws=n_draws) == pytest.approx(exchanged_p_of(one - other, n_draws))
    assert exchanged_p(np.ones(40), np.zeros(40), n_draws=99) == pytest.approx(0.01)


COUNTS = {"benign": 9, "PTC": 7, "FTC": 5, "MTC": 4}
SMALL = ClassList(names=("benign", "PTC", "FTC", "MTC"), n_non_malignant=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Four runs of one small cohort: a strong network, one of the same strength, a weak one, and one that is blind."""
    folder, found = tmp_path_factory.mktemp("arms"), {}
    for name, seed, factor in (("strong", 0, 2.5), ("again", 1, 2.5), ("weak", 2, 0.3), ("blind", 3, 0.0)):
        run = make_run(folder / name, counts=COUNTS)
        frame = predictions(run.manifest(), SMALL, seed=seed).filter(pl.col("model") == "csasn")
        rng = np.random.default_rng([9, seed])
        for k, each in enumerate(SMALL.names):
            right = (frame["subtype"] == each).cast(pl.Float64).to_numpy()
            noise = rng.normal(size=len(frame))
            frame = frame.with_columns(pl.Series(f"logit_{each}", factor * right + noise - 0.1 * k))
        total = pl.sum_horizontal(pl.col(f"logit_{each}").exp() for each in SMALL.names)
        frame = frame.with_columns(
            (pl.col(f"logit_{each}").exp() / total).alias(f"probability_{each}") for each in SMALL.names
        )
        frame.write_parquet(run.path("predictions.parquet"))
        run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
        found[name] = run
    return found


def reading_of(runs: Sequence[Run], settings: EvaluateSettings) -> ArmReading:
    frame = mean_predictions([pl.read_parquet(run.path("predictions.parquet")) for run in runs], SMALL)
    table = per_unit(frame, SMALL, unit="patient")
    return read_arm(read_at(table, SMALL, settings, "patient"), SMALL, ("FTC", "MTC"), settings)


def arms_of(runs: dict[str, Run]) -> list[Arm]:
    return [
        Arm(name="full", module="", instead="", runs={1: runs["strong"], 2: runs["again"]}),
        Arm(name="lean", module="Gate", instead="a sum", runs={2: runs["weak"], 3: runs["blind"]}),
        Arm(name="same", module="Neck", instead="none", runs={1: runs["strong"], 2: runs["again"]}),
        Arm(name="missing", module="Head", instead="none", runs={}),
    ]


@pytest.fixture(scope="module")
def content(runs: dict[str, Run]) -> dict[str, Any]:
    return asdict(ablation_content(arms_of(runs), full="full"))


def test_what_a_study_holds(runs: dict[str, Run], content: dict[str, Any]) -> None:
    assert (content["n_patients"], content["confidence"], content["n_bootstrap"]) == (25, 0.95, 2000)
    assert content["rare_classes"] == ["FTC", "MTC"]
    told = {each["name"]: each for each in content["variants"]}
    assert list(told) == ["full", "lean", "same", "missing"]
    assert [told["lean"][name] for name in ("module", "instead", "seeds")] == ["Gate", "a sum", [2, 3]]
    for name in ("full", "missing"):
        assert [told[name][each] for each in ("differences", "verdict", "paragraph")] == [[], "", ""]
    assert (told["missing"]["figures"], told["missing"]["by_seed"]) == ([], [])
    settings = runs["strong"].configuration.evaluate.model_copy(update={"n_bootstrap": 2000})
    both = reading_of([runs["weak"], runs["blind"]], settings)
    assert [
        (each["target"], each["metric"], each["estimate"], each["low"], each["high"], each["n"])
        for each in told["lean"]["figures"]
    ] == [(each.target, each.metric, each.estimate, each.low, each.high, each.n) for each in both.figures]
    assert [(each["seed"], each["target"], each["metric"]) for each in told["lean"]["by_seed"]] == [
        (seed, *key) for seed in (2, 3) for key in TESTED
    ]
    blind = reading_of([runs["blind"]], settings)
    assert [each["estimate"] for each in told["lean"]["by_seed"][len(TESTED) :]] == [
        each.estimate for each in blind.figures[: len(TESTED)]
    ]


def test_differences_of_both_variants(runs: dict[str, Run], content: dict[str, Any]) -> None:
    """The full network's second seed alone against the lean one's second; both seeds against the same network."""
    settings = runs["strong"].configuration.evaluate.model_copy(update={"n_bootstrap": 2000})
    full = reading_of([runs["strong"], runs["again"]], settings)
    pairs = {
        "lean": (reading_of([runs["again"]], settings), reading_of([runs["weak"]], settings)),
        "same": (full, full),
    }
    told = {each["name"]: each["differences"] for each in content["variants"] if each["name"] in pairs}
    verdicts = set()
    for place, figure in enumerate(full.figures):
        key = (figure.target, figure.metric)
        rows = {name: told[name][place] for name in pairs}
        estimates, p_values = {}, {}
        for name, (one, other) in pairs.items():
            draws = one.draws[key][1] - other.draws[key][1]
            draws = draws[~np.isnan(draws)]
            estimates[name] = one.draws[key][0] - other.draws[key][0]
            p_values[name] = p_of_draws(draws.tolist())
            if key == ("rare classes", "sensitivity"):
                p_values[name] = exchanged_p_of(one.found - other.found, 2000)
            row = rows[name]
            assert (row["target"], row["metric"], row["n"]) == (*key, figure.n)
            assert row["estimate"] == pytest.approx(estimates[name])
            ends = tuple(np.quantile(draws, [0.025, 0.975]))
            assert (row["low"], row["high"]) == ((None, None) if ends[0] == ends[1] else pytest.approx(ends))
            if place < len(TESTED):
                error = float(draws.std())
                apart = (norm.ppf(1 - 0.05 / 4) + norm.ppf(0.8)) * error if error else None
                assert row["detectable"] == (apart and pytest.approx(apart))
                needed = (
                    math.ceil(figure.n * (apart / abs(estimates[name])) ** 2) if apart and estimates[name] else None
                )
                assert row["needed"] == needed
        adjusted = dict(zip(pairs, stepped(list(p_values.values())), strict=True))
        for name, row in rows.items():
            if place >= len(TESTED):
                assert [row[each] for each in ("p", "p_holm", "detectable", "needed", "verdict")] == [None] * 4 + [""]
                continue
            assert (row["p"], row["p_holm"]) == (pytest.approx(p_values[name]), pytest.approx(adjusted[name]))
            verdict = "cannot be told" if adjusted[name] >= 0.05 else "helps" if estimates[name] > 0 else "hurts"
            assert row["verdict"] == verdict
            verdicts.add((name, verdict))
    assert {("lean", "helps"), ("same", "cannot be told")} <= verdicts
    for each in content["variants"][1:3]:
        rows = [ArmDifference(**row) for row in each["differences"]]
        assert each["verdict"] == rows[0].verdict
        assert each["paragraph"] == paragraph(each["module"], each["instead"], rows, level="95 %")


def test_draws_are_enough_for_holms_strictest_step(runs: dict[str, Run]) -> None:
    for confidence, n_bootstrap in ((0.9985, 5334), (0.95, 2000)):
        strict = {}
        for name, run in runs.items():
            evaluate = EvaluateSettings(n_bootstrap=100, confidence=confidence)
            strict[name] = Run(
                folder=run.folder, configuration=run.configuration.model_copy(update={"evaluate": evaluate})
            )
        arms = [Arm(name=name, module="", instead="", runs={1: strict["strong"]}) for name in ("full", "one", "two")]
        assert asdict(ablation_content(arms, full="full"))["n_bootstrap"] == n_bootstrap


def test_a_study_without_a_finished_run_is_empty() -> None:
    arms = [Arm(name="full", module="", instead="", runs={})]
    assert ablation_content(arms, full="full") == NOT_JUDGED
    assert (NOT_JUDGED.variants, NOT_JUDGED.n_patients, NOT_JUDGED.confidence) == ([], 0, None)


def test_figures_that_never_vary_have_no_interval(tmp_path: Path) -> None:
    """A network that is always right, and one that is always wrong, against it."""
    run = make_run(tmp_path / "right", counts=COUNTS)
    settings = run.configuration.evaluate
    tables = []
    for factor in (9.0, -9.0):
        frame = pl.read_parquet(run.path("predictions.parquet")).filter(pl.col("model") == "csasn")
        frame = frame.with_columns(
            (factor * (pl.col("subtype") == each).cast(pl.Float64)).alias(f"logit_{each}") for each in SMALL.names
        )
        tables.append(per_unit(frame, SMALL, unit="patient"))
    right = read_arm(read_at(tables[0], SMALL, settings, "patient"), SMALL, ("FTC", "MTC"), settings)
    told = {(each.target, each.metric): each for each in right.figures}
    assert (told["all", "macro_auroc"].estimate, told["all", "macro_auroc"].low) == (1.0, None)
    assert (told["rare classes", "sensitivity"].estimate, told["rare classes", "sensitivity"].high) == (1.0, None)
    low = binomtest(5, 5).proportion_ci(0.95, method="wilson").low
    assert (told["FTC", "sensitivity"].low, told["FTC", "sensitivity"].high) == (pytest.approx(low), 1.0)


def row(**more: Any) -> ArmDifference:
    plain = {"target": "all", "metric": "macro_auroc", "estimate": 0.1, "low": 0.05, "high": 0.15, "p": 0.004}
    plain |= {"p_holm": 0.004, "detectable": 0.12, "n": 1234, "needed": 1234, "verdict": "helps"}
    return ArmDifference(**(plain | more))


def told(**more: Any) -> str:
    return sentence(row(**more), level="95 %")


def test_a_difference_in_words() -> None:
    assert told() == (
        "Macro AUROC of the full network is 0.100 higher (95 % interval 0.050 to 0.150; p by Holm 0.004)."
    )
    hurts = {"estimate": -0.1, "low": -0.15, "high": -0.02, "verdict": "hurts"}
    assert told(**hurts, target="FTC", metric="sensitivity") == (
        "Sensitivity at frozen thresholds for FTC of the full network is 0.100 lower (95 % interval 0.020 to 0.150; p "
        "by Holm 0.004)."
    )
    unsettled = {"estimate": -0.1, "low": -0.15, "high": 0.02, "p_holm": 0.3, "verdict": "cannot be told"}
    assert told(**unsettled) == (
        "Macro AUROC of the full network is 0.100 lower (95 % interval −0.020 to 0.150; p by Holm 0.300), which "
        "settles nothing: with these 1,234 patients a true difference of 0.120 would have been found four times in "
        "five, and about 1,300 could tell if the one seen is the true one."
    )
    assert told(estimate=0.0, low=-0.01, high=0.02, p_holm=None, detectable=None, verdict="cannot be told") == (
        "Macro AUROC of the full network is 0.000 higher (95 % interval −0.010 to 0.020)."
    )
    assert told(low=0.0, high=0.0) == "Macro AUROC is the same, and not one patient tells the two apart."
    assert " is 0.100 higher (95 % interval 0.000 to 0.150;" in told(low=0.0)
    assert " is 0.100 higher (95 % interval 0.100 to 0.100;" in told(low=0.1, high=0.1)
    for lacking in ("estimate", "low", "high"):
        assert told(**{lacking: None}) == "Macro AUROC cannot be estimated."
    assert told(verdict="cannot be told").endswith("is the true one.")
    assert told(verdict="cannot be told", detectable=None).endswith("p by Holm 0.004).")


def test_what_a_cohort_could_have_shown() -> None:
    assert reach(row(metric="sensitivity", target="rare classes", n=30, needed=71)) == (
        "with these 30 patients of these classes a true difference of 0.120 would have been found four times in five, "
        "and about 71 could tell if the one seen is the true one"
    )
    small = "and the one seen is too small for any cohort to tell"
    for needed, end in (
        (None, small),
        (1_000_001, small),
        (1_000_000, "and about 1,000,000 could tell if the one seen"),
    ):
        assert end in reach(row(needed=needed))
    expected = {1: 1, 9: 9, 10: 10, 99: 99, 100: 100, 101: 110, 110: 110, 999: 1000, 1000: 1000, 1001: 1100}
    assert {n: rounded_up(n) for n in expected} == expected


def test_the_paragraph_of_a_module() -> None:
    rows = [
        row(),
        row(target="rare classes", metric="auroc", low=0.0, high=0.0),
        row(target="rare classes", metric="sensitivity", estimate=None),
        row(metric="macro_f1", verdict=""),
    ]
    assert paragraph("Gate", "a sum", rows, level="90 %") == (
        "Gate, against a sum: helps. Macro AUROC of the full network is 0.100 higher (90 % interval 0.050 to 0.150; "
        "p by Holm 0.004). AUROC for rare classes is the same, and not one patient tells the two apart."
    )
    unsettled = [row(verdict="cannot be told"), row(metric="macro_f1", verdict="cannot be told")]
    assert paragraph("Gate", "a sum", unsettled, level="90 %") == (
        "Gate, against a sum: cannot be told with 1,234 patients. Macro AUROC of the full network is 0.100 higher "
        "(90 % interval 0.050 to 0.150; p by Holm 0.004), which settles nothing: with these 1,234 patients a true "
        "difference of 0.120 would have been found four times in five, and about 1,300 could tell if the one seen is "
        "the true one. "
        "Macro F1 of the full network is 0.100 higher (90 % interval 0.050 to 0.150; p by Holm 0.004), which settles "
        "nothing."
    )
    unsettled = [row(verdict="cannot be told", low=0.0, high=0.0)]
    assert paragraph("Gate", "a sum", unsettled, level="90 %") == (
        "Gate, against a sum: cannot be told with 1,234 patients. "
        "Macro AUROC is the same, and not one patient tells the two apart."
    )
