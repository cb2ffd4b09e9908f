"""Every picture of a manifest, letterboxed once into a memory-mapped file that later pictures are appended to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.config import ImagingSettings
from csasn.decoding.pictures import read_picture
from csasn.decoding.refused import RefusedPicture
from csasn.errors import BadInputError, listing
from csasn.files import file_sha256
from csasn.imaging.letterbox import letterbox
from csasn.imaging.row_files import RowFiles
from csasn.progress import CountProgress

PREPROCESSING_VERSION = 2  # raise it whenever `letterbox` or `read_picture` gives other pixels
FLUSH_EVERY = 256  # pictures between two points from which an interrupted preprocessing goes on


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelStore:
    """Preprocessed pictures, one a distinct content hash.

    `pixels` (N, S, S) uint8, read-only memory map; `sha256s` the files' SHA-256 in the same order; `key` names the
    size and the preprocessing.
    """

    pixels: NDArray[np.uint8]
    sha256s: Sequence[str]
    key: str

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each content hash."""
        return {sha256: row for row, sha256 in enumerate(self.sha256s)}

    @cached_property
    def numbers(self) -> NDArray[np.uint64]:
        """A number for each row (N,): the first 64 bits of its content hash, whatever cohort the picture is in."""
        return np.array([int(sha256[:16], 16) for sha256 in self.sha256s], dtype=np.uint64)

    def rows(self, sha256s: Sequence[str]) -> NDArray[np.int64]:
        """Row of each content hash, (B,); BadInputError lists the hashes that the store does not hold."""
        if absent := sorted({sha for sha in sha256s if sha not in self.row_of}):
            raise BadInputError(
                f"The pixel store {self.key} holds {len(self.sha256s)} pictures, but not those with sha256\n"
                f"{listing(absent)}\nOpen the store with the manifest that names them."
            )
        return np.array([self.row_of[sha] for sha in sha256s], dtype=np.int64)


def open_store(
    manifest: pl.DataFrame,
    images_root: Path,
    folder: Path,
    settings: ImagingSettings,
    *,
    progress: CountProgress | None = None,
) -> PixelStore:
    """The pixel store in `folder`, with the manifest's pictures that it lacked; `progress(done, total)` counts these.

    A picture is found by the content hash that the manifest certifies, so that reopening reads no picture. Adding reads
    a file once more and raises BadInputError, listing all of them, where files changed since ingest, are missing or
    cannot be decoded; StorageError where the device is full. What was added before stays.
    """
    key = f"{settings.size_px}px-v{PREPROCESSING_VERSION}"
    files = RowFiles(folder / f"pixels-{key}", key_bytes=32)
    if len(lacking := _lacking(manifest, files)):
        _refuse_changed(lacking, images_root)
        with files.alone():
            _add(files, _lacking(manifest, files), images_root, settings.size_px, progress)
    pixels: NDArray[np.uint8] = files.arrays["pixels"]  # type: ignore[assignment]
    return PixelStore(pixels=pixels, sha256s=[each.hex() for each in files.keys], key=key)


def _lacking(manifest: pl.DataFrame, files: RowFiles) -> pl.DataFrame:
    """The manifest's rows whose picture the store lacks, by content hash."""
    held = pl.Series([each.hex() for each in files.keys], dtype=pl.String)
    return manifest.select("sha256", "image_path").filter(~pl.col("sha256").is_in(held.implode())).sort("sha256")


def _refuse_changed(rows: pl.DataFrame, images_root: Path) -> None:
    wrong = []
    for name, sha256 in rows.select("image_path", "sha256").unique().sort("image_path").iter_rows():
        path = images_root / name
        if not path.is_file():
            wrong.append(f"{name}: missing below {images_root}")
        elif (found := file_sha256(path)) != sha256:
            wrong.append(f"{name}: expected sha256 {sha256}, found {found}")
    if wrong:
        raise BadInputError(
            f"{len(wrong)} of the manifest's images changed since ingest or are missing:\n{listing(wrong)}\n"
            "Restore these files, or ingest the source again."
        )


def _add(files: RowFiles, rows: pl.DataFrame, images_root: Path, size_px: int, progress: CountProgress | None) -> None:
    """Append the pictures of rows, each content hash once."""
    pictures = rows.unique("sha256", keep="first", maintain_order=True)
    files.reserve({"pixels": ((size_px, size_px), "uint8")}, len(pictures))
    refused: list[str] = []
    for done, (sha256, name) in enumerate(pictures.iter_rows(), start=1):
        picture = _read(images_root / name, size_px)
        if isinstance(picture, str):
            refused.append(f"{images_root / name}: {picture}")
        else:
            files.append([bytes.fromhex(sha256)], {"pixels": picture[None]})
        if done % FLUSH_EVERY == 0:
            files.flush()
        if progress is not None:
            progress(done, len(pictures))
    files.flush()
    if refused:
        raise BadInputError(
            f"{len(refused)} of the manifest's images cannot be decoded:\n{listing(refused)}\n"
            "Ingest the source again: such files then go to the ledger."
        )


def _read(path: Path, size_px: int) -> NDArray[np.uint8] | str:
    """The letterboxed picture, or the reason why there is none; reading errors never look like writing errors."""
    try:
        return letterbox(read_picture(path), size_px)
    except RefusedPicture as refusal:
        return f"{refusal.code}: {refusal.reason}"
    except OSError as error:
        return f"unreadable: {error.strerror or error}"
