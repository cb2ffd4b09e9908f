"""Training curves in TensorBoard or MLflow, beside the journal; both come with the extra `track`."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from csasn.config import Tracker
from csasn.errors import BadInputError
from csasn.learning.monitoring.journal import Record

FOLDER = "tracking"
CURVES = {"step": ("loss",), "epoch": ("train_loss", "tuning_loss", "tuning_auroc", "learning_rate", "images_per_s")}


class Curves(Protocol):
    """One figure of one unit at one step."""

    def __call__(self, unit: str, name: str, value: float, step: int) -> object:
        """Add it to the curve."""


def track(folder: Path, trackers: tuple[Tracker, ...]) -> list[Callable[[Record], None]]:
    """A listener of the journal a tracker; each writes numbers below the run folder's `tracking/` and nothing else.

    Raises BadInputError where a tracker's package is not installed.
    """
    return [_listener(TRACKERS[name](folder / FOLDER / name)) for name in trackers]


def _listener(curves: Curves) -> Callable[[Record], None]:
    def listen(record: Record) -> None:
        for name in CURVES.get(str(record["event"]), ()):
            value = record.get(name)
            if isinstance(value, float) and isinstance(record["step"], int):
                curves(f"{record['model']}-fold{record['fold']}", name, value, record["step"])

    return listen


class TensorBoard:
    """Event files, a folder a unit: `tensorboard --logdir RUN/tracking/tensorboard`."""

    def __init__(self, folder: Path) -> None:
        self._module = _imported("torch.utils.tensorboard", "tensorboard")
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def __call__(self, unit: str, name: str, value: float, step: int) -> None:
        """Add it and flush; what a cut training wrote beyond its last saved step is hidden when it goes on."""
        if unit not in self._writers:
            self._writers[unit] = self._module.SummaryWriter(str(self._folder / unit), purge_step=step)
        self._writers[unit].add_scalar(name, value, step)
        self._writers[unit].flush()


class MLflow:
    """An MLflow run a unit, in `mlflow.db` of the run folder or on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path) -> None:
        mlflow = _imported("mlflow", "mlflow")
        if not mlflow.environment_variables.MLFLOW_TRACKING_URI.get():
            folder.mkdir(parents=True, exist_ok=True)
            self._client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        else:
            self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name("csasn")
        self._experiment = found.experiment_id if found else self._client.create_experiment("csasn")
        self._runs: dict[str, str] = {}

    def __call__(self, unit: str, name: str, value: float, step: int) -> None:
        """Add it to the unit's run, which begins with its first figure."""
        if unit not in self._runs:
            self._runs[unit] = self._client.create_run(self._experiment, run_name=unit).info.run_id
        self._client.log_metric(self._runs[unit], name, value, step=step)


TRACKERS: dict[Tracker, Callable[[Path], Curves]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def _imported(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise BadInputError(
            f"--fit.track {package} needs the package {package} ({error}): install csasn[track], or leave it out."
        ) from error
