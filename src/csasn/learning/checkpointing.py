"""When the state of a training is written, from where it goes on, and what is never written."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from csasn.errors import DivergedError, StoppedError
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.pytree import flatten, unflatten
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.state import HistoryRow, TrainingState
from csasn.network.checkpoint import require_origin
from csasn.network.distributed import all_reduce_sum, rank


class TrainingCheckpointer:
    """Writes one unit's training state every so many steps and seconds, and when the process is asked to end."""

    def __init__(
        self,
        generations: Generations,
        origin: dict[str, object],
        *,
        every_steps: int,
        every_s: float,
        stop: StopSignal,
        told: Callable[[int], object] = lambda _: None,
    ) -> None:
        """`origin`: what the state belongs to; `every_steps`, `every_s`: 0 for never; `told`: of each step saved.

        Raises MismatchError, naming both, where a saved state belongs to something else.
        """
        self.earlier: list[HistoryRow] = []  # of the stages before the one that is saved
        self.steps_before = 0
        self._generations, self._origin, self._stop = generations, origin, stop
        self._every_steps, self._every_s = every_steps, every_s
        self._written_at = time.monotonic()
        self._told = told
        self._saved: dict[str, Any] | None = None
        if (found := generations.read()) is not None:
            tensors, notes, path = found
            require_origin(notes, origin, path)
            saved = unflatten(tensors, notes["state"])
            self.earlier, self.steps_before, self._saved = saved["earlier"], saved["steps_before"], saved

    @property
    def saved_step(self) -> int | None:
        """The step that training goes on from, counted through all stages; None where it begins or has gone on."""
        return None if self._saved is None else self._saved["steps_before"] + self._saved["step"]

    def is_past(self, stage: str) -> bool:
        """Whether the saved state is of a later stage than this one; stages are asked for in their order."""
        return self._saved is not None and self._saved["stage"] != stage

    def restore(self, state: TrainingState) -> bool:
        """Go on from the saved state where there is one of this stage."""
        if self._saved is None:
            return False
        state.load(self._saved)
        self._saved = None
        return True

    def stage_over(self, history: list[HistoryRow], n_steps: int) -> None:
        """The next stage begins: remember the history of this one, and count on from its planned steps."""
        self.earlier = [*self.earlier, *history]
        self.steps_before += n_steps

    def after_step(self, state: TrainingState, rows: NDArray[np.int64]) -> bool:
        """Write the state if it is due; `rows` are the step's, to be named where the weights are spoiled.

        Raises StoppedError after writing where the process was asked to end, StorageError where the device refuses,
        DivergedError where the state is not finite; what was written before is kept.
        """
        due = (self._every_steps > 0 and state.step % self._every_steps == 0) or (
            self._every_s > 0 and time.monotonic() - self._written_at >= self._every_s
        )
        # Together, because a state that is kept in parts is gathered by all processes, whose clocks differ.
        asked = all_reduce_sum(torch.tensor([int(due), int(self._stop.requested)], device=state.device)) > 0
        due, stopped = asked.tolist()
        if not due and not stopped:
            return False
        self._write(state, rows)
        if stopped:
            raise StoppedError(
                f"Stopped by SIGTERM after step {state.step} of stage {state.stage.name}; the state was saved. "
                "Run the same command again to go on from there."
            )
        return True

    def finished(self) -> None:
        """Remove the saved states: the unit's checkpoint has taken their place."""
        self._generations.remove()

    def _write(self, state: TrainingState, rows: NDArray[np.int64]) -> None:
        of_unit = {"earlier": self.earlier, "steps_before": self.steps_before}
        tensors, plain = flatten(state.tree() | of_unit)
        if spoiled := sorted(
            name for name, each in tensors.items() if each.is_floating_point() and not bool(each.isfinite().all())
        ):
            raise DivergedError(
                f"Weights must stay finite; after step {state.step} of stage {state.stage.name} these are not: "
                f"{', '.join(spoiled[:5])}{' ...' if len(spoiled) > 5 else ''}. This state was not saved; the one "
                "before it is kept. Lower --fit.frozen.learning-rate or --fit.finetune.learning-rate in a new run.",
                rows=rows.tolist(),
            )
        step = self.steps_before + state.step
        if rank() == 0:
            self._generations.write(step, tensors, self._origin | {"state": plain})
            self._told(step)
        self._written_at = time.monotonic()
