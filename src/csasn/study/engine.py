"""The local engine: units one after the other in this process, or several at once in processes of this machine."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

import torch

from csasn.errors import StoppedError
from csasn.progress import Log, Progress
from csasn.study.units import Outcome, Trial, do_unit

Done = Callable[[Outcome], None]


class Engine(Protocol):
    """Does every unit somewhere; `done` is told how each ended, in the order of ending."""

    def __call__(self, units: Sequence[Trial], *, done: Done) -> None:
        """Come back when all have ended."""


def run_local(units: Sequence[Trial], *, workers: int, progress: Progress, log: Log, done: Done) -> None:
    """Do every unit; `done` is told how each ended, in the order of ending. One worker is this process.

    A worker that dies (for want of memory, say) fails the units that had not ended; the next call does them. Where this
    process ends, however it does, its workers save what they have and end too.
    """
    if workers == 1:
        for unit in units:
            done(do_unit(unit.run.folder, progress, log))
        return
    n_threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    leash, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(n_threads, leash))
    try:
        futures = {pool.submit(_do_unit, unit.run.folder): unit for unit in units}
        for number, future in enumerate(as_completed(futures), start=1):
            try:
                done(future.result())
            except BrokenProcessPool as error:
                done(Outcome(name=futures[future].name, seconds=0.0, error=f"a worker process died: {error}"))
            progress("units", number, len(units))
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()


_let_go = Event()  # set in a worker once the process that began it holds the leash no more


def _begin(n_threads: int, leash: Connection) -> None:
    """Make a worker ready: its threads, and an end of its own when the process that began it ends."""
    torch.set_num_threads(n_threads)
    Thread(target=_follow, args=(leash,), daemon=True).start()


def _follow(leash: Connection) -> None:
    """Wait until the other end of the leash is closed, by hand or by the kernel; then ask this process to end."""
    try:
        leash.recv()
    except (EOFError, OSError):
        _let_go.set()
        os.kill(os.getpid(), signal.SIGTERM)  # a training saves its state first, anything else is done again


def _do_unit(folder: Path) -> Outcome:
    try:
        return do_unit(folder, unreported, unsaid)
    except StoppedError:
        if _let_go.is_set():
            os._exit(1)  # the state is saved, nobody waits for an answer, and a pool's worker would take its next unit
        raise


def unreported(what: str, done: int, total: int, note: str = "") -> None:
    """A worker draws no bars."""


def unsaid(words: str) -> None:
    """A worker says nothing beside its unit's outcome."""
