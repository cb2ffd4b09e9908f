"""From images to patients where labels mix, tie or are unknown; thresholds, areas and files at their edges."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, t

from csasn.calibration.thresholds import called_at, freeze
from csasn.config import EvaluateSettings
from csasn.errors import BadInputError
from csasn.evidence.estimates import resample
from csasn.evidence.evaluate import Evaluation
from csasn.evidence.record import Record, Scope, finite
from csasn.evidence.statistics.intervals import newcombe_auroc
from csasn.evidence.statistics.metrics import counts_at
from csasn.schema import complete_columns
from csasn.units import Unit, Units, models_of, per_unit, units_of
from tests.support.evaluation import evaluate, evaluate_run
from tests.support.hand_made import CLASSES, NAMES
from tests.support.synthetic_run import make_run

SETTINGS = EvaluateSettings(n_bootstrap=100, calibration_bins=2, confidence=0.9)


def frame(rows: list[tuple[str, str, str | None, bool, tuple[float, ...]]], **more: Any) -> pl.DataFrame:
    """Test rows of (nodule, patient, subtype, malignant, probabilities), an image each."""
    told = {"model": "csasn", "fold": 0, "partition": "test", "site": "A"} | more
    return pl.DataFrame(
        [
            {"model": told["model"], "fold": told["fold"], "partition": told["partition"]}
            | {"image_path": f"{scope}.png", "site": told["site"], "nodule_id": nodule, "patient_id": patient}
            | {"malignant": malignant, "subtype": subtype}
            | {f"logit_{name}": float(np.log(p[k])) + 3 for k, name in enumerate(NAMES)}
            | {f"probability_{name}": p[k] for k, name in enumerate(NAMES)}
            for scope, (nodule, patient, subtype, malignant, p) in enumerate(rows)
        ],
        schema_overrides={"subtype": pl.String},
    )


EVEN = (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((("benign", False), ("FA", False)), ("benign", False)),
        ((("PTC", True), ("FTC", True)), ("FTC", True)),
        ((("FTC", True), ("PTC", True)), ("FTC", True)),
        (((None, True), ("PTC", True)), ("PTC", True)),
        ((("benign", False), (None, True)), (None, True)),
        (((None, False), ("FA", False)), ("FA", False)),
        ((("FA", False), ("PTC", True)), ("PTC", True)),
    ],
)
def test_a_patient_has_its_most_malignant_label(
    labels: tuple[tuple[str | None, bool], ...], expected: tuple[str | None, bool]
) -> None:
    for order in (labels, labels[::-1]):
        rows = [(f"N{k}", "P", subtype, malignant, EVEN) for k, (subtype, malignant) in enumerate(order)]
        told = per_unit(frame(rows), CLASSES, unit="patient").row(0, named=True)
        assert (told["subtype"], told["malignant"]) == expected


def test_of_equally_suspicious_nodules_the_first_by_name_is_read() -> None:
    one, other = (0.1, 0.4, 0.3, 0.2), (0.4, 0.1, 0.2, 0.3)
    for order in (("N1", "N2"), ("N2", "N1")):
        rows = [(order[0], "P", "benign", False, one), (order[1], "P", "benign", False, other)]
        told = per_unit(frame(rows), CLASSES, unit="patient").row(0, named=True)
        assert told["nodule_id"] == "N1"
        assert told["probability_FA"] == pytest.approx(0.4 if order[0] == "N1" else 0.1)
    doubtful = [("N1", "P", "benign", False, one), ("N2", "P", "benign", False, (0.3, 0.1, 0.2, 0.4))]
    assert per_unit(frame(doubtful), CLASSES, unit="patient")["nodule_id"].to_list() == ["N2"]


def frame_of_tuning(table: pl.DataFrame, fold: int) -> pl.DataFrame:
    return table.with_columns(pl.lit("tuning").alias("partition"), pl.lit(fold, pl.Int64).alias("fold"))


def refusal(table: pl.DataFrame, unit: Unit = "image") -> str:
    with pytest.raises(BadInputError) as refused:
        per_unit(table, CLASSES, unit=unit)
    return str(refused.value)


def test_what_does_not_fit_is_refused_and_named() -> None:
    whole = frame([("N1", "P1", "PTC", True, EVEN), ("N2", "P2", "benign", False, EVEN)])
    again = "\nRun `csasn predict` again."
    assert refusal(whole.drop("logit_FA")) == "The predictions lack these columns:\n  - logit_FA" + again
    renamed = whole.with_columns(pl.col("subtype").replace("PTC", "XTC"))
    assert refusal(renamed) == "The predictions hold classes that the manifest has not:\n  - XTC"
    wrong = pl.when(pl.col("nodule_id") == "N2").then(np.inf).otherwise("logit_PTC").alias("logit_PTC")
    assert refusal(whole.with_columns(wrong)) == "Logits must be finite. They are not for\n  - 1.png" + again
    twice = pl.concat([whole, whole.head(1).with_columns(fold=pl.lit(1, pl.Int64))])
    assert refusal(twice) == "A model tests each image once. These were tested twice:\n  - 0.png"
    tuned = pl.concat([whole, *(frame_of_tuning(whole, fold) for fold in (1, 2))])
    assert len(per_unit(tuned, CLASSES, unit="image")) == 6
    several = frame([("N1", "P1", "PTC", True, EVEN), ("N1", "P1", "FTC", True, EVEN), ("N2", "P2", "PTC", True, EVEN)])
    assert "These nodules have several:\n  - N1\nCorrect" in refusal(several, "nodule")
    with pytest.raises(BadInputError, match=r"test rows of 'csasn'; received \['cnn-only'\]"):
        models_of(whole.with_columns(pl.lit("cnn-only").alias("model")))


def arrays(y_true: list[int], malignant: list[bool], patients: str, p: list[tuple[float, ...]] | None = None) -> Units:
    probabilities = np.array(p or [EVEN] * len(y_true))
    return Units(
        classes=CLASSES,
        y_true=np.array(y_true, dtype=np.int64),
        malignant=np.array(malignant),
        y_prob=probabilities,
        patients=np.array(list(patients)),
    )


def test_sides_and_strata_of_units() -> None:
    units = arrays([0, 3, 2, -1, -1, 1], [False, True, True, True, False, False], "abacde")
    assert units.strata().tolist() == [2, 3, 2, 4, -1, 1]
    assert units.targets == ("malignancy", *NAMES)
    against = units.against_benign("PTC")
    assert against.rows.tolist() == [True, False, True, False, True, True]
    assert against.y_true.tolist() == [False, True, False, False]
    malignancy, ptc = units.binary("malignancy"), units.binary("PTC")
    assert malignancy.y_true.tolist() == [False, True, True, True, False, False]
    assert (malignancy.n_patients(positive=True), malignancy.n_patients(positive=False)) == (3, 3)
    assert ptc.rows.tolist() == [True, True, True, False, False, True]
    nothing = arrays([2, 0], [True, False], "ab", [(0.0, 0.0, 0.0, 1.0), (0.2, 0.1, 0.1, 0.6)]).against_benign("PTC")
    assert nothing.y_prob.tolist() == [0.5, pytest.approx(0.25)]


def patients(malignant: list[bool], p: list[float], partition: str = "test") -> pl.DataFrame:
    """Benign and PTC patients of one nodule read with p(PTC)."""
    rows = [
        (f"N{k:02d}", f"P{k:02d}", "PTC" if yes else "benign", yes, (1 - each - 2e-6, 1e-6, each, 1e-6))
        for k, (yes, each) in enumerate(zip(malignant, p, strict=True))
    ]
    return frame(rows, partition=partition)


def test_thresholds_need_one_unit_on_either_side() -> None:
    for malignant, expected in (
        ([True, False, False], 0.6),
        ([True, True, False], 0.6),
        ([False] * 3, None),
        ([True] * 3, None),
    ):
        table = per_unit(patients(malignant, [0.6, 0.7, 0.5], "tuning"), CLASSES, unit="patient")
        points = {each.target: each for each in freeze(table, CLASSES, unit="patient")}
        told = points["PTC"]
        assert told.threshold == (expected and pytest.approx(expected))
        assert (told.youden_index is None) == (expected is None)
        assert (told.n, told.n_positive) == (3, sum(malignant))
        note = "" if expected else f"not estimable: {sum(malignant)} of 3 tuning units are PTC"
        assert told.note == note


def test_units_without_a_threshold_in_their_fold_are_left_out() -> None:
    tuning = per_unit(patients([True, False, False], [0.6, 0.7, 0.5], "tuning"), CLASSES, unit="patient")
    points = freeze(tuning, CLASSES, unit="patient")
    test = per_unit(patients([True, False, True], [0.65, 0.2, 0.6]), CLASSES, unit="patient")
    found = called_at(test.with_columns(fold=pl.Series([0, 0, 1])), CLASSES, "PTC", points)
    assert (found.rows.tolist(), found.called.tolist(), found.n_left_out) == ([0, 1], [True, False], 1)
    assert (found.patients.tolist(), found.y_true.tolist()) == (["P00", "P01"], [True, False])
    counts = counts_at(found.y_true, found.called.astype(np.float64), threshold=0.5)
    assert (counts.tp, counts.fp, counts.tn, counts.fn) == (1, 0, 1, 0)


def record_of(table: pl.DataFrame, unit: Unit, target: str, metric: str) -> Record:
    found = resample(Scope(model="csasn", site="all", unit=unit), table, CLASSES, SETTINGS, brief=True)
    return next(each for each in found.records(SETTINGS) if (each.target, each.metric) == (target, metric))


@pytest.mark.parametrize("area", [0.0, 1.0])
def test_an_area_of_0_or_1_takes_newcombes_interval_whatever_the_unit(area: float) -> None:
    malignant = [True, True, True, False, False]
    p = [0.9, 0.8, 0.7, 0.2, 0.1] if area else [0.1, 0.2, 0.3, 0.6, 0.7]
    table = per_unit(patients(malignant, p), CLASSES, unit="patient")
    told = record_of(table, "patient", "malignancy", "auroc")
    expected = newcombe_auroc(area, n_positive=3, n_negative=2, confidence=0.9)
    assert (told.estimate, (told.low, told.high)) == (area, pytest.approx(expected))
    assert told.method == "Newcombe's method 5: no draw differs from the estimate"
    of_nodules = record_of(table, "nodule", "malignancy", "auroc")
    assert (of_nodules.low, of_nodules.high) == pytest.approx(expected)
    assert of_nodules.method == "Newcombe's method 5 over patients: the resampled interval has no width"
    other = record_of(table, "patient", "malignancy", "brier")
    assert other.method == "bootstrap over patients within classes, 100 draws"
    assert other.low < other.high


def test_the_smaller_side_of_an_auprc_counts_whichever_it_is() -> None:
    malignant = [True] * 6 + [False] * 3
    p = [0.9, 0.8, 0.7, 0.65, 0.6, 0.2, 0.75, 0.3, 0.1]
    table = per_unit(patients(malignant, p), CLASSES, unit="patient")
    found = resample(Scope(model="csasn", site="all", unit="patient"), table, CLASSES, SETTINGS, brief=True)
    column = [(each.target, each.metric) for each in found.estimable].index(("PTC", "auprc"))
    estimate, left_out = found.found.estimate[column], found.found.left_out[:, column]
    logits = np.log(left_out / (1 - left_out))
    variance = sum((n - 1) * logits[found.found.left_out_strata == code].var() for code, n in ((0, 3), (2, 6)))
    reach = t.ppf(0.95, 2) * np.sqrt(variance)  # three negatives
    told = record_of(table, "patient", "PTC", "auprc")
    centre = np.log(estimate / (1 - estimate))
    assert told.low == pytest.approx(1 / (1 + np.exp(reach - centre)))
    assert told.high == pytest.approx(1 / (1 + np.exp(-reach - centre)))
    assert norm.ppf(0.95) < t.ppf(0.95, 2)


def test_a_table_of_which_nothing_can_be_estimated_says_why() -> None:
    table = per_unit(patients([True, True], [0.5, 0.4]), CLASSES, unit="patient")
    found = resample(Scope(model="csasn", site="B", unit="patient"), table, CLASSES, SETTINGS, brief=True)
    assert found.draws("malignancy", "auroc") is None
    records = found.records(SETTINGS)
    assert len(records) == 10 + 5 * 4
    assert all((each.estimate, each.low, each.high, each.site) == (None, None, None, "B") for each in records)
    notes = {each.target: each.note for each in records if each.metric == "auroc"}
    assert notes["malignancy"] == "not estimable: 0 patients without malignancy"
    assert notes["PTC"] == "not estimable: 0 patients without PTC"
    assert notes["FTC"] == "not estimable: 0 patients with FTC"
    assert found.found.draws.shape == (100, 0)


def test_a_predictive_value_of_nobody_is_not_estimable_in_any_population() -> None:
    """Thresholds that lie above, or below, everything that was tested."""
    malignant = [True, True, True, False, False, False]
    high, low = [0.8, 0.85, 0.9, 0.6, 0.65, 0.7], [0.5, 0.45, 0.4, 0.2, 0.25, 0.3]
    settings = EvaluateSettings(n_bootstrap=100, population={"malignancy": 0.2})
    for tuned, tested, metric in ((high, low, "ppv"), (low, high, "npv")):
        table = pl.concat([patients(malignant, tuned, "tuning"), patients(malignant, tested)])
        columns = ["image_path", "site", "patient_id", "nodule_id", "malignant", "subtype"]
        cohort = complete_columns(patients(malignant, tested).select(columns))
        records = {
            each.metric: each
            for each in evaluate(table, cohort, CLASSES, settings).records
            if (each.unit, each.target) == ("patient", "malignancy")
        }
        for told in (records[metric], records[f"{metric}_in_population"]):
            assert (told.estimate, told.low, told.high) == (None, None, None)
            assert told.note == f"not estimable: the denominator of {metric} is 0"
        other = {"ppv": "npv", "npv": "ppv"}[metric]
        prevalence = {"ppv": 0.2, "npv": 0.8}[other]
        assert records[f"{other}_in_population"].estimate == pytest.approx(prevalence)
        assert records[f"{other}_in_population"].note == ""


def test_what_is_not_finite_is_none() -> None:
    assert finite((1.0, np.nan, np.inf)) == (1.0, None, None)
    assert finite(None) == (None, None, None)
    assert units_of(per_unit(patients([True], [0.5]), CLASSES, unit="image"), CLASSES).patients.tolist() == ["P00"]


def test_a_runs_file_holds_the_evaluation_of_its_predictions(tmp_path: Path) -> None:
    run = make_run(tmp_path, counts={"benign": 9, "PTC": 6, "FTC": 4})
    told = json.loads(evaluate_run(run).read_text())
    frame = pl.read_parquet(run.path("predictions.parquet"))
    found = evaluate(frame, run.manifest(), run.classes(), run.configuration.evaluate)
    content = {name: getattr(found, name) for name in Evaluation.__slots__}
    assert told == json.loads(json.dumps(content | {"beside": None}, default=asdict))
    assert len(told["records"]) > 100
    assert told["records"][0].keys() == asdict(found.records[0]).keys()
    assert told["calibration"]["temperatures"][0]["fold"] == 0
