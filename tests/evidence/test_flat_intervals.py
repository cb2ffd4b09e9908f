"""A figure that is the same in every draw has an interval by another method, or its note says that it has none."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import compare
from csasn.evidence.estimates import resample
from csasn.evidence.flat_figures import WITHOUT
from csasn.evidence.generalisation import drops
from csasn.evidence.record import Record, Scope
from csasn.evidence.run_differences import differences
from csasn.evidence.statistics.intervals import is_flat, mean_interval, newcombe_auroc, score_interval, wilson
from csasn.schema import ClassList
from csasn.units import Unit
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_run import make_run

THREE = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
COUNTS = {"benign": 12, "PTC": 6, "FTC": 4}
SETTINGS = EvaluateSettings(n_bootstrap=200, calibration_bins=5)


def read_by(right: float, *, n_images: int = 1, model: str = "csasn") -> pl.DataFrame:
    """Every image's logits: `right` for its own class, 0 for the others; 0 is a reader that tells nothing apart."""
    rows = [
        {
            "model": model,
            "fold": 0,
            "partition": partition,
            "image_path": f"{name}{number}-{image}{suffix}.png",
            "site": "AB"[number % 2],
            "nodule_id": f"N-{name}{number}{suffix}",
            "patient_id": f"P-{name}{number}{suffix}",
            "malignant": name != "benign",
            "subtype": name,
        }
        for partition, suffix in (("test", ""), ("tuning", "-t"))
        for name, n in COUNTS.items()
        for number in range(n)
        for image in range(n_images)
    ]
    own = np.array([[right * (row["subtype"] == name) for name in THREE.names] for row in rows])
    p = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    columns = {f"logit_{name}": np.log(p[:, k]) for k, name in enumerate(THREE.names)}
    columns |= {f"probability_{name}": p[:, k] for k, name in enumerate(THREE.names)}
    return pl.DataFrame(rows).with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def records_of(table: pl.DataFrame, unit: Unit = "patient", site: str = "all") -> dict[tuple[str, str], Record]:
    test = table.filter(pl.col("partition") == "test")
    test = test if site == "all" else test.filter(pl.col("site") == site)
    found = resample(Scope(model="csasn", site=site, unit=unit), test, THREE, SETTINGS, brief=False)
    return {(each.target, each.metric): each for each in found.records(SETTINGS)}


@pytest.mark.parametrize("unit", ["patient", "image"])
@pytest.mark.parametrize("site", ["all", "A", "B"])
@pytest.mark.parametrize("right", [8.0, 0.0, -8.0], ids=["perfect", "constant", "always wrong"])
def test_no_record_has_an_interval_without_width(right: float, site: str, unit: Unit) -> None:
    records = records_of(read_by(right, n_images=1 if unit == "patient" else 3), unit, site)
    for each in records.values():
        if each.estimate is None:
            continue
        if each.low is None or each.high is None:
            assert (each.low, each.high) == (None, None)
            assert WITHOUT in each.note
            assert each.metric not in ("auroc", "macro_auroc", "balanced_accuracy", "top2_sensitivity")
        else:
            assert each.low < each.high
            assert each.low - 1e-12 <= each.estimate <= each.high + 1e-12


@pytest.mark.parametrize(("unit", "n_images"), [("patient", 1), ("image", 3)])
def test_a_perfect_reader_gets_published_intervals_by_patients(unit: Unit, n_images: int) -> None:
    records = records_of(read_by(8.0, n_images=n_images), unit)
    areas = {name: newcombe_auroc(1.0, n_positive=n, n_negative=22 - n) for name, n in COUNTS.items()}
    for name, ends in areas.items():
        each = records[name, "auroc"]
        assert (each.estimate, each.low, each.high) == (1.0, *ends)
    macro = records["all", "macro_auroc"]
    assert (macro.low, macro.high) == (pytest.approx(np.mean([low for low, _ in areas.values()])), 1.0)
    for metric, n in (("sensitivity_at_specificity", 6), ("specificity_at_sensitivity", 16)):
        share = records["PTC", metric]
        assert (share.low, share.high) == pytest.approx(wilson(n, n))
    balanced = records["all", "balanced_accuracy"]
    misses = [1 - wilson(n, n)[0] for n in COUNTS.values()]
    reach = np.sqrt(np.square(misses).sum()) / 3 if unit == "patient" else np.mean(misses)
    assert (balanced.low, balanced.high) == pytest.approx((1 - reach, 1.0))
    assert "MOVER" in balanced.method
    versus = records["FTC", "auroc_vs_benign"]
    assert (versus.low, versus.high) == newcombe_auroc(1.0, n_positive=4, n_negative=12)


def test_two_perfect_readers_differ_by_nothing_and_without_an_interval() -> None:
    tables = {}
    for model in ("csasn", "cnn-only"):
        test = read_by(8.0, model=model).filter(pl.col("partition") == "test")
        scope = Scope(model=model, site="all", unit="patient")
        tables[model] = (resample(scope, test, THREE, SETTINGS, brief=False), test)
    for each in compare(tables, THREE, SETTINGS):
        assert (each.estimate, each.low, each.high, each.p, each.detectable) == (0, None, None, 1, None)
        assert "no interval" in each.note
    for row in differences([read_by(8.0), read_by(8.0)], THREE, SETTINGS, unit="patient"):
        assert row.estimate == 0
        if row.low is None or row.high is None:
            assert "no interval" in row.note
        else:
            assert row.low < row.high
    test = read_by(8.0).filter(pl.col("partition") == "test")
    for drop in drops(test, test, THREE, SETTINGS):
        assert (drop.low, drop.high) == (None, None)
        assert drop.estimate == 0 or drop.estimate is None
        assert "no interval" in drop.note or "not estimable" in drop.note


def test_a_perfect_run_is_evaluated_without_an_interval_of_no_width(tmp_path: Path) -> None:
    run = make_run(tmp_path, counts=COUNTS)
    table = pl.read_parquet(run.path("predictions.parquet"))
    names = run.classes().names
    right = [pl.when(pl.col("subtype") == name).then(8.0).otherwise(0.0).alias(f"logit_{name}") for name in names]
    table.with_columns(right).write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    content = json.loads(evaluate_run(run).read_text())

    def rows(value: object) -> list[dict[str, object]]:
        within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        own = [value] if isinstance(value, dict) and {"low", "high"} <= value.keys() else []
        return own + [row for each in within for row in rows(each)]

    told = rows(content)
    assert len(told) > 100
    assert [row for row in told if row["low"] is not None and row["low"] == row["high"]] == []


def test_the_mean_of_figures_has_an_interval_from_their_own() -> None:
    ends = [(0.7, 1.0), (0.6, 1.0)]
    assert mean_interval([1.0, 1.0], ends, together=True) == pytest.approx((0.65, 1.0))
    assert mean_interval([1.0, 1.0], ends, together=False) == pytest.approx((1 - 0.25, 1.0))
    with pytest.raises(ValueError, match="received none"):
        mean_interval([], [], together=True)
    for k, n in ((18, 20), (4, 20), (0, 20), (20, 20)):
        assert score_interval(k / n, n) == pytest.approx(wilson(k, n))
    assert is_flat(1.0, 1.0 - 1e-12)
    assert not is_flat(0.999, 1.0)
