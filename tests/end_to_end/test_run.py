"""The main job through the command line: simulated everywhere, real ultrasound wherever CSASN_DATA exists."""

import csv
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

from tests.support.trained_run import SMOKE, csasn, succeed

N_A_CLASS = 20
STAGE_FILES = ("split.csv", "history.csv", "weights.csv", "predictions.parquet", "metrics.json", "report.html")


@pytest.fixture(scope="module")
def simulated_cohort(trained_folder: Path) -> Path:
    return trained_folder / "cohort"


@pytest.fixture(scope="module")
def simulated_run(trained_folder: Path) -> Path:
    return trained_folder / "run"


def test_run_writes_every_file_and_tests_every_image_once(simulated_cohort: Path, simulated_run: Path) -> None:
    for name in STAGE_FILES:
        assert (simulated_run / name).is_file()
    manifest = pl.read_parquet(simulated_cohort / "manifest.parquet")
    predictions = pl.read_parquet(simulated_run / "predictions.parquet")
    assert set(predictions["model"]) == {"csasn", "cnn-only", "vit-only", "vit-logistic-regression"}
    for _, of_model in predictions.filter(pl.col("partition") == "test").group_by("model"):
        assert sorted(of_model["image_path"]) == sorted(manifest["image_path"])
    probabilities = predictions.select(pl.sum_horizontal(pl.col("^probability_.*$")))
    assert probabilities.to_series().is_between(1 - 1e-6, 1 + 1e-6).all()


def test_simulated_report_is_stamped_and_self_contained(simulated_run: Path) -> None:
    page = (simulated_run / "report.html").read_text()
    assert "SIMULATED" in page
    assert "<script" not in page
    assert 'src="http' not in page


def test_a_checkpoint_is_the_network_and_the_loss_lies_apart(simulated_run: Path) -> None:
    network = load_file(simulated_run / "checkpoints/csasn/fold0.safetensors")
    loss = load_file(simulated_run / "checkpoints/csasn/loss/fold0.safetensors")
    assert {name.split(".")[0] for name in network} == {"head"}  # the frozen branches are the pretrained ones
    assert {name.split(".")[0] for name in loss} == {"loss"}


def test_more_draws_cost_no_training(simulated_cohort: Path, simulated_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    options = ("--cohort", simulated_cohort, "--config", SMOKE, "--out", run, "--evaluate.n-bootstrap", 120)
    out = succeed("run", *options)
    assert "evaluate.n_bootstrap: 100 -> 120" in out
    assert out.count("already done") == 6
    assert "evaluate: already done" not in out


def test_same_command_again_does_nothing_and_other_settings_are_refused(
    simulated_cohort: Path, simulated_run: Path
) -> None:
    before = {name: (simulated_run / name).stat().st_mtime_ns for name in STAGE_FILES}
    again = ("run", "--cohort", simulated_cohort, "--config", SMOKE, "--out", simulated_run)
    out = succeed(*again)
    assert out.count("already done") == 8
    assert {name: (simulated_run / name).stat().st_mtime_ns for name in STAGE_FILES} == before
    refused = csasn(*again, "--fit.frozen.epochs", 5)
    assert refused.returncode == 1
    assert "fit.frozen.epochs: 4 -> 5" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_goes_on_after_the_last_finished_fold_with_the_same_result(
    simulated_cohort: Path, simulated_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    lost = run / "checkpoints/csasn/fold1.safetensors"
    kept = run / "checkpoints/csasn/fold0.safetensors"
    lost.unlink()
    record = json.loads((run / "run.json").read_text())
    record["stages"] = {"split": record["stages"]["split"]}
    (run / "run.json").write_text(json.dumps(record))
    before = kept.stat().st_mtime_ns
    succeed("run", "--cohort", simulated_cohort, "--config", SMOKE, "--out", run)
    assert kept.stat().st_mtime_ns == before
    first, second = (pl.read_parquet(each / "predictions.parquet") for each in (simulated_run, run))
    assert first.equals(second)


def test_run_folder_of_another_cohort_is_refused(simulated_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    succeed("simulate", "--out", other, "--patients", 40, "--sites", 2, "--seed", 2)
    refused = csasn("run", "--cohort", other, "--config", SMOKE, "--out", simulated_run)
    assert refused.returncode == 1
    assert "another cohort" in refused.stderr


def test_changed_prediction_file_is_refused(simulated_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    predictions = pl.read_parquet(run / "predictions.parquet")
    predictions.head(10).write_parquet(run / "predictions.parquet")
    refused = csasn("evaluate", run)
    assert refused.returncode == 1
    assert "expected sha256" in refused.stderr
    assert "found" in refused.stderr


def test_refusal_and_shortcuts_are_answered_for_every_patient(simulated_run: Path) -> None:
    refusal, shortcuts = (
        json.loads((simulated_run / name).read_text()) for name in ("abstention.json", "shortcuts.json")
    )
    assert refusal["asked"] is False
    assert refusal["recognised"] == []
    everyone = [each for each in refusal["abstained"] if each["target"] == "all"]
    assert {each["n"] for each in everyone} == {40}
    assert all(each["low"] <= each["share"] <= each["high"] for each in refusal["abstained"])
    assert len({curve["risk"][-1] for curve in refusal["risk_coverage"]["curves"].values()}) == 1
    assert [each["n_patients"] for each in shortcuts["variants"]] == [40] * 4
    assert [each["p"] is not None for each in shortcuts["questions"]][:2] == [True, True]
    assert [each["n_sites"] for each in shortcuts["site_readable"]] == [2, 2]


def test_maps_are_made_measured_and_shown_and_are_the_same_again(simulated_run: Path, tmp_path: Path) -> None:
    manifest = pl.read_parquet(simulated_run / "manifest.parquet")
    maps = pl.read_parquet(simulated_run / "explanations/maps.parquet")
    trained = maps.filter(pl.col("level") == 0)
    for _, of_map in trained.group_by("map"):
        assert sorted(of_map["image_path"]) == sorted(manifest["image_path"])
    found = json.loads((simulated_run / "explanations.json").read_text())
    assert found["missing"] == {}
    assert found["n_images_with_nodule"] == len(manifest)
    everyone = [each for each in found["on_nodule"] if each["group"] == "all"]
    assert {(each["map"], each["n_patients"]) for each in everyone} == {
        (name, 40) for name in ("cnn", "vit", "fused", "random", "centre")
    }
    assert all(0 <= each["low"] <= each["estimate"] <= each["high"] <= 1 for each in everyone)
    alike = {(each["map"], each["level"]): each for each in found["alike"]}
    assert {each["n_patients"] for each in alike.values()} == {24}
    assert alike["cnn", 8]["randomised"] == "branches 4/4"
    assert all(abs(alike[name, 8]["estimate"]) < 0.5 for name in ("cnn", "vit", "fused"))
    assert 'id="explanations"' in (simulated_run / "report.html").read_text()
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    succeed("explain", run)
    for name in ("maps", "masks"):
        first, again = (each / f"explanations/{name}.parquet" for each in (simulated_run, run))
        assert pl.read_parquet(first).equals(pl.read_parquet(again))


def test_rare_errors_are_shown_with_training_nodules_of_their_own_fold(simulated_run: Path) -> None:
    similar = json.loads((simulated_run / "similar.json").read_text())
    predictions = pl.read_parquet(simulated_run / "predictions.parquet").filter(pl.col("model") == "csasn")
    split = pl.read_csv(simulated_run / "split.csv")
    assert similar["rare_classes"] == ["FTC", "MTC", "ATC"]
    assert similar["errors"]
    for error in similar["errors"]:
        assert error["reference"] in similar["rare_classes"]
        assert error["predicted"] != error["reference"]
        tested = predictions.filter(pl.col("nodule_id") == error["nodule_id"], pl.col("partition") == "test")
        assert set(tested["fold"]) == {error["fold"]}
        trained = split.filter(pl.col("fold") == error["fold"], pl.col("partition") == "train")["image_path"]
        assert {each["image_path"] for each in error["similar"]} <= set(trained)
        assert len({each["patient_id"] for each in error["similar"]}) == 4
    page = (simulated_run / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("abstention", "shortcuts", "similar"))


def test_changed_embeddings_are_refused(simulated_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run, ignore=shutil.ignore_patterns("cache"))
    path = run / "embeddings/fold0.parquet"
    pl.read_parquet(path).reverse().write_parquet(path)
    refused = csasn("evaluate", run)
    assert refused.returncode == 1
    assert "embeddings/fold0.parquet is not the file that stage `predict` wrote" in refused.stderr


def test_without_masks_and_with_one_site_and_branch_it_is_said_what_cannot_be_measured(
    simulated_cohort: Path, tmp_path: Path
) -> None:
    manifest = pl.read_parquet(simulated_cohort / "manifest.parquet").unique("patient_id", maintain_order=True)
    for row in manifest.iter_rows(named=True):
        folder = tmp_path / "pictures" / ("malignant" if row["malignant"] else "benign")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(simulated_cohort / row["image_path"], folder / f"{row['patient_id']}.png")
    succeed("ingest", tmp_path / "pictures", "--out", tmp_path / "cohort")
    options = ("--fit.baselines", "--fit.frozen.epochs", 1, "--fit.weights", "none", "--network.branches", "cnn")
    succeed("run", "--cohort", tmp_path / "cohort", "--config", SMOKE, "--out", tmp_path / "run", *options)
    found = json.loads((tmp_path / "run/shortcuts.json").read_text())
    assert [each["p"] is not None for each in found["questions"]] == [True, True, False]
    variants = {each["variant"]: each for each in found["variants"]}
    assert variants["without-nodule"]["note"] == "not estimable: there are no masks"
    assert variants["border"]["auroc_within_sites"] is not None
    assert all("fewer than two sites" in each["note"] for each in found["site_readable"])
    maps = json.loads((tmp_path / "run/explanations.json").read_text())
    assert set(maps["missing"]) == {"vit", "fused"}
    assert all(each["estimate"] is None for each in maps["on_nodule"])
    assert "nothing is fused" in (tmp_path / "run/report.html").read_text()


def test_fine_tuning_and_leave_one_site_out(simulated_cohort: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--split.scheme", "leave-one-site-out", "--fit.finetune.epochs", 1, "--fit.baselines", "cnn-only")
    options = (*options, "--fit.finetune.blocks", 2, "--fit.sampling", "patient-balanced", "--loss.tasks", "gradnorm")
    options = (*options, "--predict.gated-attention")
    succeed("run", "--cohort", simulated_cohort, "--config", SMOKE, "--out", run, *options, "--fit.weights", "none")
    split = pl.read_csv(run / "split.csv")
    manifest = pl.read_parquet(simulated_cohort / "manifest.parquet")
    tested = split.filter(pl.col("partition") == "test").join(manifest, on="image_path")
    assert tested.group_by("fold").agg(pl.col("site").n_unique())["site"].to_list() == [1, 1]
    history = pl.read_csv(run / "history.csv")
    assert set(history["stage"]) == {"frozen", "finetune"}
    weights = pl.read_csv(run / "weights.csv")
    assert set(weights["kind"]) == {"class", "task", "difficulty"}
    of_class = (
        weights.filter(pl.col("kind") == "class").group_by("model", "fold", "stage", "epoch").agg(pl.mean("value"))
    )
    assert len(of_class) == len(history)
    assert of_class["value"].is_between(1 - 1e-5, 1 + 1e-5).all()
    attention = pl.read_parquet(run / "attention.parquet").filter(pl.col("partition") == "test")
    assert sorted(attention["image_path"]) == sorted(manifest["image_path"])
    assert (attention.group_by("nodule_id").agg(pl.sum("attention"))["attention"] - 1).abs().max() < 1e-5
    nodules = pl.read_parquet(run / "nodules.parquet").filter(pl.col("partition") == "test")
    assert sorted(nodules["nodule_id"]) == sorted(set(manifest["nodule_id"]))
    figures = json.loads((run / "aggregations.json").read_text())["figures"]
    assert {row["n"] for row in figures} == {len(nodules)}
    assert 'id="aggregation"' in (run / "report.html").read_text()
    assert "none" in json.loads((run / "run.json").read_text())["stages"]["fit"]["weights"]["cnn"]["source"]


@pytest.fixture(scope="module")
def busi_miniature(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty real images, twenty a class, laid out as the whole set is."""
    source = data_folder / "busi"
    target = tmp_path_factory.mktemp("busi")
    with (source / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    chosen: list[dict[str, str]] = []
    for label in ("benign", "malignant", "normal"):
        chosen += [row for row in rows if row["label"] == label][:N_A_CLASS]
    for row in chosen:
        for column in ("image", "mask"):
            (target / row[column]).parent.mkdir(exist_ok=True)
            shutil.copy(source / row[column], target / row[column])
    with (target / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    return target


def test_real_ultrasound_miniature(busi_miniature: Path, tmp_path: Path) -> None:
    cohort, run = tmp_path / "cohort", tmp_path / "run"
    succeed("ingest", busi_miniature, "--out", cohort)
    succeed("run", "--cohort", cohort, "--config", SMOKE, "--out", run)
    records = json.loads((run / "metrics.json").read_text())["records"]
    macro = [
        each
        for each in records
        if (each["model"], each["unit"], each["target"], each["metric"], each["site"])
        == ("csasn", "image", "all", "macro_auroc", "all")
    ]
    assert len(macro) == 1
    assert macro[0]["n"] == 3 * N_A_CLASS
    assert 0 <= macro[0]["low"] <= macro[0]["estimate"] <= macro[0]["high"] <= 1
    assert "SIMULATED" not in (run / "report.html").read_text()
