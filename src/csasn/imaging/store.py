"""Every picture of a manifest, letterboxed once into one memory-mapped uint8 file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.config import ImagingSettings
from csasn.decoding.pictures import read_picture
from csasn.decoding.refused import RefusedPicture
from csasn.errors import BadInputError, listing
from csasn.files import file_sha256, write_whole
from csasn.imaging.letterbox import letterbox
from csasn.progress import CountProgress

PREPROCESSING_VERSION = 2  # raise it whenever `letterbox` or `read_picture` gives other pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelStore:
    """Preprocessed pictures, one a distinct content hash.

    `pixels` (N, S, S) uint8, read-only memory map; `row_of` from a file's SHA-256 to its row; `key` names the
    content, the size and the preprocessing, and is part of the file's name.
    """

    pixels: NDArray[np.uint8]
    row_of: dict[str, int]
    key: str

    def rows(self, sha256s: Sequence[str]) -> NDArray[np.int64]:
        """Row of each content hash, (B,); BadInputError lists the hashes that the store does not hold."""
        if absent := sorted({sha for sha in sha256s if sha not in self.row_of}):
            raise BadInputError(
                f"The pixel store {self.key[:12]} holds {len(self.row_of)} pictures, but not those with sha256\n"
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
    """The pixel store of a manifest in `folder`, made if it is not there yet; `progress(done, total)` counts pictures.

    A store is found by the content hashes that the manifest certifies, so that reopening reads no picture. Making it
    reads each file once more and raises BadInputError, listing all of them, where files changed since ingest, are
    missing or cannot be decoded; StorageError where the device is full. Neither leaves a file behind.
    """
    pictures = manifest.unique("sha256", keep="first").sort("sha256").select("sha256", "image_path")
    sha256s = pictures["sha256"].to_list()
    key = store_key(sha256s, settings.size_px)
    path = folder / f"pixels-{key}.npy"
    shape = (len(sha256s), settings.size_px, settings.size_px)
    if not _is_whole(path, shape):
        _refuse_changed(manifest, images_root)
        paths = [images_root / name for name in pictures["image_path"].to_list()]
        write_whole(path, lambda part: _fill(part, paths, shape, progress))
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return PixelStore(pixels=pixels, row_of={sha: row for row, sha in enumerate(sha256s)}, key=key)


def store_key(sha256s: Sequence[str], size_px: int) -> str:
    """SHA-256 over the ordered distinct content hashes, the side in px and the preprocessing version."""
    content = json.dumps([PREPROCESSING_VERSION, size_px, *sha256s])
    return hashlib.sha256(content.encode()).hexdigest()


def _is_whole(path: Path, shape: tuple[int, int, int]) -> bool:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return False
    return isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.uint8


def _refuse_changed(manifest: pl.DataFrame, images_root: Path) -> None:
    wrong = []
    for name, sha256 in manifest.select("image_path", "sha256").unique(maintain_order=True).iter_rows():
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


def _fill(part: Path, paths: list[Path], shape: tuple[int, int, int], progress: CountProgress | None) -> None:
    """Write the .npy file as a plain stream: a full device then raises OSError, where a memory map would be killed."""
    refused: list[str] = []
    with part.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for done, path in enumerate(paths, start=1):
            picture = _read(path, shape[1])
            if isinstance(picture, str):
                refused.append(f"{path}: {picture}")
            else:
                stream.write(picture.tobytes())
            if progress is not None:
                progress(done, len(paths))
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
