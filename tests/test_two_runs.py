"""Two runs on the same patients: what is refused, what must turn with the order, and the files that are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.cli import main
from csasn.config import EvaluateSettings
from csasn.errors import BadInputError
from csasn.evidence.aggregation import per_unit
from csasn.evidence.delong import delong
from csasn.evidence.run_differences import RunDifference, differences
from csasn.evidence.two_runs import compare_runs, shared_settings
from csasn.evidence.verdict import better_of
from csasn.runs import Run
from csasn.schema import classes_of, manifest_sha256
from synthetic_run import make_run, manifest, predictions

QUICK = EvaluateSettings(n_bootstrap=200, calibration_bins=5)
TABLE = manifest()
CLASSES = classes_of(TABLE)


def remade(run: Run, frame: pl.DataFrame) -> Run:
    """The run with other predictions."""
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run


def weaker(frame: pl.DataFrame) -> pl.DataFrame:
    """The predictions with a rival's in CSASN's place."""
    return frame.filter(pl.col("model") != "csasn").with_columns(pl.col("model").replace({"cnn-only": "csasn"}))


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


FRAME = predictions(TABLE, CLASSES)


def rows_of(one: pl.DataFrame, other: pl.DataFrame, unit: Any = "patient") -> dict[tuple[str, str], RunDifference]:
    tables = [per_unit(each, CLASSES, unit=unit) for each in (one, other)]
    return {(row.target, row.metric): row for row in differences(tables, CLASSES, QUICK, unit=unit)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("two")
    first, second = make_run(folder / "one"), make_run(folder / "two")
    return first, remade(second, weaker(FRAME))


@pytest.fixture(scope="module")
def written(runs: tuple[Run, Run]) -> Path:
    main(["compare", str(runs[0].folder), str(runs[1].folder)])
    return runs[0].path("compared-with-run")


def test_the_command_writes_page_figures_and_tables(written: Path) -> None:
    content = json.loads((written / "comparison.json").read_text())
    assert content["n_patients"] == 144
    assert content["simulated"] is True
    assert [(run["name"], run["n_tested"], run["n_left_out"]) for run in content["runs"]] == [
        ("A", 144, 0),
        ("B", 144, 0),
    ]
    assert content["n_bootstrap"] == 2000
    assert len(content["differences"]) == 2 * (5 + 5 * 3)
    assert all(row["verdict"].endswith(".") for row in content["differences"])
    page = (written / "comparison.html").read_text()
    assert "SIMULATED COHORT: not clinical evidence" in page
    assert content["differences"][0]["verdict"] in page
    assert page.count("<svg") == 2  # every patient has one nodule: figures per nodule would say the same again
    for name in ("differences-patient", "differences-patient-at-thresholds"):
        assert "SIMULATED COHORT" in (written / f"figures/{name}.svg").read_text()
        with Image.open(written / f"figures/{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    table = pl.read_csv(written / "tables/differences-patient-overall.csv")
    assert table["Figure"].to_list() == ["Macro AUROC", "Macro AUPRC", "Macro F1", "Brier", "ECE, most probable class"]


def test_it_is_written_again_but_never_over_something_else(runs: tuple[Run, Run], written: Path) -> None:
    before = (written / "comparison.json").read_bytes()
    main(["compare", str(runs[0].folder), str(runs[1].folder)])
    assert (written / "comparison.json").read_bytes() == before
    with pytest.raises(BadInputError, match="holds no comparison of these two runs"):
        compare_runs(runs[1], runs[0], written)
    with pytest.raises(BadInputError, match="choose another --out"):
        compare_runs(*runs, runs[0].folder)


def test_figures_are_those_of_either_run(runs: tuple[Run, Run], written: Path) -> None:
    main(["evaluate", str(runs[0].folder)])
    records = json.loads(runs[0].path("metrics.json").read_text())["records"]
    own = {
        (row["unit"], row["target"], row["metric"]): row["estimate"]
        for row in records
        if (row["model"], row["site"]) == ("csasn", "all")
    }
    rows = json.loads((written / "comparison.json").read_text())["differences"]
    for row in rows:
        assert row["first"] == pytest.approx(own[row["unit"], row["target"], row["metric"]])
        assert row["estimate"] == pytest.approx(row["first"] - row["second"])


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
        assert row.low == -row.high
        assert "not one patient tells them apart" in row.verdict
        if row.first_alone is None:
            assert (row.low, row.detectable) == (0, None)


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


def test_other_cohorts_classes_and_patients_are_refused(
    runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(other: Run, *more: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["compare", str(runs[0].folder), str(other.folder), "--out", str(tmp_path / "out"), *more])
        assert end.value.code == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    classes = make_run(tmp_path / "classes", counts={"benign": 20, "PTC": 20})
    assert "on one list of classes" in refused(classes)
    counts = {"benign": 50, "PTC": 40, "FTC": 24, "MTC": 12, "ATC": 8}
    cohort = make_run(tmp_path / "cohort", counts=counts)
    said = refused(cohort)
    assert "on one cohort" in said
    assert "--common-patients" in said
    fewer = remade(make_run(tmp_path / "fewer"), FRAME.filter(pl.col("nodule_id") != "N0003"))
    said = refused(fewer)
    assert "the same tested patients" in said
    assert "alone: 1 (P0003)" in said
    said = refused(cohort, "--common-patients")  # the same names over other pictures' labels
    assert "carry the same nodules and labels" in said


def test_common_patients_are_those_tested_on_the_same_pictures(
    runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = remade(make_run(tmp_path / "fewer"), weaker(FRAME).filter(pl.col("nodule_id") != "N0003"))
    main(["compare", str(runs[0].folder), str(fewer.folder), "--out", str(tmp_path / "out"), "--common-patients"])
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert content["n_patients"] == 143
    assert [run["n_left_out"] for run in content["runs"]] == [1, 0]
    assert "were not tested by the other run" in (tmp_path / "out/comparison.html").read_text()
    other = TABLE.with_columns(
        pl.when(pl.col("nodule_id") == "N0005").then(pl.lit("0" * 64)).otherwise("sha256").alias("sha256")
    )
    redone = with_manifest(make_run(tmp_path / "redone"), other)
    main(["compare", str(runs[0].folder), str(redone.folder), "--out", str(tmp_path / "again"), "--common-patients"])
    assert json.loads((tmp_path / "again/comparison.json").read_text())["n_patients"] == 143
    nothing = with_manifest(make_run(tmp_path / "nothing"), TABLE.with_columns(pl.lit("0" * 64).alias("sha256")))
    with pytest.raises(BadInputError, match="no patient id goes with the same pictures"):
        compare_runs(runs[0], nothing, tmp_path / "none", common_patients=True)


def with_manifest(run: Run, table: pl.DataFrame) -> Run:
    """The run over a cohort with another manifest."""
    table.write_parquet(run.path("manifest.parquet"))
    record = run.record() | {"manifest_sha256": manifest_sha256(table)}
    run.path("run.json").write_text(json.dumps(record))
    return run


def test_the_more_careful_settings_of_the_two_count(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / str(n), n_bootstrap=n) for n in (100, 3000))
    assert shared_settings(one, other) == shared_settings(other, one)
    assert shared_settings(one, other).n_bootstrap == 3000
    assert shared_settings(one, one).n_bootstrap == 2000


def naive_clusters(y: np.ndarray, p: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Obuchowski's covariance, pair by pair and patient by patient."""
    m, n, names = y.sum(), (~y).sum(), np.unique(patients)
    areas, tens, ones = [], [], []
    for reader in p:
        wins = np.array([[float(a > b) + 0.5 * (a == b) for b in reader[~y]] for a in reader[y]])
        areas.append(wins.mean())
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    of_ten, of_one = patients[y], patients[~y]
    n_ten, n_one, every = len(np.unique(of_ten)), len(np.unique(of_one)), len(names)
    found = np.zeros((len(p), len(p)))
    for r in range(len(p)):
        for s in range(len(p)):
            ten = [[(tens[q][of_ten == name] - areas[q]).sum() for name in names] for q in (r, s)]
            one = [[(ones[q][of_one == name] - areas[q]).sum() for name in names] for q in (r, s)]
            s10 = n_ten / ((n_ten - 1) * m) * np.dot(ten[0], ten[1])
            s01 = n_one / ((n_one - 1) * n) * np.dot(one[0], one[1])
            s11 = every / (every - 1) * np.dot(ten[0], one[1])
            s11_turned = every / (every - 1) * np.dot(ten[1], one[0])
            found[r, s] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return found


def test_clustered_delong_equals_a_naive_one_and_plain_delong_without_clusters() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(20, 50))
        y, patients = rng.random(n) < 0.5, rng.integers(0, n // 2, n)
        p = np.round(rng.normal(size=(2, n)) + y, 1)
        np.testing.assert_allclose(delong(y, p, patients).covariance, naive_clusters(y, p, patients), atol=1e-12)
        np.testing.assert_allclose(
            delong(y, p, np.arange(n)[::-1].astype(str)).covariance, delong(y, p).covariance, atol=1e-12
        )
    with pytest.raises(ValueError, match="received 1 positive and 2 negative"):
        delong(np.array([True, True, False, False]), np.arange(4.0), np.array([1, 1, 2, 3]))


def test_readers_that_rank_alike_have_a_difference_of_exactly_nothing() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.random(500) < 0.3, rng.random(500)
    for alike in (p, p**3):
        found = delong(y, np.stack([p, alike]), np.arange(500) // 3)
        assert found.difference() == (0, 0, 0)
        assert np.isnan(found.z())
