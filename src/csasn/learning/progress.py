"""How a unit's training goes, told to the bar and to the journal."""

import time

from csasn.errors import StoppedError
from csasn.learning.monitoring.journal import Journal
from csasn.learning.state import TrainingState
from csasn.progress import Progress

EVERY_S = 5.0  # between two records of a step; epochs are always recorded


class JournaledProgress:
    """Progress of what comes before the first step, told on and written into the journal for `csasn status`."""

    def __init__(self, progress: Progress, journal: Journal) -> None:
        self._progress, self._journal = progress, journal
        self._written_at = -EVERY_S

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Tell it on; the journal has it at most every few seconds, and where it is done."""
        self._progress(what, done, total, note)
        now = time.monotonic()
        if done == total or now - self._written_at >= EVERY_S:
            self._written_at = now
            self._journal.record("features", what=what, done=done, total=total)


class ProgressReporter:
    """Follows one model on one fold; steps are counted through all of its stages."""

    def __init__(self, progress: Progress, journal: Journal, *, what: str, model: str, fold: int, n_steps: int) -> None:
        """`what`: the bar's text; `n_steps`: all planned steps of the unit."""
        self._report, self._journal, self._what, self._n_steps = progress, journal, what, n_steps
        self._unit: dict[str, int | str] = {"model": model, "fold": fold}
        self._started_at = self._told_at = time.monotonic()
        self._n_followed = 0

    def started(self, step: int) -> None:
        """Training begins, or goes on, after so many steps."""
        self._started_at = time.monotonic()
        self._journal.record("started", **self._unit, step=step, n_steps=self._n_steps)

    def step(self, state: TrainingState, n_steps: int, loss: float, *, steps_before: int) -> None:
        """One step of a stage of `n_steps` is done; `steps_before`: those of the earlier stages."""
        self._n_followed += 1
        step, history, now = steps_before + state.step, state.history, time.monotonic()
        epoch_over = state.step * state.stage.n_epochs == len(history) * n_steps
        auroc = history[-1]["tuning_auroc"] if history else None
        words = f"loss {loss:.3f}" + ("" if auroc is None else f", tuning AUROC {auroc:.3f}")
        self._report(self._what, step, self._n_steps, words)
        if not epoch_over and now - self._told_at < EVERY_S:
            return
        self._told_at = now
        at = self._unit | {"step": step, "n_steps": self._n_steps}
        self._journal.record(
            "step",
            **at,
            stage=state.stage.name,
            epoch=len(history) - 1 if epoch_over else len(history),
            loss=loss,
            seconds_a_step=(now - self._started_at) / self._n_followed,
        )
        if epoch_over:
            self._journal.record("epoch", **at, **{name: each for name, each in history[-1].items() if name != "fold"})

    def saved(self, step: int) -> None:
        """The state after this step is on disk."""
        self._journal.record("saved", **self._unit, step=step)

    def finished(self) -> None:
        """The unit's checkpoint is on disk."""
        self._report(self._what, self._n_steps, self._n_steps)
        self._journal.record("finished", **self._unit)

    def failed(self, error: Exception, *, rows: tuple[int, ...] = ()) -> None:
        """Training ended before its end; `rows`: manifest rows, never their names."""
        event = "stopped" if isinstance(error, StoppedError) else "failed"
        self._journal.record(event, **self._unit, error=type(error).__name__, rows=list(rows))
