"""Differences of two runs: what must turn with the order, what Holm runs over, and what the verdicts say."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.evidence.run_differences import RunDifference, differences
from csasn.evidence.wording import better_of
from csasn.schema import classes_of
from csasn.units import per_unit
from tests.support.synthetic_run import manifest, predictions, weaker

QUICK = EvaluateSettings(n_bootstrap=200, calibration_bins=5)
TABLE = manifest()
CLASSES = classes_of(TABLE)


FRAME = predictions(TABLE, CLASSES)


def in_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Every two benign patients become one with two nodules."""
    number = pl.col("nodule_id").str.slice(1).cast(pl.Int64)
    merged = pl.format("Q{}", number // 2)
    return frame.with_columns(
        pl.when(pl.col("subtype") == "benign").then(merged).otherwise(pl.col("patient_id")).alias("patient_id"),
        pl.when(pl.col("subtype") == "benign")
        .then(number // 2 % 3)
        .otherwise(pl.col("fold"))
        .cast(pl.Int32)
        .alias("fold"),
    )


def rows_of(one: pl.DataFrame, other: pl.DataFrame, unit: Any = "patient") -> dict[tuple[str, str], RunDifference]:
    tables = [per_unit(each, CLASSES, unit=unit) for each in (one, other)]
    return {(row.target, row.metric): row for row in differences(tables, CLASSES, QUICK, unit=unit)}


@pytest.mark.parametrize("unit", ["patient", "nodule"])
def test_exchanging_the_runs_turns_every_sign(unit: str) -> None:
    one, other = in_pairs(FRAME), in_pairs(weaker(FRAME))
    there, back = rows_of(one, other, unit), rows_of(other, one, unit)
    assert there.keys() == back.keys()
    for key, row in there.items():
        turned = back[key]
        assert (row.first, row.second) == (turned.second, turned.first)
        assert row.estimate == pytest.approx(-turned.estimate, abs=1e-12)
        assert row.low == pytest.approx(-turned.high, abs=1e-9)
        assert row.high == pytest.approx(-turned.low, abs=1e-9)
        assert (row.p, row.p_holm) == (pytest.approx(turned.p), pytest.approx(turned.p_holm))
        assert row.detectable == (turned.detectable and pytest.approx(turned.detectable))
        assert row.better == {"A": "B", "B": "A", "": ""}[turned.better]
        assert (row.first_alone, row.second_alone) == (turned.second_alone, turned.first_alone)


@pytest.mark.parametrize("unit", ["patient", "nodule"])
def test_a_run_does_not_differ_from_itself(unit: str) -> None:
    frame = in_pairs(FRAME)
    for row in rows_of(frame, frame, unit).values():
        assert (row.estimate, row.p, row.p_holm, row.better) == (0, 1, 1, "")
        if row.metric in ("sensitivity", "specificity"):
            assert row.low == -row.high
            assert row.high > 0
        else:
            assert (row.low, row.high) == (None, None)
            assert "no interval" in row.note
        assert "not one patient tells them apart" in row.verdict
        if row.first_alone is None:
            assert (row.low, row.detectable) == (None, None)


def test_the_order_of_rows_changes_nothing() -> None:
    other = weaker(FRAME)
    assert rows_of(FRAME, other) == rows_of(
        FRAME.sample(fraction=1, shuffle=True, seed=1), other.sample(fraction=1, shuffle=True, seed=2)
    )


def test_nodules_of_a_patient_are_compared_as_one_cluster() -> None:
    one, other = in_pairs(FRAME), in_pairs(weaker(FRAME))
    nodules, patients = rows_of(one, other, "nodule"), rows_of(one, other)
    assert nodules["malignancy", "specificity"].n == 60
    assert nodules["malignancy", "specificity"].n_patients == 30
    assert patients["malignancy", "specificity"].n == patients["malignancy", "specificity"].n_patients == 30
    assert "clusters" in nodules["malignancy", "auroc"].method
    assert "effective n" in nodules["malignancy", "specificity"].method


def test_holm_runs_over_each_declared_family() -> None:
    rows = rows_of(FRAME, weaker(FRAME)).values()
    for family, n in (("over all classes", 5), ("by target", 15)):
        own = sorted((row for row in rows if row.family == family), key=lambda row: row.p)
        assert len(own) == n
        stepped = np.minimum(1, np.maximum.accumulate([(n - place) * row.p for place, row in enumerate(own)]))
        assert [row.p_holm for row in own] == pytest.approx(stepped)
        assert all((row.better != "") == (row.p_holm < 0.05) for row in own)


def test_every_difference_that_was_not_found_says_what_would_have_been() -> None:
    rows = rows_of(FRAME, weaker(FRAME))
    lost = [row for row in rows.values() if not row.better]
    assert lost
    for row in lost:
        if row.detectable is None:
            assert (row.target, row.metric) == ("ATC", "sensitivity")
            assert "8 patients are too few" in row.verdict
        else:
            assert f"a true one of {row.detectable:.3f} would have been found four times in five" in row.verdict
            assert row.detectable > abs(row.estimate) / 2
    auroc = rows["malignancy", "auroc"]
    reach = (auroc.high - auroc.low) / 2
    assert auroc.detectable == pytest.approx(reach / 1.959964 * (2.935199 + 0.841621), rel=1e-5)  # 1 - .05 / 30


def test_the_verdict_names_the_better_run_whichever_way_is_better() -> None:
    assert [better_of(metric, sign) for metric in ("macro_f1", "brier", "ece") for sign in (1, -1)] == list("ABBABA")
    rows = rows_of(FRAME, weaker(FRAME))
    assert rows["all", "brier"].estimate < 0
    assert rows["all", "brier"].verdict.startswith("A is better: its Brier score is ")
    assert " lower (95 % interval 0." in rows["all", "brier"].verdict
    assert " higher (95 % interval 0." in rows["all", "macro_auroc"].verdict
    turned = rows_of(weaker(FRAME), FRAME)
    assert turned["all", "macro_auroc"].verdict == rows["all", "macro_auroc"].verdict.replace("A is", "B is")


def test_a_class_of_one_patient_cannot_be_told() -> None:
    table = manifest({"benign": 20, "PTC": 12, "ATC": 1}, odd_patient="P7")
    classes = classes_of(table)
    frame = predictions(table, classes)
    tables = [per_unit(each, classes, unit="patient") for each in (frame, weaker(frame))]
    lone = [row for row in differences(tables, classes, QUICK, unit="patient") if row.target == "ATC"]
    assert len(lone) == 3
    for row in lone:
        assert (row.estimate, row.low, row.p, row.p_holm, row.detectable, row.better) == (None,) * 5 + ("",)
        assert "cannot be told (not estimable: 1 patient with ATC)" in row.verdict
