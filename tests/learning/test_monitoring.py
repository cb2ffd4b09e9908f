"""Following a run: the journal, the status, and the curves in TensorBoard and MLflow."""

import json
from pathlib import Path

import pytest

from csasn.errors import BadInputError, StorageError
from csasn.learning.monitoring.journal import Journal, read_journal
from csasn.learning.monitoring.status import RunStatus, _features, _unit_status, lines
from csasn.learning.monitoring.trackers import _imported, track
from csasn.learning.progress import JournaledProgress
from csasn.learning.recovery.lock import LOCK, trainer_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_records_are_appended_and_told(path: Path) -> None:
    told = []
    Journal(path).record("started", model="csasn", fold=0)
    Journal(path, [told.append]).record("step", loss=0.5)
    records = read_journal(path)
    assert [record["event"] for record in records] == ["started", "step"]
    assert told == records[1:]
    assert all(json.loads(line)["time"].endswith("+00:00") for line in path.read_text().splitlines())


def test_a_torn_line_is_passed_over_and_spoils_no_other(path: Path) -> None:
    Journal(path).record("started")
    with path.open("a") as stream:
        stream.write('{"event": "st')
    Journal(path).record("finished")
    assert [record["event"] for record in read_journal(path)] == ["started", "finished"]


def test_what_json_lacks_is_refused_and_a_full_device_is_told(path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Journal(path).record("step", loss=float("nan"))
    assert not path.exists()
    with pytest.raises(StorageError, match="No space left"):
        Journal(Path("/dev/full")).record("step")


def test_status_of_a_unit_by_its_records(tmp_path: Path) -> None:
    started = {"event": "started", "step": 0, "n_steps": 40}
    step = {"event": "step", "step": 10, "n_steps": 40, "stage": "frozen", "epoch": 1, "loss": 0.5}
    step |= {"seconds_a_step": 2.0}
    epoch = {"event": "epoch", "step": 10, "n_steps": 40, "stage": "frozen", "epoch": 1, "tuning_auroc": 0.75}
    nowhere = tmp_path / "none"

    def status(*own: dict[str, object], training: bool = True) -> object:
        return _unit_status("csasn", 0, list(own), nowhere, training=training)

    assert status().state == "waiting"
    running = status(started, step, epoch)
    assert (running.state, running.step, running.n_steps, running.epoch) == ("training", 10, 40, 1)
    assert (running.loss, running.tuning_auroc, running.left_s) == (0.5, 0.75, 60.0)
    killed = status(started, step, training=False)
    assert (killed.state, killed.left_s) == ("stopped", None)
    assert status(started, step, {"event": "stopped"}).state == "stopped"
    assert status(started, step, {"event": "failed"}, training=False).state == "failed"
    resumed = status(started, step, started | {"step": 8})
    assert (resumed.state, resumed.step, resumed.left_s) == ("training", 8, 64.0)
    assert status(started, step, epoch, {"event": "finished"}).state == "training"
    assert status(started, step, epoch, {"event": "finished"}, training=False).state == "stopped"
    nowhere.write_bytes(b"weights")
    assert status(started, step, epoch, {"event": "finished"}).state == "finished"


def test_features_before_the_first_step_are_journaled_now_and_then_and_shown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, clock = [], iter(range(0, 1000, 2))
    monkeypatch.setattr("csasn.learning.progress.time.monotonic", lambda: float(next(clock)))
    progress = JournaledProgress(lambda *given: seen.append(given), Journal(path))
    for done in range(1, 11):
        progress("maps of vit", done, 10)
    records = read_journal(path)
    assert len(seen) == 10
    assert [(each["event"], each["done"], each["total"]) for each in records] == [
        ("features", done, 10) for done in (1, 4, 7, 10)
    ]
    assert _features(records[:2]) == "maps of vit, 4 of 10"
    shown = lines(RunStatus(trainer="process 1", units=[], features=_features(records)))
    assert "Computing frozen features: maps of vit, 10 of 10." in shown
    Journal(path).record("started", model="csasn", fold=0)
    assert _features(read_journal(path)) is None
    assert _features([]) is None


def test_the_lock_file_holds_the_number_of_the_process(tmp_path: Path) -> None:
    with trainer_lock(tmp_path):
        assert (tmp_path / LOCK).read_text().isdigit()


def records() -> list[dict[str, object]]:
    at = {"time": "t", "model": "csasn", "fold": 1, "n_steps": 4}
    return [
        at | {"event": "started", "step": 0},
        at | {"event": "step", "step": 1, "loss": 0.75, "seconds_a_step": 1.0},
        at | {"event": "epoch", "step": 2, "tuning_loss": 0.5, "tuning_auroc": None},
        at | {"event": "step", "step": 3, "loss": 0.25, "seconds_a_step": 1.0},
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard itself
def test_tensorboard_holds_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `track` is not installed")
    (listener,) = track(tmp_path, ("tensorboard",))
    for record in records():
        listener(record)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tracking/tensorboard/csasn-fold1"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss", "tuning_loss"]
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [(1, 0.75), (3, 0.25)]


@pytest.mark.filterwarnings("ignore")  # of mlflow and what it imports
def test_mlflow_holds_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (listener,) = track(tmp_path, ("mlflow",))
    for record in records():
        listener(record)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/tracking/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("csasn").experiment_id])
    assert run.info.run_name == "csasn-fold1"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.75), (3, 0.25)]


def test_a_tracker_that_is_not_installed_is_refused_by_name() -> None:
    with pytest.raises(BadInputError, match=r"install csasn\[track\]"):
        _imported("no_such_package", "tensorboard")
