"""Arrays with one row a key, in files that only grow: what is there is never computed again."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csasn.errors import MismatchError
from csasn.files import own_path, read_json, storage_errors, sync_folder, write_json

Layout = Mapping[str, tuple[tuple[int, ...], str]]  # of each array: the shape of one row, the dtype's name


class RowFiles:
    """A folder of arrays whose rows have keys: `layout.json`, `NAME.rows` (raw, row after row) and `keys`.

    `keys` holds `key_bytes` bytes a row and is written after the rows reached the disk: a row without its key is not
    believed, and is written again. Rows never move, so a process may read while another appends.
    """

    def __init__(self, folder: Path, *, key_bytes: int) -> None:
        self.folder = own_path(folder.parent, folder.name)
        self.keys: list[bytes] = []
        self.arrays: dict[str, NDArray[np.generic]] = {}
        self._key_bytes = key_bytes
        self._layout: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]] = {}
        self._pending: list[bytes] = []
        self.refresh()

    def refresh(self) -> None:
        """Find what the folder holds now: `keys`, and `arrays` as read-only maps (len(keys), ...)."""
        if not (self.folder / "layout.json").is_file():
            return
        written: dict[str, tuple[list[int], str]] = read_json(self.folder / "layout.json")  # type: ignore[assignment]
        self._layout = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in written.items()}
        path = own_path(self.folder, "keys")
        content = path.read_bytes() if path.is_file() else b""
        n = min(len(content) // self._key_bytes, *(self._n_rows_of(name) for name in self._layout))
        self.keys = [content[at : at + self._key_bytes] for at in range(0, n * self._key_bytes, self._key_bytes)]
        self.arrays = {name: self._mapped(name, n) for name in self._layout}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside the block no other process appends; the kernel ends the lock with the process.

        Space that was reserved and not used is given back at the end, also after an error.
        """
        path = own_path(self.folder, "lock")
        with storage_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self.refresh()
            try:
                yield
            finally:
                self._pending.clear()
                self._cut()
        finally:
            os.close(handle)

    def reserve(self, layout: Layout, n_more: int) -> None:
        """Take the space of `n_more` rows: a full device raises StorageError now, not in the middle of the work.

        Raises MismatchError where the folder holds rows of another layout. Call it inside `alone`.
        """
        expected = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in layout.items()}
        if self._layout and self._layout != expected:
            raise MismatchError(
                f"{self.folder} holds rows of {self._layout}; received {expected}. Remove that folder and run again."
            )
        if not self._layout:
            write_json(
                self.folder / "layout.json",
                {name: [list(shape), str(dtype)] for name, (shape, dtype) in layout.items()},
            )
            self._layout = expected
        self._cut()
        with storage_errors(self.folder):
            for name in self._layout:
                with self._path(name).open("ab") as stream:
                    os.posix_fallocate(stream.fileno(), 0, max(1, self._row_bytes(name) * (len(self.keys) + n_more)))
            sync_folder(self.folder)

    def append(self, keys: Sequence[bytes], rows: Mapping[str, NDArray[np.generic]]) -> None:
        """Write rows (len(keys), ...) of every array; they count after `flush`. Call it inside `alone`."""
        start = len(self.keys) + len(self._pending)
        with storage_errors(self.folder):
            for name, (_, dtype) in self._layout.items():
                with self._path(name).open("rb+") as stream:
                    stream.seek(start * self._row_bytes(name))
                    stream.write(np.ascontiguousarray(rows[name], dtype=dtype).tobytes())
        self._pending += keys

    def flush(self) -> None:
        """Rows reach the disk, then their keys."""
        with storage_errors(self.folder):
            for name in self._layout:
                with self._path(name).open("rb+") as stream:
                    os.fsync(stream.fileno())
            with own_path(self.folder, "keys").open("ab") as stream:
                stream.truncate(len(self.keys) * self._key_bytes)
                stream.write(b"".join(self._pending))
                stream.flush()
                os.fsync(stream.fileno())
        self.keys += self._pending
        self._pending.clear()
        self.arrays = {name: self._mapped(name, len(self.keys)) for name in self._layout}

    def _cut(self) -> None:
        """Remove what lies behind the rows that have keys."""
        for name in self._layout:
            path = self._path(name)
            if path.is_file() and path.stat().st_size > (length := len(self.keys) * self._row_bytes(name)):
                os.truncate(path, length)

    def _path(self, name: str) -> Path:
        return own_path(self.folder, f"{name}.rows")

    def _row_bytes(self, name: str) -> int:
        shape, dtype = self._layout[name]
        return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize

    def _n_rows_of(self, name: str) -> int:
        path = self._path(name)
        return path.stat().st_size // self._row_bytes(name) if path.is_file() else 0

    def _mapped(self, name: str, n: int) -> NDArray[np.generic]:
        shape, dtype = self._layout[name]
        if n == 0:  # an empty file cannot be mapped
            return np.zeros((0, *shape), dtype=dtype)
        return np.memmap(self._path(name), dtype=dtype, mode="r", shape=(n, *shape))
