"""Progress bars with the time left, on standard error."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Bars:
    """Progress bars with the time left, on standard error; a part that takes no time shows none."""

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
        if not self._tasks:
            self._progress.start()
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, note="")
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)

    def log(self, words: str) -> None:
        """Something to be read, on standard error, above the bars."""
        self._progress.console.print(f"csasn: {words}", markup=False, highlight=False, soft_wrap=True)

    def part(self, what: str) -> Callable[[int, int], None]:
        """The report of one part."""
        return lambda done, total: self.progress(what, done, total)
