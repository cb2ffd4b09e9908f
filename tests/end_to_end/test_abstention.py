"""Refusal from the command line: classes left out, foreign pictures, thresholds, the curve; the gate's statistics."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from csasn.calibration.embeddings import by_patient
from csasn.calibration.novelty import DETECTORS
from csasn.decoding.pictures import read_picture
from csasn.imaging.letterbox import letterbox
from csasn.imaging.statistics import image_statistics
from csasn.inference.foreign import foreign_pictures
from csasn.schema import STATISTICS, rare_classes, read_manifest

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.toml"


def csasn(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csasn", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def succeed(*arguments: object) -> str:
    done = csasn(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def refusal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort, a run of it without baselines, and its refusal tried."""
    folder = tmp_path_factory.mktemp("abstention")
    succeed("simulate", "--out", folder / "cohort", "--patients", 50, "--sites", 2, "--seed", 3)
    options = ("--fit.baselines", "--fit.frozen.epochs", 2, "--fit.weights", "none")
    run = folder / "run"
    succeed("split", "--cohort", folder / "cohort", "--config", SMOKE, "--out", run, *options)
    for stage in ("fit", "predict", "calibrate"):
        succeed(stage, run)
    succeed("abstention", run, "--foreign", folder / "cohort")
    succeed("evaluate", run)
    return folder


@pytest.mark.slow
def test_a_class_left_out_is_in_no_training_row_and_in_every_test_row(refusal_folder: Path) -> None:
    run = refusal_folder / "run"
    manifest, split = read_manifest(run), pl.read_csv(run / "split.csv")
    rare = rare_classes(manifest)
    assert len(rare) == 3
    for name in rare:
        for fold in split["fold"].unique():
            frame = pl.read_parquet(run / f"abstention/without-{name}/fold{fold}.parquet").join(
                manifest, on="image_path"
            )
            of_class = frame.filter(pl.col("subtype") == name)
            assert set(of_class["partition"]) == {"test"}
            tested = split.filter((pl.col("fold") == fold) & (pl.col("partition") == "test"))
            assert set(frame.filter(pl.col("partition") == "test")["image_path"]) == set(tested["image_path"])
            notes = json.loads((run / f"checkpoints/csasn-without-{name}/fold{fold}.json").read_text())
            assert name not in notes["classes"]
            assert len(notes["classes"]) == 4


@pytest.mark.slow
def test_refusal_json_answers_for_every_class_and_foreign_group(refusal_folder: Path) -> None:
    content = json.loads((refusal_folder / "run/abstention.json").read_text())
    manifest = read_manifest(refusal_folder / "run")
    asked = {(each["kind"], each["novel"]) for each in content["recognised"]}
    groups = {name for kind, name in asked if kind == "foreign"}
    assert {"photographs", "noise"} < groups
    assert len(groups) == 3
    assert {name for kind, name in asked if kind == "held-out class"} == set(rare_classes(manifest))
    patients = manifest.group_by("subtype").agg(pl.col("patient_id").n_unique())
    n_of = dict(patients.iter_rows())
    for each in content["recognised"]:
        if each["kind"] == "held-out class":
            assert each["n_novel"] == n_of[each["novel"]]
            assert each["n_novel"] + each["n_known"] == 50
        assert each["auroc"] is None or each["low"] <= each["auroc"] <= each["high"]
    noise = [e for e in content["recognised"] if e["novel"] == "noise" and e["detector"] == "combined"]
    assert noise[0]["auroc"] > 0.95
    own = [e for e in content["recognised"] if e["kind"] == "foreign" and e["novel"] not in ("noise", "photographs")]
    assert all(e["auroc"] < 0.75 for e in own)  # the run's own pictures are not foreign to it
    curves = content["risk_coverage"]["curves"]
    ends = {curves[name]["risk"][-1] for name in (*DETECTORS, "least probability")}
    assert len(ends) == 1  # keeping everyone, every order makes the same errors
    everyone = [each for each in content["abstained"] if each["target"] == "all"]
    assert {each["n"] for each in everyone} == {50}
    assert all(each["low"] <= each["share"] <= each["high"] for each in content["abstained"])


@pytest.mark.slow
def test_refusal_again_trains_nothing_and_evaluate_is_due(refusal_folder: Path) -> None:
    run = refusal_folder / "run"
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*.safetensors")}
    kept = (run / "abstention/without-FTC/fold0.parquet").read_bytes()
    succeed("abstention", run, "--foreign", refusal_folder / "cohort")
    assert {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*.safetensors")} == before
    assert (run / "abstention/without-FTC/fold0.parquet").read_bytes() == kept
    assert "evaluate" not in json.loads((run / "run.json").read_text())["stages"]
    succeed("evaluate", run)


@pytest.mark.slow
def test_a_folder_that_is_no_cohort_is_refused_by_name(refusal_folder: Path, tmp_path: Path) -> None:
    refused = csasn("abstention", refusal_folder / "run", "--foreign", tmp_path)
    assert refused.returncode == 1
    assert "manifest.parquet" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_patient_is_as_strange_as_the_strangest_nodule() -> None:
    rows = {
        "patient_id": ["a", "a", "a", "b"],
        "nodule_id": ["a1", "a1", "a2", "b1"],
        "malignant": [False, False, True, True],
        "subtype": ["benign", "benign", "PTC", None],
    }
    frame = pl.DataFrame(rows | {name: [1.0, 3.0, 1.5, -1.0] for name in DETECTORS})
    found = by_patient(frame)
    assert found["unit"].to_list() == ["a", "b"]
    assert found["target"].to_list() == ["PTC", "malignant"]
    assert found["energy"].to_list() == [2.0, -1.0]


def test_image_statistics_of_pictures_made_by_hand() -> None:
    rng = np.random.default_rng(0)
    named = dict(zip(STATISTICS, image_statistics(np.full((64, 64), 255, dtype=np.uint8)), strict=True))
    assert named["mean"] == 1
    assert named["sd"] == named["entropy"] == named["dark_share"] == 0
    assert named["bright_share"] == 1
    noise = dict(zip(STATISTICS, image_statistics(rng.integers(1, 256, (128, 128)).astype(np.uint8)), strict=True))
    assert noise["entropy"] == pytest.approx(6, abs=0.1)  # 64 bins alike
    assert noise["rows_alike"] == pytest.approx(0, abs=0.05)
    assert noise["fine_share"] == pytest.approx(8 / 9, abs=0.03)  # a 3 x 3 mean keeps a ninth of white variance
    stripes = np.tile(np.repeat(rng.integers(1, 256, 32), 4).astype(np.uint8)[:, None], (1, 128))
    striped = dict(zip(STATISTICS, image_statistics(stripes), strict=True))
    assert striped["columns_alike"] == pytest.approx(1)
    assert striped["rows_alike"] < 0.9
    flat = letterbox(rng.integers(1, 256, (50, 100)).astype(np.uint8), 128)
    assert dict(zip(STATISTICS, image_statistics(flat), strict=True))["log_aspect"] == pytest.approx(
        np.log(2), abs=0.05
    )
    assert np.isfinite(image_statistics(np.zeros((64, 64), dtype=np.uint8))).all()


def test_foreign_pictures_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    succeed("simulate", "--out", cohort, "--patients", 5, "--sites", 1, "--seed", 3)
    first, again, other = (foreign_pictures(96, [cohort], seed=seed) for seed in (1, 1, 2))
    assert (first.pixels == again.pixels).all()
    assert not (first.pixels[:200] == other.pixels[:200]).all()
    assert first.name == again.name
    assert first.group.count("photographs") == first.group.count("noise") == 100
    name = first.name[-1]
    assert (first.pixels[-1] == letterbox(read_picture(cohort / name), 96)).all()
