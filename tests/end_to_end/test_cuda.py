"""A GPU learns and reads what a CPU does: `pytest -m gpu`, which `make test` leaves out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from csasn.cohort.split import split_run
from csasn.config import FitSettings
from csasn.errors import MemoryShortageError, StoppedError
from csasn.inference.predict import predict_run
from csasn.learning.fit import fit_run
from csasn.learning.profile import profile_run
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.session import takes_bfloat16
from csasn.learning.state import TrainingState
from csasn.phantom.cohort import simulate
from csasn.runs import Run, create_run
from csasn.settings_files import read_configuration
from tests.support.exact_settings import CONFIGURATION
from tests.support.small_unit import start_fabric, train_unit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device to run this on"),
]

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated cohort."""
    folder = tmp_path_factory.mktemp("cuda")
    simulate(folder / "cohort", n_patients=30, n_sites=2, seed=0, workers=1)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    """The same cohort and settings, trained and read by a CPU and by a GPU."""
    found = {}
    for accelerator in ("cpu", "auto"):
        settings = folder / f"{accelerator}.toml"
        settings.write_text(CONFIGURATION.replace("[fit]", f'[fit]\naccelerator = "{accelerator}"'))
        run = create_run(folder / "cohort", folder / accelerator, read_configuration(settings))
        split_run(run)
        fit_run(run, progress=lambda *_: None, log=lambda _: None)
        predict_run(run, progress=lambda *_: None)
        found[accelerator] = run
    return found


def logits(run: Run) -> np.ndarray:
    """Every logit that a run's predictions hold, in the order of model, fold and image."""
    table = pl.read_parquet(run.path("predictions.parquet")).sort("model", "fold", "partition", "image_path")
    return table.select(pl.selectors.starts_with("logit_")).to_numpy()


def test_the_device_is_found_and_written_down(runs: dict[str, Run]) -> None:
    notes = {name: run.record()["stages"]["fit"] for name, run in runs.items()}
    assert {name: each["device"] for name, each in notes.items()} == {"cpu": "cpu", "auto": "cuda:0"}


def test_a_gpu_gives_the_course_of_the_loss_of_a_cpu(runs: dict[str, Run]) -> None:
    cpu, gpu = (pl.read_csv(run.path("history.csv")).to_dicts() for run in runs.values())
    assert [row["stage"] for row in cpu] == [row["stage"] for row in gpu] == ["frozen"] * 3 + ["finetune"] * 2
    for mine, other in zip(cpu, gpu, strict=True):
        for column in ("train_loss", "tuning_loss", "learning_rate"):
            assert other[column] == pytest.approx(mine[column], rel=5e-3), (mine["stage"], column)


def test_what_a_gpu_trained_a_cpu_reads(runs: dict[str, Run]) -> None:
    by_gpu = logits(runs["auto"])
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "csasn", "predict", str(runs["auto"].folder)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    np.testing.assert_allclose(logits(runs["auto"]), by_gpu, atol=5e-3)


def test_bfloat16_is_taken_by_both_branches() -> None:
    device = torch.device("cuda")
    assert [takes_bfloat16(FitSettings(), device, kind=kind) for kind in ("cnn", "vit")] == [True, True]


@pytest.mark.parametrize("cut_at", [5, 12])
def test_a_training_that_was_cut_goes_on_with_the_same_draws(tmp_path: Path, cut_at: int) -> None:
    """To rounding: the kernels that CUDA takes need not add up in the same order, and did not on an H100."""
    fabric = start_fabric("cuda")

    def train(folder: str, *, to: int = 0) -> dict[int, float]:
        losses, stop = {}, StopSignal()

        def on_step(learning: TrainingState, step: int) -> None:
            losses[step] = learning.loss_sum
            stop.requested = step + 1 == to

        train_unit(fabric, tmp_path / folder, on_step, every_steps=0, stop=stop)
        return losses

    uncut = train("uncut")
    with pytest.raises(StoppedError, match=f"after step {cut_at if cut_at <= 9 else cut_at - 9} of stage"):
        train("cut", to=cut_at)
    torch.cuda.manual_seed(1)  # the draws come back from the state, not from what this process did before
    rest = train("cut")
    assert list(rest) == list(range(cut_at + 1, 16))
    assert list(rest.values()) == pytest.approx([uncut[step] for step in rest], rel=1e-3)


def test_a_full_gpu_is_said_and_the_state_is_intact(tmp_path: Path) -> None:
    fabric, seen = start_fabric("cuda"), []

    def starve(_learning: object, step: int) -> None:
        if step == 11:
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1e-6)

    try:
        with pytest.raises(MemoryShortageError, match=r"stage finetune, .*CUDA out of memory.*intact"):
            train_unit(fabric, tmp_path, starve)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    train_unit(fabric, tmp_path, lambda _, step: seen.append(step))
    assert seen == list(range(seen[0], 16))
    assert seen[0] >= 12  # what was allocated before may do for a few more steps


def test_the_profile_waits_for_the_gpu(runs: dict[str, Run]) -> None:
    profiles = profile_run(runs["auto"], progress=lambda *_: None)
    assert [each.stage for each in profiles] == ["frozen", "finetune"]
    assert all(each.device.startswith("cuda") for each in profiles)
    assert all(min(each.seconds.values()) > 0 for each in profiles)


def test_the_whole_job_by_the_command_line(folder: Path) -> None:
    command = [sys.executable, "-m", "csasn", "run", "--cohort", str(folder / "cohort"), "--out", str(folder / "whole")]
    settings = [
        "--config",
        str(CONFIGS / "smoke.toml"),
        "--explain.n-patients",
        "10",
        "--shortcuts.n-permutations",
        "99",
    ]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=True, timeout=900)
    assert not [word for word in ("Tensor Cores", "different devices", "Warning") if word in done.stderr]
    assert (folder / "whole" / "report.html").is_file()
    notes = json.loads((folder / "whole" / "run.json").read_text())["stages"]["fit"]
    assert (notes["device"], sorted(notes["bfloat16"])) == ("cuda:0", ["cnn", "vit"])
