"""The local engine: units one after the other in this process, or several at once in processes of this machine."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import torch

from csasn.learning.following import Report
from csasn.study.units import Outcome, StudyUnit, do_unit

Say = Callable[[str], None]
Done = Callable[[Outcome], None]


class Engine(Protocol):
    """Does every unit somewhere; `done` is told how each ended, in the order of ending."""

    def __call__(self, units: Sequence[StudyUnit], *, done: Done) -> None:
        """Come back when all have ended."""


def run_local(units: Sequence[StudyUnit], *, workers: int, report: Report, say: Say, done: Done) -> None:
    """Do every unit; `done` is told how each ended, in the order of ending. One worker is this process.

    A worker that dies (for want of memory, say) fails the units that had not ended; the next call does them.
    """
    if workers == 1:
        for unit in units:
            done(do_unit(unit.run.folder, report, say))
        return
    n_threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(n_threads,)
    ) as pool:
        futures = {pool.submit(do_unit, unit.run.folder, unreported, unsaid): unit for unit in units}
        for number, future in enumerate(as_completed(futures), start=1):
            try:
                done(future.result())
            except BrokenProcessPool as error:
                done(Outcome(name=futures[future].name, seconds=0.0, error=f"a worker process died: {error}"))
            report("units", number, len(units))


def unreported(what: str, done: int, total: int, note: str = "") -> None:
    """A worker draws no bars."""


def unsaid(words: str) -> None:
    """A worker says nothing beside its unit's outcome."""
