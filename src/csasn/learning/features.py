"""Feature maps of frozen branches, computed once and kept on disk in float16."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csasn.errors import BadInputError
from csasn.imaging.row_files import RowFiles
from csasn.imaging.views import ViewSource
from csasn.network.backbones import Branch, Features
from csasn.progress import CountProgress

BATCH_SIZE = 16  # images a forward pass; larger ones gain nothing on a CPU
FLUSH_EVERY = 8  # batches between two points from which an interrupted computation goes on
VIEW_BYTES = 4  # of the view's number in a row's key


class FeatureCache:
    """One branch's features of views of pictures, float16, in a folder that grows: a row a picture and view.

    With `n_blocks_left`, what the branch's last blocks read instead, so that fine-tuning runs those blocks alone.

    `map` (n, h, w, C) holds channels last, which is how the head reads them fastest; `token` (n, C) exists for a
    transformer. A row is found by the picture's content hash and the view. The folder's name is a hash of the branch's
    tensors and of what a view depends on besides the picture, so that one picture more computes one picture.
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
        self.branch = branch
        self.n_blocks_left = n_blocks_left
        self.source = source
        self.folder = folder / f"features-{self.key}"
        self._files = RowFiles(self.folder, key_bytes=32 + VIEW_BYTES)
        self._positions = self._find()

    def ensure(self, rows: NDArray[np.int64], views: range, *, progress: CountProgress | None = None) -> None:
        """Compute what is missing of these store rows and views; StorageError where the device is full.

        Of several processes that share the folder one computes, and the others wait and find it done.
        """
        if self._missing(rows, views):
            with self._files.alone():
                self._positions = self._find()
                self._compute(self._missing(rows, views), progress)
        self._positions = self._find()

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Features:
        """Features of one view a row, float16: map (B, C, h, w) in channels-last memory, token (B, C) or None."""
        positions = self._positions[rows, views]
        if (positions < 0).any():
            raise BadInputError(f"{self.folder} lacks features that are asked for: run `csasn fit` again.")
        arrays = self._files.arrays
        maps = torch.from_numpy(arrays["map"][positions]).permute(0, 3, 1, 2)
        token = torch.from_numpy(arrays["token"][positions]) if "token" in arrays else None
        return Features(map=maps, token=token, n_blocks_left=self.n_blocks_left)

    def _find(self) -> NDArray[np.int64]:
        """Where the features of each store row and view lie, (N, V); -1 where they are not computed."""
        store = self.source.store
        positions = np.full((len(store.sha256s), self.source.n_views), -1, dtype=np.int64)
        for position, key in enumerate(self._files.keys):
            row, view = store.row_of.get(key[:32].hex()), int.from_bytes(key[32:], "big")
            if row is not None and view < self.source.n_views:
                positions[row, view] = position
        return positions

    def _missing(self, rows: NDArray[np.int64], views: range) -> list[tuple[int, NDArray[np.int64]]]:
        """The store rows of each view that are to be computed, in batches."""
        rows = np.unique(rows)
        return [
            (view, lacking[start : start + BATCH_SIZE])
            for view in views
            for lacking in [rows[self._positions[rows, view] < 0]]
            for start in range(0, len(lacking), BATCH_SIZE)
        ]

    def _compute(self, missing: list[tuple[int, NDArray[np.int64]]], progress: CountProgress | None) -> None:
        n_missing, n_done = sum(len(rows) for _, rows in missing), 0
        self.branch.eval()
        for number, (view, rows) in enumerate(missing):
            found = self._look(rows, view)
            if number == 0:
                layout = {name: (each.shape[1:], "float16") for name, each in found.items()}
                self._files.reserve(layout, n_missing)
            self._files.append([self._key_of(row, view) for row in rows], found)
            n_done += len(rows)
            if number % FLUSH_EVERY == FLUSH_EVERY - 1:
                self._files.flush()
            if progress is not None:
                progress(n_done, n_missing)
        if missing:
            self._files.flush()

    def _look(self, rows: NDArray[np.int64], view: int) -> dict[str, NDArray[np.generic]]:
        """Features of one view of at most BATCH_SIZE pictures, float16.

        The last picture fills a batch up: sums are rounded differently in batches of other sizes, and a picture's
        features must not depend on how many are computed with it.
        """
        device = next(self.branch.parameters()).device
        full = np.concatenate([rows, np.repeat(rows[-1:], BATCH_SIZE - len(rows))])
        with torch.inference_mode():
            images = self.source.images(full, view, device)
            seen: Features = (
                self.branch.begin(images, n_blocks_left=self.n_blocks_left)
                if self.n_blocks_left
                else self.branch(images)
            )
        found = {"map": seen.map.permute(0, 2, 3, 1)} | ({} if seen.token is None else {"token": seen.token})
        return {name: each[: len(rows)].half().cpu().numpy() for name, each in found.items()}

    def _key_of(self, row: int, view: int) -> bytes:
        return bytes.fromhex(self.source.store.sha256s[row]) + view.to_bytes(VIEW_BYTES, "big")
