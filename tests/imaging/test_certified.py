"""A picture that is read again after ingest is the one that the manifest certifies, and lies below its folder."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csasn.errors import BadInputError
from csasn.imaging.certified import certified_mask, certified_picture

GREY = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def saved(path: Path, pixels: np.ndarray = GREY) -> str:
    Image.fromarray(pixels).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_certified_picture_and_its_mask_are_read(tmp_path: Path) -> None:
    sha256 = saved(tmp_path / "a.png")
    assert np.array_equal(certified_picture(tmp_path, "a.png", sha256), GREY)
    inside = np.zeros(GREY.shape, dtype=np.bool_)
    inside[2:-2, 2:-2] = True
    saved(tmp_path / "mask.png", np.where(inside, 255, 0).astype(np.uint8))
    assert np.array_equal(certified_mask(tmp_path, "mask.png"), inside)


def test_a_picture_that_changed_since_is_refused(tmp_path: Path) -> None:
    sha256 = saved(tmp_path / "a.png")
    saved(tmp_path / "a.png", GREY[::-1].copy())
    with pytest.raises(BadInputError, match="must be the file that the manifest certifies"):
        certified_picture(tmp_path, "a.png", sha256)


@pytest.mark.parametrize("name", ["../secret.png", "link.png", "linked/secret.png"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, name: str) -> None:
    root = tmp_path / "images"
    root.mkdir()
    sha256 = saved(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "linked").symlink_to(tmp_path)
    with pytest.raises(BadInputError, match="leads out of it"):
        certified_picture(root, name, sha256)
    with pytest.raises(BadInputError, match="leads out of it"):
        certified_mask(root, name)


def test_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "missing.png"):
        with pytest.raises(BadInputError, match=name):
            certified_picture(tmp_path, name, "0" * 64)
        with pytest.raises(BadInputError, match=name):
            certified_mask(tmp_path, name)
