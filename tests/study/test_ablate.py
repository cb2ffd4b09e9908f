"""A miniature study through the command line: two variants, two folds, gone on with, failing, and read."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import torch
from PIL import Image

from csasn.cli import main
from csasn.runs import open_run
from tests.support.miniature_study import CONFIGS, SMOKE, ablate, content_of, simulate

RIVAL = "vit-logistic-regression"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("ablate") / "four-hospitals")


@pytest.fixture(scope="module")
def study(cohort: Path) -> Path:
    folder = cohort.parent / "study"
    assert ablate(cohort, folder) == 0
    return folder


def copied(study: Path, folder: Path) -> Path:
    shutil.copytree(study, folder, symlinks=True)
    return folder


def written_at(study: Path, pattern: str = "units/*/checkpoints/csasn/*.safetensors") -> dict[str, int]:
    return {str(path.relative_to(study)): path.stat().st_mtime_ns for path in sorted(study.glob(pattern))}


def test_every_variant_is_a_run_folder_on_one_split_and_one_cache(study: Path) -> None:
    content = content_of(study)
    assert content["cohort"] == "four-hospitals"
    assert [(unit["name"], unit["state"]) for unit in content["units"]] == [
        ("full-seed0", "finished"),
        ("no-attention-seed0", "finished"),
    ]
    runs = [open_run(study / "units" / unit["name"]) for unit in content["units"]]
    assert len({run.path("split.csv").read_bytes() for run in runs}) == 1
    assert all(list(run.stages()) == ["split", "fit", "predict", "evaluate"] for run in runs)
    for run, models in zip(
        runs, (["csasn", RIVAL], ["csasn"]), strict=True
    ):  # the baseline beside the full network alone
        tested = pl.read_parquet(run.path("predictions.parquet")).filter(pl.col("partition") == "test")
        assert sorted(tested["model"].unique()) == models
        for model in models:
            own = tested.filter(pl.col("model") == model)
            assert sorted(own["image_path"]) == sorted(run.manifest()["image_path"])
    assert len(list((study / "cache").glob("features-*/map.rows"))) == 2  # a branch each, whatever the variants
    assert len(list((study / "cache").glob("pixels-*/pixels.rows"))) == 1


def test_a_variants_figures_are_those_of_its_own_evaluation(study: Path) -> None:
    variants = content_of(study)["variants"]
    assert [each["name"] for each in variants] == ["full", "no-attention", RIVAL]
    for variant in variants:
        unit, model = ("full", RIVAL) if variant["name"] == RIVAL else (variant["name"], "csasn")
        metrics = json.loads((study / f"units/{unit}-seed0/metrics.json").read_text())
        records = {
            (each["target"], each["metric"]): each["estimate"]
            for each in metrics["records"]
            if (each["model"], each["unit"], each["site"]) == (model, "patient", "all")
        }
        figures = {(each["target"], each["metric"]): each["estimate"] for each in variant["figures"]}
        for key in [("all", "macro_auroc"), ("all", "macro_f1"), *((name, "auroc") for name in ("FTC", "MTC", "ATC"))]:
            assert figures[key] == pytest.approx(records[key])
        assert variant["by_seed"][0]["estimate"] == pytest.approx(figures["all", "macro_auroc"])


def test_full_minus_variant_is_the_difference_of_their_figures(study: Path) -> None:
    full, *others = content_of(study)["variants"]
    assert full["differences"] == []
    begins = ("Attention, against none: ", "CSASN, against logistic regression on the ViT's class token: ")
    for other, words in zip(others, begins, strict=True):
        assert other["paragraph"].startswith(words)
        for row, one, two in zip(other["differences"], full["figures"], other["figures"], strict=True):
            if row["estimate"] is not None:
                assert row["estimate"] == pytest.approx(one["estimate"] - two["estimate"])


def test_page_figures_and_tables_are_written(study: Path) -> None:
    page = (study / "study.html").read_text()
    assert "SIMULATED COHORT: not clinical evidence" in page
    assert content_of(study)["variants"][1]["paragraph"] in page
    for name in ("modules-macro-auroc", "quality-against-cost"):
        assert "SIMULATED COHORT" in (study / f"figures/{name}.svg").read_text()
        with Image.open(study / f"figures/{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    costs = pl.read_csv(study / "tables/costs.csv")
    assert costs["Variant"].to_list() == ["full", "no-attention", RIVAL]
    found = content_of(study)["costs"]
    assert found["full"]["parameters"] > found["no-attention"]["parameters"]
    assert found["full"]["gflops"] > found["no-attention"]["gflops"] > 0.5
    trained = [found[name] for name in ("full", "no-attention")]
    assert all(each["images_per_s"] > 0 and each["training_minutes"] > 0 for each in trained)
    assert 0 < found[RIVAL]["gflops"] < found["no-attention"]["gflops"]
    assert 0 < found[RIVAL]["parameters"] < found["no-attention"]["parameters"]
    assert (found[RIVAL]["images_per_s"], found[RIVAL]["training_minutes"]) == (None, None)


def test_the_same_command_again_trains_nothing(cohort: Path, study: Path, tmp_path: Path) -> None:
    again = copied(study, tmp_path / "study")
    before, told = written_at(again, "units/*/*.*"), content_of(again)
    (again / "study.json").unlink()
    assert ablate(cohort, again) == 0
    assert written_at(again, "units/*/*.*") == before
    assert content_of(again) == told


def test_an_interrupted_study_goes_on_with_the_same_result(cohort: Path, study: Path, tmp_path: Path) -> None:
    again = copied(study, tmp_path / "study")
    unit = again / "units/no-attention-seed0"
    before = written_at(again)
    expected = pl.read_parquet(unit / "predictions.parquet")
    (unit / "checkpoints/csasn/fold1.safetensors").unlink()
    record = json.loads((unit / "run.json").read_text())
    (unit / "run.json").write_text(json.dumps(record | {"stages": {"split": record["stages"]["split"]}}))
    assert ablate(cohort, again) == 0
    changed = {name for name, at in written_at(again).items() if before[name] != at}
    assert changed == {"units/no-attention-seed0/checkpoints/csasn/fold1.safetensors"}
    assert pl.read_parquet(unit / "predictions.parquet").equals(expected)


def test_a_failure_is_listed_and_stops_no_other(
    cohort: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = copied(study, tmp_path / "study")
    suite = tmp_path / "suite.toml"
    broken = (
        '\n[[variants]]\nname = "broken"\nmodule = "CNN"\ninstead = "nothing"\nsettings.network.cnn = "no_such_net"\n'
    )
    base, head = SMOKE.read_text().replace("../smoke.toml", str(CONFIGS / "smoke.toml")), '[[variants]]\nname = "full"'
    suite.write_text(base.replace(head, broken + "\n" + head))
    assert ablate(cohort, again, suite) == 3
    assert "FAILED: broken-seed0: csasn.errors.BadInputError: timm has no network" in capsys.readouterr().out
    content = content_of(again)
    assert [unit["state"] for unit in content["units"]] == ["failed", "finished", "finished"]
    assert [bool(each["figures"]) for each in content["variants"]] == [False, True, True, True]
    assert "timm has no network named no_such_net" in (again / "study.html").read_text()
    assert "Traceback" in (again / "units/broken-seed0/failure.txt").read_text()


def test_named_variants_are_trained_alone(
    cohort: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tmp_path / "study"
    assert ablate(cohort, some, SMOKE, "--variants", "no-attention", "atention") == 1
    assert "  - atention" in capsys.readouterr().err
    assert not some.exists()
    assert ablate(cohort, some, SMOKE, "--variants", "no-attention") == 0
    told = {unit["name"]: unit["state"] for unit in content_of(some)["units"]}
    assert told == {"full-seed0": "waiting", "no-attention-seed0": "finished"}
    one, other = (each / "units/no-attention-seed0/predictions.parquet" for each in (some, study))
    assert one.read_bytes() == other.read_bytes()
    assert "No module can be judged before" in (some / "study.html").read_text()


def test_what_no_unit_could_do_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["simulate", "--out", str(tmp_path / "cohort"), "--patients", "20", "--sites", "1"])
    assert ablate(tmp_path / "cohort", tmp_path / "study", SMOKE, "--scheme", "leave-one-site-out") == 1
    assert capsys.readouterr().err.count("needs at least 2 sites") == 1
    assert not list((tmp_path / "study/units").glob("*/failure.txt"))


def test_settings_given_are_those_of_every_variant_and_stand_on_the_page(
    cohort: Path, study: Path, tmp_path: Path
) -> None:
    other = tmp_path / "study"
    given = ("--fit.frozen.epochs", "1", "--scheme=grouped-kfold", "--split.n-folds", "3")
    assert ablate(cohort, other, SMOKE, "--variants", "no-attention", *given) == 0
    for name in ("full", "no-attention"):
        settings = open_run(other / f"units/{name}-seed0").configuration
        assert (settings.fit.frozen.epochs, settings.split.scheme, settings.split.n_folds) == (1, "grouped-kfold", 3)
    content = content_of(other)
    assert content["suite"]["changed"] == {"split.n_folds": 3, "fit.frozen.epochs": 1}
    assert "for all variants with split.n_folds 3; fit.frozen.epochs 1." in (other / "study.html").read_text()
    assert content_of(study)["suite"]["changed"] == {}
    assert "for all variants with" not in (study / "study.html").read_text()


def test_other_settings_in_the_same_folder_are_refused_before_anything_is_done(
    cohort: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = copied(study, tmp_path / "study")
    before = content_of(again)
    assert ablate(cohort, again, SMOKE, "--fit.frozen.epochs", "5") == 1
    assert "fit.frozen.epochs: 4 -> 5" in capsys.readouterr().err
    assert content_of(again) == before


@pytest.fixture
def threads_of_a_worker() -> Iterator[int]:
    """This process computes with as many threads as each of two workers has: another number rounds otherwise."""
    before, own = torch.get_num_threads(), max(1, (os.cpu_count() or 1) // 2)
    torch.set_num_threads(own)
    yield own
    torch.set_num_threads(before)


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the children of a process")
def test_workers_end_with_the_process_that_began_them(cohort: Path, tmp_path: Path) -> None:
    """Killed outright, it can tell them nothing; alone they would go on, here for 2,000 epochs."""
    study, code = tmp_path / "study", "from csasn.cli import main; main()"
    command = ["ablate", "--cohort", str(cohort), "--suite", str(SMOKE), "--out", str(study), "--workers", "2"]
    command += ["--fit.frozen.epochs", "2000", "--fit.patience-epochs", "2000", "--fit.save-every-steps", "1"]
    with subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.DEVNULL) as begun:
        until(lambda: any((study / "units").glob("*/checkpoints")), within_s=120)
        workers = children_of(begun.pid)
        begun.kill()
    assert len(workers) >= 2
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers), within_s=60)
    assert not list((study / "units").glob("*/failure.txt"))


def until(happened: Callable[[], bool], *, within_s: float) -> None:
    last = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < last, f"not within {within_s} s"
        time.sleep(0.1)


@pytest.mark.slow
def test_two_workers_give_the_predictions_of_one_with_as_many_threads(
    cohort: Path, tmp_path: Path, threads_of_a_worker: int
) -> None:
    assert ablate(cohort, tmp_path / "one") == 0
    assert ablate(cohort, tmp_path / "two", SMOKE, "--workers", "2") == 0
    for name in ("full-seed0", "no-attention-seed0"):
        one, other = (tmp_path / each / f"units/{name}/predictions.parquet" for each in ("one", "two"))
        assert one.read_bytes() == other.read_bytes()
