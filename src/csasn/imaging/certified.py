"""A run's own pictures and masks, read again after ingest: below the images' folder, and under the manifest's hash."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csasn.decoding.pictures import open_picture, read_mask
from csasn.decoding.refused import RefusedPicture
from csasn.errors import BadInputError


def certified_picture(root: Path, name: str, sha256: str) -> NDArray[np.uint8]:
    """The pixels of a picture of the manifest; BadInputError where the file is another one or cannot be read."""
    path = _below(root, name)
    try:
        return open_picture(path, sha256).pixels
    except RefusedPicture as refusal:
        raise _changed(path, refusal) from None


def certified_mask(root: Path, name: str) -> NDArray[np.bool_]:
    """A mask of the manifest, True inside the nodule; BadInputError where it cannot be read or lies elsewhere."""
    path = _below(root, name)
    try:
        return read_mask(path)
    except RefusedPicture as refusal:
        raise _changed(path, refusal) from None


def _below(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise BadInputError(
            f"Pictures and masks of a manifest lie below {root}; received {name!r}, which leads out of it. "
            "Do not use this run folder, or ingest its source again."
        )
    return path


def _changed(path: Path, refusal: RefusedPicture) -> BadInputError:
    return BadInputError(
        f"{path} must be the file that the manifest certifies: {refusal}. Restore it, or ingest the source again."
    )
