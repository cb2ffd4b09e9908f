"""Progress bars with the time left, on standard error."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

PLAIN_EVERY_S = 30.0


class Bars:
    """Progress bars with the time left, on standard error; a part that takes no time shows none.

    Where standard error is no terminal, plain lines instead: one at the start and the end of each part, and at most one
    every PLAIN_EVERY_S seconds between them.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._plain = not self._progress.console.is_terminal
        self._written: dict[str, tuple[float, int]] = {}  # by part: when its last line was written, and how far it was

    def __enter__(self) -> Self:
        """Ready to draw; nothing is drawn before the first report."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop drawing, whatever happened."""
        if self._tasks:
            self._progress.stop()

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Part `what` has done so many of its total; `note` says how well."""
        if self._plain:
            self._plain_line(what, done, total, note)
            return
        if not self._tasks:
            self._progress.start()
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, note="")
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)

    def _plain_line(self, what: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if what in self._written:
            last, at = self._written[what]
            if done == at or (done < total and now - last < PLAIN_EVERY_S):
                return
        self._written[what] = (now, done)
        print(f"{what} {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    def log(self, words: str) -> None:
        """Something to be read, on standard error, above the bars."""
        self._progress.console.print(f"csasn: {words}", markup=False, highlight=False, soft_wrap=True)

    def part(self, what: str) -> Callable[[int, int], None]:
        """The report of one part."""
        return lambda done, total: self.progress(what, done, total)
