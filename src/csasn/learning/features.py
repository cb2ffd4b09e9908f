"""Feature maps of frozen branches, computed once and kept on disk in float16."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.errors import BadInputError, StorageError
from csasn.files import storage_errors, write_json
from csasn.imaging.views import PLAIN_VIEW, ViewSource
from csasn.network.backbones import Branch, Features
from csasn.progress import CountProgress

BATCH_SIZE = 16  # images a forward pass; larger ones gain nothing on a CPU
FLUSH_EVERY = 8  # batches between two points from which an interrupted computation goes on


class FeatureCache:
    """One branch's features of every view of every picture of a store: float16 memory maps in a folder.

    With `n_blocks_left`, what the branch's last blocks read instead, so that fine-tuning runs those blocks alone.

    `map.npy` (N, V, h, w, C) holds channels last, which is how the head reads them fastest; `token.npy` (N, V, C)
    exists for a transformer. `done.npy` (N, V) says which are computed, so that an interrupted run goes on. The
    folder's name is a hash of the branch's tensors and of everything that the views depend on.
    """

    def __init__(
        self, folder: Path, *, branch: Branch, state_sha256: str, source: ViewSource, n_blocks_left: int = 0
    ) -> None:
        if n_blocks_left:
            branch.require_blocks(n_blocks_left)
        content = json.dumps(
            [branch.name, state_sha256, branch.in_bfloat16, source.key(), *[n_blocks_left][: n_blocks_left > 0]]
        )
        self.key = hashlib.sha256(content.encode()).hexdigest()
        self.folder = folder / f"features-{self.key}"
        self.branch = branch
        self.n_blocks_left = n_blocks_left
        self.source = source
        self._arrays: dict[str, NDArray[np.generic]] = {}
        self._pending: list[tuple[NDArray[np.int64], int]] = []

    def ensure(self, rows: NDArray[np.int64], views: range, *, progress: CountProgress | None = None) -> None:
        """Compute what is missing of these store rows and views; StorageError where the device is full.

        Of several processes that share the folder one computes, and the others wait and find it done.
        """
        with self._alone():
            self._compute(rows, views, progress)

    def _compute(self, rows: NDArray[np.int64], views: range, progress: CountProgress | None) -> None:
        self._open()
        done = self._arrays["done"]
        missing = [(view, row) for view in views for row in np.unique(rows) if not done[row, view]]
        device = next(self.branch.parameters()).device
        self.branch.eval()
        position = n_batches = 0
        for view in views:
            of_view = np.array([row for missing_view, row in missing if missing_view == view], dtype=np.int64)
            for start in range(0, len(of_view), BATCH_SIZE):
                chosen = of_view[start : start + BATCH_SIZE]
                with torch.inference_mode():
                    features = self._see(self.source.images(chosen, view, device))
                self._write(chosen, view, features)
                position += len(chosen)
                n_batches += 1
                if n_batches % FLUSH_EVERY == 0:
                    self._flush()
                if progress is not None:
                    progress(position, len(missing))
        self._flush()

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Features:
        """Features of one view a row, float16: map (B, C, h, w) in channels-last memory, token (B, C) or None."""
        self._open()
        if not self._arrays["done"][rows, views].all():
            raise BadInputError(f"{self.folder} lacks features that are asked for: run `csasn fit` again.")
        maps = torch.from_numpy(self._arrays["map"][rows, views]).permute(0, 3, 1, 2)
        token = torch.from_numpy(self._arrays["token"][rows, views]) if "token" in self._arrays else None
        return Features(map=maps, token=token, n_blocks_left=self.n_blocks_left)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Inside the block no other process computes for this folder; the kernel ends the lock with the process."""
        path = self.folder.with_suffix(".lock")
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _see(self, images: Tensor) -> Features:
        seen: Features = (
            self.branch.begin(images, n_blocks_left=self.n_blocks_left) if self.n_blocks_left else self.branch(images)
        )
        return seen

    def _open(self) -> None:
        if self._arrays:
            return
        if not (self.folder / "shapes.json").is_file():
            self._create()
        for path in self.folder.glob("*.npy"):
            self._arrays[path.stem] = np.load(path, mmap_mode="r+", allow_pickle=False)

    def _create(self) -> None:
        """Lay out the files at full length: a full device is told now, not by a signal in the middle of a write."""
        with torch.inference_mode():
            self.branch.eval()
            probe = self._see(self.source.images(np.array([0]), PLAIN_VIEW, next(self.branch.parameters()).device))
        n, n_views = len(self.source.store.pixels), self.source.n_views
        channels, *grid = probe.map.shape[1:]
        shapes = {"map": (n, n_views, *grid, channels), "done": (n, n_views)}
        if probe.token is not None:
            shapes["token"] = (n, n_views, channels)
        try:
            with storage_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, shape in shapes.items():
                    _allocate(self.folder / f"{name}.npy", shape, np.dtype(bool if name == "done" else np.float16))
        except StorageError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        write_json(self.folder / "shapes.json", {name: list(shape) for name, shape in shapes.items()})

    def _write(self, rows: NDArray[np.int64], view: int, features: Features) -> None:
        self._arrays["map"][rows, view] = features.map.permute(0, 2, 3, 1).half().cpu().numpy()
        if features.token is not None:
            self._arrays["token"][rows, view] = features.token.half().cpu().numpy()
        self._pending.append((rows, view))

    def _flush(self) -> None:
        """Features reach the disk before they are marked as done."""
        for name in ("map", "token"):
            if name in self._arrays:
                self._arrays[name].flush()  # type: ignore[attr-defined]
        for rows, view in self._pending:
            self._arrays["done"][rows, view] = True
        self._arrays["done"].flush()  # type: ignore[attr-defined]
        self._pending.clear()


def _allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )
        start = stream.tell()
        length = int(np.prod(shape)) * dtype.itemsize
        stream.flush()
        os.posix_fallocate(stream.fileno(), 0, start + length)
