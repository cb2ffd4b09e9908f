import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from csasn.calibration.thresholds import OperatingPoint, freeze
from csasn.config import EvaluateSettings
from csasn.errors import BadInputError, MismatchError
from csasn.evidence.metric_panel import OVERALL
from csasn.evidence.record import Record
from csasn.evidence.statistics.ranking import auroc
from csasn.schema import ClassList, classes_of
from csasn.units import UNITS, per_unit, units_of
from tests.support import evaluation
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_run import make_run, manifest, predictions

TABLE = manifest()


def evaluate(frame: pl.DataFrame, classes: ClassList, settings: EvaluateSettings) -> list[Record]:
    return evaluation.evaluate(frame, TABLE, classes, settings).records


def operating_points(frame: pl.DataFrame, classes: ClassList) -> list[OperatingPoint]:
    return [point for unit in UNITS for point in freeze(per_unit(frame, classes, unit=unit), classes, unit=unit)]


THREE = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
QUICK = EvaluateSettings(n_bootstrap=100, calibration_bins=5)


def tiny(rows: list[tuple[str, str, str, str | None, tuple[float, float, float]]]) -> pl.DataFrame:
    """(image, nodule, patient, subtype, probabilities); a subtype of None is malignant of unknown class."""
    return pl.DataFrame(
        {
            "model": ["csasn"] * len(rows),
            "fold": [0] * len(rows),
            "partition": ["test"] * len(rows),
            "image_path": [row[0] for row in rows],
            "site": ["A"] * len(rows),
            "nodule_id": [row[1] for row in rows],
            "patient_id": [row[2] for row in rows],
            "malignant": [row[3] != "benign" for row in rows],
            "subtype": [row[3] for row in rows],
            **{f"logit_{name}": [np.log(row[4][k]) + 5 for row in rows] for k, name in enumerate(THREE.names)},
            **{f"probability_{name}": [row[4][k] for row in rows] for k, name in enumerate(THREE.names)},
        }
    )


TINY = tiny(
    [
        ("a1", "N1", "P1", "benign", (0.8, 0.1, 0.1)),
        ("a2", "N1", "P1", "benign", (0.2, 0.4, 0.4)),
        ("b1", "N2", "P1", "FTC", (0.7, 0.2, 0.1)),
        ("c1", "N3", "P2", None, (0.5, 0.3, 0.2)),
    ]
)


def test_a_nodule_is_the_mean_of_its_log_probabilities() -> None:
    nodule = per_unit(TINY, THREE, unit="nodule").row(0, named=True)
    expected = np.sqrt([0.8 * 0.2, 0.1 * 0.4, 0.1 * 0.4])
    expected /= expected.sum()
    assert [nodule[f"probability_{name}"] for name in THREE.names] == pytest.approx(expected.tolist())
    assert nodule["image_path"] == "a1"


def test_a_patient_reads_as_the_most_suspicious_nodule_under_the_most_malignant_label() -> None:
    first, second = per_unit(TINY, THREE, unit="patient").iter_rows(named=True)
    assert first["nodule_id"] == "N1"  # p(malignant) = 1/2, beyond N2's 0.3
    assert (first["malignant"], first["subtype"]) == (True, "FTC")
    assert first["probability_benign"] == pytest.approx(0.5)
    assert (second["malignant"], second["subtype"]) == (True, None)


def test_an_unknown_subtype_counts_for_malignancy_alone() -> None:
    units = units_of(per_unit(TINY, THREE, unit="patient"), THREE)
    assert units.binary("malignancy").y_true.tolist() == [True, True]
    assert units.binary("FTC").y_true.tolist() == [True]


def test_a_nodule_with_two_labels_is_refused_and_named() -> None:
    mixed = TINY.with_columns(pl.lit("N1").alias("nodule_id"))
    with pytest.raises(BadInputError, match="N1"):
        per_unit(mixed, THREE, unit="patient")


def test_an_image_tested_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="tested twice"):
        per_unit(pl.concat([TINY, TINY.with_columns(pl.lit(1, pl.Int64).alias("fold"))]), THREE, unit="image")


@pytest.fixture(scope="module")
def drawn() -> tuple[pl.DataFrame, ClassList]:
    table = manifest()
    return predictions(table, classes_of(table)), classes_of(table)


def test_row_order_and_repeated_images_leave_patient_records(drawn: tuple[pl.DataFrame, ClassList]) -> None:
    frame, classes = drawn
    frame = frame.filter(pl.col("model") == "csasn")
    of_patients = [each for each in evaluate(frame, classes, QUICK) if each.unit == "patient"]
    shuffled = evaluate(frame.sample(fraction=1.0, shuffle=True, seed=3), classes, QUICK)
    assert [each for each in shuffled if each.unit == "patient"] == of_patients
    copies = frame.with_columns(pl.col("image_path") + "_copy")
    doubled = per_unit(pl.concat([frame, copies]), classes, unit="patient").drop("image_path")
    once = per_unit(frame, classes, unit="patient").drop("image_path")
    logits = [name for name in once.columns if name.startswith(("logit", "probability"))]
    np.testing.assert_allclose(doubled.select(logits).to_numpy(), once.select(logits).to_numpy(), rtol=1e-9)
    assert doubled.drop(logits).equals(once.drop(logits))


def test_records_equal_the_metrics_of_the_pooled_patients(drawn: tuple[pl.DataFrame, ClassList]) -> None:
    frame, classes = drawn
    records = evaluate(frame, classes, QUICK)
    test = per_unit(frame, classes, unit="patient").filter(pl.col("model") == "csasn", pl.col("partition") == "test")
    units = units_of(test, classes)
    (found,) = [
        each
        for each in records
        if (each.model, each.site, each.unit, each.target, each.metric) == ("csasn", "all", "patient", "FTC", "auroc")
    ]
    assert found.estimate == pytest.approx(float(auroc(units.y_true == 2, units.y_prob[:, 2])))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.estimate <= found.high
    assert (found.n, found.n_positive) == (144, 24)
    assert {each.site for each in records if each.model == "csasn"} == {"all", "Harbour", "Hill & Dale", "River"}
    assert {each.unit for each in records if each.model == "cnn-only"} == {"patient", "image"}
    assert set(OVERALL) == {each.metric for each in records if each.target == "all"}


def test_thresholds_come_from_tuning_rows_only(drawn: tuple[pl.DataFrame, ClassList]) -> None:
    frame, classes = drawn
    before = operating_points(frame, classes)
    test = pl.col("partition") == "test"
    turned = frame.with_columns(
        pl.when(test).then(pl.lit(value=False)).otherwise("malignant").alias("malignant"),
        pl.when(test).then(pl.lit("benign")).otherwise("subtype").alias("subtype"),
        pl.when(test).then(pl.col("logit_PTC") * -3).otherwise("logit_PTC").alias("logit_PTC"),
    )
    assert operating_points(turned.filter(pl.col("partition") == "tuning"), classes) == before
    assert all(0 < each.threshold < 1 for each in before if each.threshold is not None)


def test_a_class_of_one_patient_is_not_estimable_and_never_zero() -> None:
    table = manifest({"benign": 20, "PTC": 12, "FTC": 9, "ATC": 1}, odd_patient="P7")
    records = evaluate(predictions(table, classes_of(table)), classes_of(table), QUICK)
    rare = [each for each in records if each.target == "ATC"]
    assert rare
    assert all(each.estimate is None and each.low is None and each.note for each in rare)
    assert any("not estimable: 1 patient with ATC" in each.note for each in rare)
    overall = [each for each in records if each.target == "all" and each.site == "all" and each.metric == "macro_auroc"]
    assert all(each.estimate is not None and "ATC" in each.note for each in overall)


def test_evaluate_run_writes_metrics_and_refuses_changed_predictions(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    content = json.loads(evaluate_run(run).read_text())
    assert set(content) == {
        "records",
        "operating_points",
        "comparisons",
        "paired_tests",
        "confusion",
        "sites",
        "subgroups",
        "calibration",
        "prediction_sets",
        "decision",
        "beside",
    }
    assert np.sum(content["confusion"]["patient"]["counts"]) == 144
    assert np.sum(content["confusion"]["image"]["counts"]) == 288
    assert run.finished("evaluate")
    pl.read_parquet(run.path("predictions.parquet")).head(10).write_parquet(run.path("predictions.parquet"))
    with pytest.raises(MismatchError, match="predict"):
        evaluate_run(run)


def test_auprc_has_its_own_interval_and_the_macro_mean_that_of_the_estimable_classes() -> None:
    table = manifest({"benign": 30, "PTC": 20, "FTC": 9, "ATC": 1}, odd_patient="P7")
    classes = classes_of(table)
    records = evaluate(predictions(table, classes), classes, QUICK)
    rows = [each for each in records if each.metric in ("auprc", "macro_auprc") and each.estimate is not None]
    assert {each.target for each in rows} == {"all", "malignancy", "benign", "PTC", "FTC"}
    assert {each.unit for each in rows} == {"patient", "nodule", "image"}
    assert all(each.method.startswith("jackknife over patients") for each in rows)
    assert all(each.low < each.estimate <= each.high for each in rows)
    own = {each.target: each for each in rows if (each.unit, each.site, each.model) == ("patient", "all", "csasn")}
    assert own["all"].estimate == pytest.approx(np.mean([own[name].estimate for name in ("benign", "PTC", "FTC")]))
