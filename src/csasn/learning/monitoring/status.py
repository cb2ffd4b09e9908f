"""Where a run's training stands, from its files alone: no model is opened and nothing is locked."""

from dataclasses import dataclass
from pathlib import Path

from csasn.learning.monitoring.journal import JOURNAL, Record, read_journal
from csasn.learning.recovery.lock import trainer_of
from csasn.runs import Run, checkpoint_path, models_of


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitStatus:
    """One model on one fold; what is not known yet is None. `left_s`: seconds to go at the pace so far."""

    model: str
    fold: int
    state: str
    step: int | None = None
    n_steps: int | None = None
    stage: str | None = None
    epoch: int | None = None
    loss: float | None = None
    tuning_auroc: float | None = None
    left_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """The process that trains here now, if one does, and every unit in the order of training.

    `features`: how far the frozen features are while they are computed, before any step; None afterwards.
    """

    trainer: str | None
    units: list[UnitStatus]
    features: str | None = None


def status_of(run: Run) -> RunStatus:
    """Whether somebody trains, and how far each unit is: waiting, training, stopped, failed or finished."""
    trainer = trainer_of(run.folder)
    records = read_journal(run.path(JOURNAL))
    folds = sorted(run.split()["fold"].unique().to_list())
    units = []
    for model in models_of(run):
        for fold in folds:
            own = [each for each in records if (each.get("model"), each.get("fold")) == (model, fold)]
            units.append(
                _unit_status(model, fold, own, checkpoint_path(run, model, fold), training=trainer is not None)
            )
    return RunStatus(trainer=trainer, units=units, features=None if trainer is None else _features(records))


def _features(records: list[Record]) -> str | None:
    """What is being computed before the first step, and how far it is."""
    last = records[-1] if records else {}
    if last.get("event") != "features":
        return None
    return f"{last['what']}, {last['done']} of {last['total']}"


def _unit_status(model: str, fold: int, own: list[Record], checkpoint: Path, *, training: bool) -> UnitStatus:
    if not own:
        return UnitStatus(model=model, fold=fold, state="finished" if checkpoint.is_file() else "waiting")
    state = str(own[-1]["event"])
    written = state != "finished" or checkpoint.is_file()  # the journal says so before the checkpoint stands
    if not written or state not in ("finished", "failed", "stopped"):  # it may have been killed
        state = "training" if training else "stopped"
    at: Record = {}
    for record in own:  # what came last counts, and after a resume the steps before it are trained again
        at |= {name: each for name, each in record.items() if name != "event"}
    step, n_steps, pace = at.get("step"), at.get("n_steps"), at.get("seconds_a_step")
    left_s = None
    if state == "training" and isinstance(step, int) and isinstance(n_steps, int) and isinstance(pace, float):
        left_s = (n_steps - step) * pace
    found = {name: at.get(name) for name in ("step", "n_steps", "stage", "epoch", "loss", "tuning_auroc")}
    return UnitStatus(model=model, fold=fold, state=state, left_s=left_s, **found)  # type: ignore[arg-type]


def lines(status: RunStatus) -> list[str]:
    """The status as text, a unit a line."""
    rows = [("model", "fold", "state", "step", "stage", "epoch", "loss", "tuning AUROC", "time left")]
    for unit in status.units:
        step = "-" if unit.step is None else f"{unit.step}/{unit.n_steps or '?'}"
        numbers = ("-" if each is None else f"{each:.3f}" for each in (unit.loss, unit.tuning_auroc))
        epoch = "-" if unit.epoch is None else str(unit.epoch)
        row = (unit.model, str(unit.fold), unit.state, step, unit.stage or "-", epoch, *numbers, _clock(unit.left_s))
        rows.append(row)  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    before = [f"Computing frozen features: {status.features}."] if status.features is not None else []
    return [*table, "", *before, f"Training now: {status.trainer or 'nobody'}."]


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
