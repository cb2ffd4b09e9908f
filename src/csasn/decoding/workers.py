"""Items are read in worker processes, so that one that crashes or hangs a decoder costs only itself."""

import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from csasn.progress import CountProgress

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S = 10.0
BATCH = 8  # items handed to a worker at once: a pipe's round trip then costs little beside decoding
MEMORY_BYTES = 1 << 30
OPEN_BATCHES = 2  # of one worker: it starts on the second while the answers of the first travel
READ_AHEAD = 64  # batches; bounds what waits for a slow item before it
IDLE = -1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """What stands in the place of an item whose worker died on it (decoder-crashed) or took too long."""

    code: str
    reason: str


def default_workers() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_workers(function: Callable[[T], R]) -> Any:
    """Let the process that workers are forked from import what `function` needs, while the caller goes on.

    Gives the context that they come from. The first function of a program is the one that is imported ahead.
    """
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    forkserver.ensure_running()
    return context


def each_in_workers(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int,
    limit_s: float = LIMIT_S,
    progress: CountProgress | None = None,
) -> Iterator[R | Lost]:
    """`function` of every item, in the items' order, computed in `workers` processes of their own.

    An item on which its process dies, or that takes over `limit_s` seconds, gives Lost, and a new process goes on with
    the others. An exception of `function` is raised here, once every process is stopped. `function` and items must be
    picklable. `progress(done, total)` counts finished items.
    """
    crew = _Crew(function, items, n=min(workers, max(1, len(items))), limit_s=limit_s)
    try:
        for place in range(len(items)):
            while place not in crew.done:
                crew.step(first_wanted=place)
            yield crew.done.pop(place)
            if progress is not None:
                progress(place + 1, len(items))
    finally:
        crew.stop()


@dataclass(kw_only=True, slots=True)
class _Worker:
    process: Any
    pipe: Connection
    at: Any
    """Shared with the process: the number of the item that it is at (IDLE for none), and since when, monotonic s."""
    ready: bool = False
    given: deque[int] = field(default_factory=deque)
    """Numbers of the items that it has not answered, in order."""


class _Crew:
    """The processes, what each of them was given, and what they answered."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any], *, n: int, limit_s: float) -> None:
        self.context = prepare_workers(function)
        self.function, self.items, self.limit_s = function, items, limit_s
        self.unsent = deque(range(len(items)))
        self.done: dict[int, Any] = {}
        self.workers = [self._new() for _ in range(n)]

    def _new(self) -> _Worker:
        here, there = self.context.Pipe()
        at = self.context.RawArray("d", (IDLE, 0.0))
        process = self.context.Process(target=_work, args=(self.function, there, at), daemon=True)
        process.start()
        there.close()
        return _Worker(process=process, pipe=here, at=at)

    def step(self, *, first_wanted: int) -> None:
        """Hand out what is free, then take in one round of answers, deaths and delays."""
        for worker in self.workers:
            self._give(worker, first_wanted)
        for pipe in wait([worker.pipe for worker in self.workers], timeout=0.2):
            self._hear(next(worker for worker in self.workers if worker.pipe is pipe))
        for worker in list(self.workers):
            number, since = worker.at
            if number != IDLE and time.monotonic() - since > self.limit_s:
                self._replace(worker, Lost(code="took-too-long", reason=f"over {self.limit_s:g} s"))

    def _give(self, worker: _Worker, first_wanted: int) -> None:
        while worker.ready and self.unsent and len(worker.given) <= BATCH * (OPEN_BATCHES - 1):
            if self.unsent[0] >= first_wanted + BATCH * READ_AHEAD:
                return
            batch = [self.unsent.popleft() for _ in range(min(BATCH, len(self.unsent)))]
            worker.given.extend(batch)
            try:
                worker.pipe.send([(number, self.items[number]) for number in batch])
            except OSError:  # it died while idle: `_hear` finds its pipe closed
                return

    def _hear(self, worker: _Worker) -> None:
        try:
            answers = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(timeout=5)
            code = worker.process.exitcode
            self._replace(worker, Lost(code="decoder-crashed", reason=f"its process ended with {code}"))
            return
        if answers is None:
            worker.ready = True
            return
        for number, succeeded, value in answers:
            worker.given.remove(number)
            if not succeeded:
                raise value
            self.done[number] = value

    def _replace(self, worker: _Worker, lost: Lost) -> None:
        """A new process for one that is dead or stuck: the item it was at is lost, the others are dealt again."""
        self._end(worker)
        if not worker.ready:
            raise RuntimeError(f"a worker process did not start: {lost.reason}")
        if worker.given:  # one that died between two items loses the next one, or it might die there for ever
            number = int(worker.at[0]) if worker.at[0] != IDLE else worker.given[0]
            self.done[number] = lost
            worker.given.remove(number)
        self.unsent.extendleft(reversed(worker.given))
        self.workers[self.workers.index(worker)] = self._new()

    def _end(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()

    def stop(self) -> None:
        """End every process."""
        for worker in self.workers:
            self._end(worker)


def _work(function: Callable[[Any], Any], pipe: Connection, at: Any) -> None:
    """Answer batches until the pipe closes. Native decoders print to standard error: here it leads nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    _limit_memory()
    pipe.send(None)
    while True:
        try:
            batch = pipe.recv()
        except (EOFError, OSError):
            return
        answers = []
        for number, item in batch:
            at[1] = time.monotonic()
            at[0] = number
            answers.append((number, *_answer(function, item)))
        at[0] = IDLE
        pipe.send(answers)


def _answer(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """Whether the function succeeded on an item, and what it gave or raised."""
    try:
        return True, function(item)
    except MemoryError:
        return True, Lost(code="too-much-memory", reason=f"over {MEMORY_BYTES >> 20} MiB")
    except Exception as error:
        error.add_note("In a worker process:\n" + traceback.format_exc())
        return False, error


def _limit_memory() -> None:
    """An item gets MEMORY_BYTES beyond what the fresh process has mapped; only Linux says how much that is."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - no file but a kernel table
            mapped = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, mapped + MEMORY_BYTES))
