"""Faults 68, 69, 73 to 76, 78 and 81: what a saved state survives, and what it is refused for."""

import errno
import json
import os
import pickle
import resource
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from csasn.errors import BadInputError, CsasnError, MismatchError, StorageError
from csasn.files import file_sha256, read_json, write_json
from csasn.learning.checkpointing import TrainingCheckpointer
from csasn.learning.monitoring.journal import Journal
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.recovery.sigterm import StopSignal
from csasn.network.checkpoint import _notes_sha256, read_checkpoint, require_origin, write_checkpoint
from tests.support.failing_storage import FailingDevice
from tests.support.small_unit import ended, in_child

N_CALLS = 22  # of one save to the device, with two generations there
ORIGIN = {
    "model": "csasn",
    "fold": 0,
    "classes": ["benign", "PTC", "FTC"],
    "n_non_malignant": 1,
    "training_sha256": "c0",
    "manifest_sha256": "m0",
    "split_sha256": "s0",
    "pretrained_sha256": {"cnn": "w0", "vit": "w1"},
}


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((5000,), float(step))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two generations, of steps 1 and 2."""
    generations = Generations(tmp_path / "fold0.training", log=print)
    for step in (1, 2):
        generations.write(step, tensors(step), {"step": step})
    return generations.folder


def newest(folder: Path) -> tuple[int, list[str]]:
    """Step of the state that is read, whose tensors must be those of the step, and what was said."""
    said: list[str] = []
    found = Generations(folder, log=said.append).read()
    assert found is not None
    content, notes, path = found
    assert torch.equal(content["weights"], tensors(notes["step"])["weights"])
    assert path.name == f"step-{notes['step']:010d}.safetensors"
    return notes["step"], said


def failing_save(folder: Path, device: FailingDevice) -> None:
    generations = Generations(folder, log=print)
    generations.read()
    with device.at_work():
        generations.write(3, tensors(3), {"step": 3})


def test_68_and_69_count_every_call_of_a_save(folder: Path) -> None:
    device = FailingDevice(folder)
    failing_save(folder, device)
    assert len(device.log) == N_CALLS
    assert {"open", "write", "close", "fsync", "replace", "unlink"} == set(device.log)
    assert device.log.count("fsync") == 4  # each file, and the folder after each rename
    assert newest(folder) == (3, [])


@pytest.mark.parametrize("killed_at", range(1, N_CALLS + 1))
def test_68_sigkill_at_any_call_of_a_save_leaves_a_state(folder: Path, killed_at: int) -> None:
    device = FailingDevice(folder, fails_at=killed_at, kills=True)
    assert ended(in_child(lambda: failing_save(folder, device))) == -9
    step, said = newest(folder)
    assert step in (2, 3)
    assert said == []
    Generations(folder, log=print).write(4, tensors(4), {"step": 4})
    assert newest(folder) == (4, [])
    assert list(folder.glob(".*")) == []


@pytest.mark.parametrize("fails_at", range(1, N_CALLS + 1))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_69_a_device_that_refuses_any_call_loses_nothing(folder: Path, fails_at: int, number: int) -> None:
    with pytest.raises(StorageError, match=os.strerror(number)):
        failing_save(folder, FailingDevice(folder, fails_at=fails_at, number=number))
    step, said = newest(folder)
    assert step in (2, 3)
    assert said == []
    assert len(Generations(folder, log=print).paths()) >= 2
    assert list(folder.glob(".*")) == [] or fails_at in (10, 20)  # the call that removes it is the one refused


def test_69_a_limit_of_the_kernel_itself_loses_nothing(folder: Path) -> None:
    def save() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(StorageError, match="File too large"):
            Generations(folder, log=print).write(3, tensors(3), {"step": 3})

    assert ended(in_child(save)) == 0
    assert newest(folder) == (2, [])


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.write_bytes(b""), Path.unlink])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_73_the_newest_damaged_is_said_and_the_one_before_loads(folder: Path, damage: object, suffix: str) -> None:
    path = folder / f"step-0000000002{suffix}"
    damage(path)
    step, said = newest(folder)
    assert step == 1
    if damage is Path.unlink and suffix == ".json":  # as a kill before the notes leaves it
        assert said == []
        return
    (words,) = said
    assert "step-0000000002" in words
    assert "Passed over" in words
    Generations(folder, log=print).write(3, tensors(3), {"step": 3})
    assert newest(folder) == (3, [])


def test_73_both_damaged_is_said_twice_and_training_begins_anew(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        flip(path)
    said: list[str] = []
    assert Generations(folder, log=said.append).read() is None
    assert len(said) == 2


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def as_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps(evil))


def as_torch_save(path: Path, evil: Evil) -> None:
    torch.save({"weights": evil}, path)


def as_zip(path: Path, evil: Evil) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(evil))


@pytest.mark.parametrize("disguise", [as_pickle, as_torch_save, as_zip])
@pytest.mark.parametrize("hash_forged", [True, False])
def test_74_a_pickle_is_refused_and_not_run(tmp_path: Path, disguise: object, hash_forged: bool) -> None:
    path, trace = tmp_path / "fold0.safetensors", tmp_path / "it-ran"
    write_checkpoint(path, tensors(1), {"step": 1})
    disguise(path, Evil(trace))
    if hash_forged:
        notes = read_json(path.with_suffix(".json"))
        write_json(path.with_suffix(".json"), notes | {"sha256": file_sha256(path)})
    error, words = (BadInputError, "safetensors file") if hash_forged else (MismatchError, "sha256")
    with pytest.raises(error, match=words):
        read_checkpoint(path)
    assert not trace.exists()


CHANGES = {
    "75-class-list": {"classes": ["benign", "PTC", "FTC", "MTC"]},
    "75-class-order": {"classes": ["benign", "FTC", "PTC"]},
    "75-class-group": {"n_non_malignant": 2},
    "76-configuration": {"training_sha256": "c1"},
    "76-cohort": {"manifest_sha256": "m1"},
    "76-split": {"split_sha256": "s1"},
    "76-pretrained": {"pretrained_sha256": {"cnn": "w0", "vit": "w9"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_75_and_76_a_state_of_something_else_is_refused_naming_both(tmp_path: Path, name: str) -> None:
    generations = Generations(tmp_path / "fold0.training", log=print)
    generations.write(5, tensors(5), ORIGIN | {"state": {}})
    before = sorted((each.name, each.read_bytes()) for each in generations.folder.iterdir())
    ((key, changed),) = CHANGES[name].items()
    with pytest.raises(MismatchError) as caught:
        TrainingCheckpointer(generations, ORIGIN | CHANGES[name], every_steps=1, every_s=0.0, stop=StopSignal())
    for text in (key.replace("_", " "), str(ORIGIN[key]), str(changed), "step-0000000005"):
        assert text in str(caught.value)
    assert before == sorted((each.name, each.read_bytes()) for each in generations.folder.iterdir())


def test_76_a_finished_checkpoint_of_something_else_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "fold0.safetensors"
    write_checkpoint(path, tensors(1), ORIGIN)
    _, notes = read_checkpoint(path)
    require_origin(notes, ORIGIN, path)
    with pytest.raises(MismatchError, match="another manifest sha256"):
        require_origin(notes, ORIGIN | {"manifest_sha256": "m1"}, path)


@pytest.mark.parametrize("times", [(2e9, 1e9), (0.0, 0.0), (1e9, 4e9)], ids=["reversed", "the-epoch", "the-future"])
def test_78_generations_are_ordered_by_step_whatever_their_times(folder: Path, times: tuple[float, float]) -> None:
    for step, at in zip((1, 2), times, strict=True):
        for file in folder.glob(f"step-{step:010d}*"):
            os.utime(file, (at, at))
    assert newest(folder)[0] == 2


def test_78_a_clock_that_jumps_back_while_saving_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generations = Generations(folder, log=print)
    for step, now in ((3, 2e9), (4, 1e9), (10, 0.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        generations.write(step, tensors(step), {"step": step})
    assert newest(folder)[0] == 10
    assert [path.stem for path in generations.paths()] == ["step-0000000010", "step-0000000004"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_81_read_only_output_aborts_before_anything_is_written(tmp_path: Path, number: int) -> None:
    with FailingDevice(tmp_path, fails_at=1, number=number).at_work(), pytest.raises(StorageError, match="Writing"):  # noqa: SIM117
        with trainer_lock(tmp_path):
            pytest.fail("training began")
    assert list(tmp_path.iterdir()) == []


def test_81_a_folder_of_the_kernel_is_refused() -> None:
    with pytest.raises(StorageError), trainer_lock(Path("/proc/self")):
        pytest.fail("training began")


def test_81_a_journal_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with FailingDevice(tmp_path, fails_at=1, number=errno.EROFS).at_work(), pytest.raises(CsasnError):
        journal.record("started")


def test_what_is_written_is_plain_safetensors_and_json(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        assert list(load_file(path)) == ["weights"]
        notes = json.loads(path.with_suffix(".json").read_text())
        assert notes["sha256"] == file_sha256(path)
        assert notes["notes_sha256"] == _notes_sha256({"step": notes["step"]})
