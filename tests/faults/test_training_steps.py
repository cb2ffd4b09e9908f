"""Faults 70 to 72, 77, 79 and 80, and a picture that rots after ingest: what happens between two saved states."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from csasn.cohort.split import split_run
from csasn.config import (
    AugmentationSettings,
    Configuration,
    FinetuneSettings,
    FitSettings,
    FrozenSettings,
    ImagingSettings,
    LossSettings,
    NetworkSettings,
    PredictSettings,
    SplitSettings,
)
from csasn.errors import BadInputError, CsasnError, DivergedError, LockedError, MemoryShortageError, StoppedError
from csasn.learning.fit import fit_run
from csasn.learning.monitoring.journal import JOURNAL, read_journal
from csasn.learning.monitoring.status import status_of
from csasn.learning.objective.labels import Labels
from csasn.learning.objective.losses import MultitaskLoss
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.lock import LOCK, trainer_lock, trainer_of
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.sampling import batches
from csasn.network.csasn import Output
from csasn.phantom.cohort import simulate
from csasn.runs import Run, create_run
from tests.support.small_training import CLASSES
from tests.support.small_unit import ended, in_child, kill, start_fabric, train_unit

SMALL = Configuration(
    split=SplitSettings(n_folds=2),
    imaging=ImagingSettings(size_px=64),
    augmentation=AugmentationSettings(),
    network=NetworkSettings(
        cnn="test_efficientnet", cnn_channels=256, vit="test_vit", vit_channels=64, classifier_channels=16
    ),
    fit=FitSettings(
        weights="none",
        cached_views=2,
        frozen=FrozenSettings(epochs=2),
        finetune=FinetuneSettings(epochs=1),
        baselines=(),
        batch_size=16,
        save_every_steps=1,
    ),
    predict=PredictSettings(n_views=2),
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    simulate(folder, n_patients=40, n_sites=2, seed=1)
    return folder


@pytest.fixture
def run(cohort: Path, tmp_path: Path) -> Run:
    made = create_run(cohort, tmp_path / "run", SMALL)
    split_run(made)
    return made


def fit(run: Run, said: list[str] | None = None) -> None:
    fit_run(run, progress=lambda *_: None, log=(said if said is not None else []).append)


def steps_saved(folder: Path) -> list[str]:
    return [path.stem for path in Generations(folder, log=print).paths()]


def test_70_a_loss_that_is_not_finite_names_fold_epoch_batch_and_images(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = MultitaskLoss.forward, []

    def spoiled(self: MultitaskLoss, output: Output, labels: Labels, *others: object) -> torch.Tensor:
        calls.append(len(labels.class_index))
        loss = real(self, output, labels, *others)
        return loss * math.nan if len(calls) > 2 else loss

    monkeypatch.setattr(MultitaskLoss, "forward", spoiled)
    monkeypatch.setattr("csasn.learning.epochs.draw_mixup", lambda *_: None)
    with pytest.raises(DivergedError, match=r"fold 0, stage frozen, epoch \d, batch \d gave nan") as caught:
        fit(run)
    batch = run.manifest()["image_path"].gather(list(caught.value.rows)).to_list()
    assert len(batch) == calls[-1]
    assert all(path in str(caught.value) for path in batch)
    assert steps_saved(run.path("checkpoints/csasn/fold0.training")) == ["step-0000000002", "step-0000000001"]
    journal = run.path(JOURNAL).read_text()
    assert read_journal(run.path(JOURNAL))[-1]["rows"] == list(caught.value.rows)
    assert not any(path in journal for path in batch)
    assert [unit.state for unit in status_of(run).units] == ["failed", "waiting"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_70_weights_that_are_not_finite_are_never_saved(tmp_path: Path, value: float) -> None:
    def spoil(learning: object, step: int) -> None:
        if step == 4:
            next(learning.learner.parameters()).data.view(-1)[0] = value

    with pytest.raises(DivergedError):
        train_unit(start_fabric(), tmp_path, spoil)
    assert steps_saved(tmp_path) == ["step-0000000004", "step-0000000003"]
    content, _, _ = Generations(tmp_path, log=print).read()
    assert all(bool(each.isfinite().all()) for each in content.values())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("index", [[0, 0, 0], [1, 1, 2], [-1, -1, -1], [2], [0]])
@pytest.mark.parametrize("classes", ["dynamic", "effective-number", "none"])
def test_71_a_class_absent_from_a_batch_gives_a_finite_loss(flat: bool, index: list[int], classes: str) -> None:
    loss = MultitaskLoss(CLASSES, [5, 3, 2], flat=flat, settings=LossSettings(classes=classes))
    loss.train()
    logits = torch.zeros(len(index), 3, requires_grad=True)
    nothing = torch.zeros(0)
    output = Output(
        logits=logits.log_softmax(dim=1),
        malignancy=logits.sum(dim=1),
        fused_map=nothing,
        channel_gate=None,
        spatial_gate=None,
        embedding=nothing,
        energy=nothing,
        features={},
    )
    found = loss(output, Labels.plain(torch.tensor(index), torch.tensor([each != 0 for each in index])))
    found.backward()
    assert bool(torch.isfinite(found))
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("n", [2, 17, 33, 49, 65])
def test_71_no_batch_has_one_row(n: int) -> None:
    sizes = [len(batch) for batch in batches(np.arange(n), 16)]
    assert sum(sizes) == n
    assert min(sizes) > 1


def demanding(*_: object, **__: object) -> torch.Tensor:
    return torch.empty(2**50)  # a real refusal of torch's own allocator


@pytest.mark.parametrize(
    "error", [None, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")], ids=["cpu", "python", "cuda"]
)
def test_72_out_of_memory_is_said_and_the_state_is_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def starve(_learning: object, step: int) -> None:
        if step == 5:
            raising = demanding if error is None else lambda *_, **__: (_ for _ in ()).throw(error)
            monkeypatch.setattr("csasn.learning.training.batch_inputs", raising)

    with pytest.raises(MemoryShortageError, match=r"epoch 1, batch 2 .*intact.*batch-size"):
        train_unit(start_fabric(), tmp_path, starve)
    monkeypatch.undo()
    assert steps_saved(tmp_path) == ["step-0000000005", "step-0000000004"]
    seen: list[int] = []
    train_unit(start_fabric(), tmp_path, lambda _, step: seen.append(step))
    assert seen == list(range(6, 16))


def test_72_other_errors_keep_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("csasn.learning.training.batch_inputs", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train_unit(start_fabric(), tmp_path, lambda *_: None)


def test_77_training_has_no_loader_process_that_could_be_killed(tmp_path: Path) -> None:
    """Rows come from a memory map in the training process itself, in both stages."""
    children: list[set[str]] = []

    def look(*_: object) -> None:
        found = [(task / "children").read_text().split() for task in Path("/proc/self/task").iterdir()]
        children.append({child for of_task in found for child in of_task})

    look()  # what other tests of this process have left running
    train_unit(start_fabric(), tmp_path, look)
    assert len(children) >= 15
    assert all(found <= children[0] for found in children)


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3])
def test_77_a_trainer_that_is_killed_is_noticed_at_once(run: Run, after_s: float) -> None:
    child = in_child(lambda: hold(run.folder))
    while trainer_of(run.folder) is None:
        time.sleep(0.01)
    assert str(child) in trainer_of(run.folder)
    time.sleep(after_s)
    started = time.monotonic()
    assert kill(child) == -9
    assert trainer_of(run.folder) is None
    assert time.monotonic() - started < 60


def hold(folder: Path) -> None:
    with trainer_lock(folder):
        time.sleep(600)


def test_80_a_second_trainer_is_refused_by_name(run: Run) -> None:
    child = in_child(lambda: hold(run.folder))
    while trainer_of(run.folder) is None:
        time.sleep(0.01)
    with pytest.raises(LockedError, match=f"process {child} is training"):
        fit(run)
    kill(child)
    assert not run.path("checkpoints").exists()


def test_80_a_lock_left_by_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("1")  # a process that lives, but does not train
    with trainer_lock(tmp_path):
        assert trainer_of(tmp_path) == f"process {os.getpid()}"
        with pytest.raises(LockedError), trainer_lock(tmp_path):
            pytest.fail("two trainers")
    assert trainer_of(tmp_path) is None
    with trainer_lock(tmp_path):
        pass


def test_80_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), trainer_lock(tmp_path):
        _ = 1 / 0
    assert trainer_of(tmp_path) is None


def test_79_sigterm_between_steps_waits_for_the_step() -> None:
    with StopSignal() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
        assert stop.requested
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_79_sigterm_elsewhere_ends_at_once() -> None:
    with pytest.raises(StoppedError, match="Stopped by SIGTERM"), StopSignal():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
def test_79_sigterm_saves_exits_143_and_fit_ends_as_if_nothing_had_happened(cohort: Path, tmp_path: Path) -> None:
    """Two runs through the command line, one stopped once it has trained a step; the checkpoints are equal."""
    runs = []
    for name in ("uncut", "stopped"):
        runs.append(create_run(cohort, tmp_path / name, SMALL))
        split_run(runs[-1])
    fit(runs[0])
    command = [sys.executable, "-m", "csasn", "fit", str(runs[1].folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not any(each["event"] == "saved" for each in read_journal(runs[1].path(JOURNAL))):
        time.sleep(0.01)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert re.search(r"Stopped by SIGTERM after step \d+ of stage (frozen|finetune); the state was saved", told)
    stopped = [each for each in status_of(runs[1]).units if each.state == "stopped"]
    assert len(stopped) == 1
    assert status_of(runs[1]).trainer is None
    fit(runs[1])
    assert [unit.state for unit in status_of(runs[1]).units] == ["finished", "finished"]
    first, second = (json.loads(each.path("checkpoints/index.json").read_text()) for each in runs)
    assert first == second
    assert not list(runs[1].folder.glob("checkpoints/**/*.training"))


def test_a_damaged_checkpoint_is_said_and_trained_again_to_the_same_bits(run: Run) -> None:
    fit(run)
    index = json.loads(run.path("checkpoints/index.json").read_text())
    path = run.path("checkpoints/csasn/fold1.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said: list[str] = []
    fit(run, said)
    assert len(said) == 1
    assert "fold1.safetensors were changed" in said[0]
    assert "trained again" in said[0]
    assert json.loads(run.path("checkpoints/index.json").read_text()) == index


@pytest.mark.parametrize("damage", ["flip", "truncate", "swap"])
def test_an_image_that_rots_after_ingest_trains_nothing(cohort: Path, tmp_path: Path, damage: str) -> None:
    """A byte flipped, the end cut off, or another picture in its place: named by path and hash, before any training."""
    own = tmp_path / "cohort"
    subprocess.run(["cp", "-r", str(cohort), str(own)], check=True)
    run = create_run(own, tmp_path / "run", SMALL)
    split_run(run)
    first, second = sorted((own / "images").rglob("*.png"))[:2]
    content = bytearray(first.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    first.write_bytes({"flip": content, "truncate": content[:-40], "swap": second.read_bytes()}[damage])
    with pytest.raises(BadInputError, match="changed since ingest") as caught:
        fit(run)
    assert first.name in str(caught.value)
    assert not run.path("checkpoints").exists()
    assert not [each for each in read_journal(run.path(JOURNAL)) if each["event"] == "started"]


def test_every_error_of_training_is_the_users_to_read() -> None:
    assert all(issubclass(each, CsasnError) for each in (DivergedError, LockedError, MemoryShortageError, StoppedError))
    assert ended(in_child(lambda: None)) == 0
