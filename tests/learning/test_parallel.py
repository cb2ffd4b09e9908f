"""Two processes that share every batch learn what one process learns, and only the first of them writes."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

from csasn.cohort.split import split_run
from csasn.learning.fit import fit_run
from csasn.phantom.cohort import simulate
from csasn.runs import create_run
from csasn.settings_files import read_configuration
from tests.support.exact_settings import CONFIGURATION

PARTS = "[loss]\nsite_adversary = 1.0\n\n[fit]\naccumulate = 2"


KINDS = {"whole steps": ("[fit]", "ddp"), "parts and a site head": (PARTS, "ddp"), "blocks in parts": (PARTS, "fsdp")}


@pytest.fixture(scope="module", params=list(KINDS))
def runs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Path]:
    """The same cohort and settings, trained by this process and by two that the command line starts."""
    folder = tmp_path_factory.mktemp("parallel")
    settings, strategy = KINDS[request.param]
    (folder / "tiny.toml").write_text(CONFIGURATION.replace("[fit]", settings))
    simulate(folder / "cohort", n_patients=30, n_sites=2, seed=0, workers=1)
    runs = [
        create_run(folder / "cohort", folder / name, read_configuration(folder / "tiny.toml"))
        for name in ("one", "two")
    ]
    for run in runs:
        split_run(run)
    fit_run(runs[0], progress=lambda *_: None, log=lambda _: None)
    command = [sys.executable, "-m", "csasn", "fit", str(runs[1].folder), "--devices", "2", "--strategy", strategy]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Wrote the fit") == 1
    return {run.folder.name: run.folder for run in runs}


def test_two_processes_give_the_same_course_of_the_loss(runs: dict[str, Path]) -> None:
    one, two = (pl.read_csv(runs[name] / "history.csv").to_dicts() for name in ("one", "two"))
    assert [row["stage"] for row in one] == [row["stage"] for row in two] == ["frozen"] * 3 + ["finetune"] * 2
    for mine, other in zip(one, two, strict=True):
        for column in ("train_loss", "tuning_loss", "tuning_auroc", "learning_rate"):
            assert other[column] == pytest.approx(mine[column], rel=2e-3), (mine["stage"], column)


def test_two_processes_give_the_same_weights(runs: dict[str, Path]) -> None:
    one, two = (load_file(runs[name] / "checkpoints/csasn/fold0.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    gap = sum(float((two[name].float() - one[name].float()).square().sum()) for name in one) ** 0.5
    assert gap < 1e-3 * sum(float(each.float().square().sum()) for each in one.values()) ** 0.5


def test_only_the_first_process_writes_the_journal(runs: dict[str, Path]) -> None:
    events = [pl.read_ndjson(runs[name] / "journal.jsonl")["event"].to_list() for name in ("one", "two")]
    assert [each.count("finished") for each in events] == [2, 2]
    assert [each.count("epoch") for each in events] == [5, 5]
