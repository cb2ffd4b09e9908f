"""One trainer a run folder: a lock that the kernel gives back when its process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csasn.errors import LockedError
from csasn.files import own_path, storage_errors

LOCK = ".fit.lock"


@contextmanager
def trainer_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder's lock inside the block.

    Raises LockedError, naming the process, where another holds it; StorageError where the folder cannot be written
    to. A file left by a dead process is no obstacle: what counts is the kernel's flock, not that the file exists.
    """
    path = own_path(folder, LOCK)
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"Only one process may train in a run folder: {_owner(path)} is training in {folder}. "
                "Wait for it, or stop it with SIGTERM: it then saves its state and `csasn fit` goes on from there."
            ) from None
        with storage_errors(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def trainer_of(folder: Path) -> str | None:
    """The process that is training in a run folder ("process 123"), or None."""
    path = own_path(folder, LOCK)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _owner(path)
    return None


def _owner(path: Path) -> str:
    number = path.read_text(encoding="ascii", errors="replace").strip()
    return f"process {number}" if number else "another process"
