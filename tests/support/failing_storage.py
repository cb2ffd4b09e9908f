"""A device that refuses the k-th thing asked of it: the system calls of writing, counted and made to fail."""

import builtins
import errno
import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

CALLS = ("open", "fsync", "replace", "rename", "unlink", "truncate", "ftruncate", "pwrite", "write")


class _Stream:
    """A file whose writes count; the failing one has written half of what it was given, as a full device does."""

    def __init__(self, stream: Any, device: "FailingDevice") -> None:
        self._stream, self._device = stream, device

    def write(self, content: bytes) -> int:
        self._device.asked("write", lambda: (self._stream.write(content[: len(content) // 2]), self._stream.flush()))
        return self._stream.write(content)

    def close(self) -> None:
        self._stream.close()
        self._device.asked("close")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class FailingDevice:
    """Counts what is asked of files below a folder; number `fails_at` (from 1; 0 for none) raises the error `number`,
    or kills the process.
    """

    def __init__(self, folder: Path, *, fails_at: int = 0, number: int = errno.ENOSPC, kills: bool = False) -> None:
        self.folder, self.fails_at, self.number, self.kills = folder.resolve(), fails_at, number, kills
        self.log: list[str] = []
        self._handles: set[int] = set()

    def asked(self, what: str, half: Any = lambda: None) -> None:
        """Count one call and fail it if it is its turn."""
        self.log.append(what)
        if len(self.log) == self.fails_at:
            half()
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(self.number, os.strerror(self.number), what)

    def _is_mine(self, target: object) -> bool:
        if isinstance(target, int):
            return target in self._handles
        return Path(os.fsdecode(target)).absolute().is_relative_to(self.folder)  # type: ignore[arg-type]

    @contextmanager
    def at_work(self) -> Iterator["FailingDevice"]:
        """Inside, every write of this process below the folder is counted."""
        real = {name: getattr(os, name) for name in CALLS}
        real_open = io.open

        def counted(name: str) -> Any:
            def call(target: Any, *arguments: Any, **options: Any) -> Any:
                mine = self._is_mine(target)
                if mine and not (name == "open" and not arguments[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                    self.asked(name)
                found = real[name](target, *arguments, **options)
                if name == "open" and mine:
                    self._handles.add(found)
                return found

            return call

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if isinstance(file, int) or not self._is_mine(file) or not set(mode) & set("wax+"):
                return real_open(file, mode, *arguments, **options)
            self.asked("open")
            stream = real_open(file, mode, *arguments, **options)
            self._handles.add(stream.fileno())
            return _Stream(stream, self)

        try:
            for name in CALLS:
                setattr(os, name, counted(name))
            io.open = builtins.open = opened
            yield self
        finally:
            for name, call in real.items():
                setattr(os, name, call)
            io.open = builtins.open = real_open
