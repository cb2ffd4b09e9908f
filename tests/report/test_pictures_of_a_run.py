"""The page shows the manifest's own pictures and no other file of the disk."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.thumbnail import thumbnail
from tests.support.synthetic_run import make_run

DIFFERS = "the picture is not the one of the manifest: its bytes differ"


def saved(path: Path, value: int = 7, size: tuple[int, int] = (40, 60)) -> str:
    grey = np.full(size, value, dtype=np.uint8)
    grey[::2] += 100
    Image.fromarray(grey).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_picture_is_shown_under_its_hash_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    sha256 = saved(path)
    assert thumbnail(tmp_path, path.name, sha256)[0] is not None
    saved(path, 9)
    assert thumbnail(tmp_path, path.name, sha256) == (None, DIFFERS)
    assert thumbnail(tmp_path, path.name, "") == (None, DIFFERS)


def test_a_file_of_the_victim_that_the_manifest_does_not_know_is_not_shown(tmp_path: Path) -> None:
    evaluated = EvaluatedRun(run=make_run(tmp_path, counts={"benign": 30, "PTC": 20, "FTC": 10}))
    root, known = evaluated.run.images_root(), evaluated.manifest["image_path"][0]
    saved(root / "private.png")
    assert thumbnail(root, known, evaluated.sha256_of(known))[0] is not None
    assert thumbnail(root, "private.png", evaluated.sha256_of("private.png")) == (None, DIFFERS)
    (root / "link.png").symlink_to(tmp_path / "elsewhere.png")
    saved(tmp_path / "elsewhere.png")
    assert thumbnail(root, "link.png")[0] is None


def test_no_postscript_no_pipe_and_no_bomb_is_opened(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n%%EOF\n")
    assert thumbnail(tmp_path, "p.png") == (None, "the picture cannot be shown (UnidentifiedImageError)")
    os.mkfifo(tmp_path / "pipe.png")
    assert thumbnail(tmp_path, "pipe.png")[0] is None
    Image.new("1", (10_000, 6_000)).save(tmp_path / "bomb.png")
    assert thumbnail(tmp_path, "bomb.png") == (None, "the picture has too many pixels")
