"""Two processes that share every batch learn what one process learns, and only the first of them writes."""

import csv
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file

CONFIGURATION = """
[split]
scheme = "holdout"

[imaging]
size_px = 64

[network]
cnn = "test_efficientnet"
cnn_channels = 256
vit = "test_vit"
vit_channels = 64
classifier_channels = 16
feature_dropout = 0.0
dropout = 0.0

[fit]
weights = "none"
precision = "float32"
cached_views = 2
frozen_epochs = 3
finetune_epochs = 2
finetune_drop_path = 0.0
finetune_learning_rate = 1e-3
batch_size = 10
rivals = ["vit-logistic-regression"]

[predict]
n_views = 2
"""


def succeed(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "csasn", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same cohort and settings, trained by one process and by two."""
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "tiny.toml").write_text(CONFIGURATION)
    succeed("simulate", "--out", folder / "cohort", "--patients", 30, "--sites", 2, "--workers", 1)
    found = {}
    for name, devices in (("one", 1), ("two", 2)):
        found[name] = folder / name
        succeed("split", "--cohort", folder / "cohort", "--config", folder / "tiny.toml", "--out", found[name])
        out = succeed("fit", found[name], "--devices", devices)
        assert out.count("Wrote the fit") == 1
    return found


def test_two_processes_give_the_same_course_of_the_loss(runs: dict[str, Path]) -> None:
    one, two = (list(csv.DictReader((runs[name] / "history.csv").open())) for name in ("one", "two"))
    assert [row["stage"] for row in one] == [row["stage"] for row in two] == ["frozen"] * 3 + ["finetune"] * 2
    for mine, other in zip(one, two, strict=True):
        for column in ("train_loss", "tuning_loss", "tuning_auroc", "learning_rate"):
            assert float(other[column]) == pytest.approx(float(mine[column]), rel=2e-3), (mine["stage"], column)


def test_two_processes_give_the_same_weights(runs: dict[str, Path]) -> None:
    one, two = (load_file(runs[name] / "checkpoints/csasn/fold0.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    gap = sum(float((two[name].float() - one[name].float()).square().sum()) for name in one) ** 0.5
    assert gap < 1e-3 * sum(float(each.float().square().sum()) for each in one.values()) ** 0.5


def test_only_the_first_process_writes_the_journal(runs: dict[str, Path]) -> None:
    events = [pl.read_ndjson(runs[name] / "journal.jsonl")["event"].to_list() for name in ("one", "two")]
    assert [each.count("finished") for each in events] == [2, 2]
    assert [each.count("epoch") for each in events] == [5, 5]
