import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from csasn.config import ImagingSettings
from csasn.errors import BadInputError, StorageError
from csasn.imaging import store
from csasn.imaging.letterbox import letterbox
from csasn.imaging.store import open_store

SETTINGS = ImagingSettings(size_px=32)


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[pl.DataFrame, Path]:
    """Five rows, four distinct pictures (the last two rows show the same bytes), in a shuffled order of hashes."""
    root = tmp_path / "cohort"
    root.mkdir()
    generator = np.random.default_rng(0)
    contents = [generator.integers(1, 255, (40, 60), dtype=np.uint8) for _ in range(4)]
    rows = []
    for number, pixels in enumerate([*contents, contents[3]]):
        path = root / f"{number}.png"
        Image.fromarray(pixels).save(path)
        rows.append({"image_path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    return pl.DataFrame(rows), root


def test_letterbox_keeps_the_aspect_and_centres_on_black() -> None:
    pixels = np.full((50, 100), 200, dtype=np.uint8)
    square = letterbox(pixels, 64)
    assert square.shape == (64, 64)
    assert square.dtype == np.uint8
    assert (square[16:48] == 200).all()
    assert not square[:16].any()
    assert not square[48:].any()
    assert (letterbox(pixels.T.copy(), 64) == square.T).all()


def test_letterbox_averages_when_it_reduces_and_can_enlarge() -> None:
    checks = np.indices((256, 256)).sum(axis=0) % 2 * 255
    reduced = letterbox(checks.astype(np.uint8), 32)
    assert np.abs(reduced[4:-4, 4:-4].astype(int) - 127).max() <= 2  # without antialiasing: 0 or 255
    assert (letterbox(np.full((8, 8), 9, dtype=np.uint8), 32) == 9).all()
    assert letterbox(np.full((1, 400), 9, dtype=np.uint8), 32).any()


def test_rows_are_found_by_content_hash(cohort: tuple[pl.DataFrame, Path], tmp_path: Path) -> None:
    manifest, root = cohort
    seen: list[tuple[int, int]] = []
    opened = open_store(manifest, root, tmp_path / "store", SETTINGS, progress=lambda *at: seen.append(at))
    assert opened.pixels.shape == (4, 32, 32)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = opened.rows(manifest["sha256"].to_list())
    assert rows.dtype == np.int64
    assert rows[3] == rows[4]
    for row, name in zip(rows, manifest["image_path"], strict=True):
        expected = letterbox(np.asarray(Image.open(root / name)), 32)
        assert (opened.pixels[row] == expected).all()
    with pytest.raises(BadInputError, match="deadbeef"):
        opened.rows(["deadbeef"])


def test_reopening_reads_no_picture(
    cohort: tuple[pl.DataFrame, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root = cohort
    first = open_store(manifest, root, tmp_path / "store", SETTINGS)

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr(store, "read_picture", refuse)
    monkeypatch.setattr(store, "file_sha256", refuse)
    again = open_store(manifest.reverse(), root, tmp_path / "store", SETTINGS)
    assert (again.pixels == first.pixels).all()
    assert not again.pixels.flags.writeable


def test_another_size_is_another_store(cohort: tuple[pl.DataFrame, Path], tmp_path: Path) -> None:
    manifest, root = cohort
    folder = tmp_path / "store"
    stores = [open_store(manifest, root, folder, ImagingSettings(size_px=size_px)) for size_px in (32, 48)]
    assert [each.pixels.shape for each in stores] == [(4, 32, 32), (4, 48, 48)]
    assert len(list(folder.iterdir())) == 2


def test_one_picture_more_reads_one_picture_and_moves_none(
    cohort: tuple[pl.DataFrame, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, root = cohort
    first = open_store(manifest.head(3), root, tmp_path / "store", SETTINGS)
    before = np.array(first.pixels)
    read: list[str] = []
    real = store.read_picture

    def counted(path: Path) -> NDArray[np.uint8]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(store, "read_picture", counted)
    grown = open_store(manifest.reverse(), root, tmp_path / "store", SETTINGS)
    assert len(read) == 1
    assert read[0] in {"3.png", "4.png"}  # the same bytes twice
    assert (grown.pixels[:3] == before).all()
    assert (first.pixels == before).all()
    assert (grown.numbers[:3] == first.numbers).all()
    alone = open_store(manifest.tail(1), root, tmp_path / "elsewhere", SETTINGS)
    row = grown.rows([manifest["sha256"][-1]])
    assert (alone.pixels == grown.pixels[row]).all()
    assert (alone.numbers == grown.numbers[row]).all()
    assert alone.numbers[0] == int(manifest["sha256"][-1][:16], 16)


def test_changed_and_missing_files_are_all_listed(cohort: tuple[pl.DataFrame, Path], tmp_path: Path) -> None:
    manifest, root = cohort
    Image.new("L", (40, 40), 5).save(root / "0.png")
    (root / "4.png").unlink()  # its content is still at 3.png, yet the manifest's file is gone
    with pytest.raises(BadInputError, match="changed since ingest") as caught:
        open_store(manifest, root, tmp_path / "store", SETTINGS)
    assert "0.png: expected sha256" in str(caught.value)
    assert "4.png: missing" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_an_undecodable_file_is_named_and_never_stored(cohort: tuple[pl.DataFrame, Path], tmp_path: Path) -> None:
    manifest, root = cohort
    (root / "1.png").write_bytes(b"<html>no picture</html>")
    changed = hashlib.sha256((root / "1.png").read_bytes()).hexdigest()
    manifest = manifest.with_columns(
        sha256=pl.when(pl.col("image_path") == "1.png").then(pl.lit(changed)).otherwise("sha256")
    )
    with pytest.raises(BadInputError, match=r"cannot be decoded:\n.*1\.png"):
        open_store(manifest, root, tmp_path / "store", SETTINGS)
    with pytest.raises(BadInputError, match="1 of the manifest's images cannot be decoded"):
        open_store(manifest, root, tmp_path / "store", SETTINGS)
    rest = manifest.filter(pl.col("sha256") != changed)
    assert open_store(rest, root, tmp_path / "store", SETTINGS).pixels.shape == (3, 32, 32)


def _full_device(*_: object) -> None:
    raise OSError(28, "No space left on device")


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("patched", "failure", "error"),
    [
        ("posix_fallocate", _full_device, StorageError),
        ("fsync", _full_device, StorageError),
        ("fsync", _killed, KeyboardInterrupt),
    ],
)
def test_a_failed_write_leaves_nothing_that_is_believed(
    cohort: tuple[pl.DataFrame, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patched: str,
    failure: Callable[..., None],
    error: type[BaseException],
) -> None:
    manifest, root = cohort
    with monkeypatch.context() as broken:
        broken.setattr(os, patched, failure)
        with pytest.raises(error):
            open_store(manifest, root, tmp_path / "store", SETTINGS)
    assert sum(path.stat().st_size for path in tmp_path.glob("store/*/*.rows")) == 0
    expected = open_store(manifest, root, tmp_path / "other", SETTINGS).pixels
    assert (open_store(manifest, root, tmp_path / "store", SETTINGS).pixels == expected).all()


def test_a_cut_store_is_made_again(cohort: tuple[pl.DataFrame, Path], tmp_path: Path) -> None:
    manifest, root = cohort
    first = open_store(manifest, root, tmp_path / "store", SETTINGS)
    expected = np.array(first.pixels)
    folder = tmp_path / "store" / f"pixels-{first.key}"
    for name in ("pixels.rows", "keys"):
        path = folder / name
        for content in (path.read_bytes()[:-1], b"", path.read_bytes()[:40]):
            path.write_bytes(content)
            assert (open_store(manifest, root, tmp_path / "store", SETTINGS).pixels == expected).all()
