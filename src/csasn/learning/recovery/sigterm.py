"""SIGTERM becomes a request: training saves its state and ends; everything else ends at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from csasn.errors import StoppedError


class StopSignal:
    """Follows SIGTERM inside a `with` block.

    Between steps of a training (`deferred`) a signal only sets `requested`, so that no step is cut in two; anywhere
    else it raises StoppedError where the program stands. Python takes signals in its main thread only: in another
    thread this does nothing, and SIGTERM keeps its meaning there.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def __enter__(self) -> Self:
        """Take SIGTERM over."""
        self._taken = threading.current_thread() is threading.main_thread()
        if self._taken:
            self._previous = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGTERM back."""
        if self._taken:
            signal.signal(signal.SIGTERM, self._previous)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal waits until somebody looks at `requested`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise StoppedError("Stopped by SIGTERM. Run the same command again to go on.")
