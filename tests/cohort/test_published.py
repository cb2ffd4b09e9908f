"""Public data sets become the rows that their layouts say; every file is a row, belongs to one, or is refused."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from csasn.cohort.published import PUBLISHED
from csasn.decoding.pictures import read_mask, read_picture
from tests.support import miniature_sets as miniature
from tests.support.published_sets import BUILDERS, KEYS, ledger_of, read, refusal, rows_of


@pytest.mark.parametrize("name", BUILDERS)
def test_a_set_is_recognised_as_itself_alone(name: str, tmp_path: Path) -> None:
    folder = BUILDERS[name](tmp_path / "set")
    assert [each for each, published in PUBLISHED.items() if published.recognised(folder)] == [name]
    shutil.move(folder, tmp_path / "unpacked" / "set")
    assert PUBLISHED[name].recognised(tmp_path / "unpacked"), "a folder around it, as an archive leaves it"


@pytest.mark.parametrize("name", BUILDERS)
def test_every_row_can_be_read_and_every_file_is_accounted_for(name: str, tmp_path: Path) -> None:
    source = read(name, BUILDERS[name](tmp_path))
    assert source.layout == name
    assert set(source.rows["site"]) == {name}
    assert source.citation == PUBLISHED[name].citation
    assert source.licence == PUBLISHED[name].licence
    assert source.notes
    assert source.rows.schema["malignant"] == pl.Boolean
    used: set[str] = set()
    for row in source.rows.iter_rows(named=True):
        masks = [mask for mask in (row.get("mask_path"), *(row.get("mask_paths") or ())) if mask]
        used |= {row["image_path"], *masks}
        if "member" not in row:
            assert read_picture(source.root / row["image_path"]).shape == (64, 64)
        assert all(read_mask(source.root / mask).shape == (64, 64) for mask in masks)
    refused = {row.item for row in source.refused}
    assert not used & refused
    pictures = {path for path in source.root.rglob("*") if path.suffix in (".png", ".jpg", ".hdf5")}
    assert {str(path.relative_to(source.root)) for path in pictures} == used | refused


@pytest.mark.parametrize("name", BUILDERS)
def test_stray_files_are_refused_and_documents_are_not_items(name: str, tmp_path: Path) -> None:
    folder = BUILDERS[name](tmp_path / "set")
    home = read(name, folder).root
    before = ledger_of(read(name, folder))
    miniature.draw(home / "extra" / "holiday.png", 99)
    miniature.draw(home / ".ipynb_checkpoints" / "0000-checkpoint.jpg", 98)
    miniature.write(home / "setup.exe", "MZ")
    for document in ("notes.txt", "LICENSE", ".DS_Store", "extra/about.md"):
        miniature.write(home / document, "text")
    (home / "extra" / "link.png").symlink_to("/etc/hostname")
    source = read(name, folder)
    assert ledger_of(source) == before | {
        "extra/holiday.png": "not-in-layout",
        ".ipynb_checkpoints/0000-checkpoint.jpg": "not-in-layout",
        "setup.exe": "not-in-layout",
        "extra/link.png": "outside-source",
    }


@pytest.mark.parametrize("name", BUILDERS)
def test_a_wrong_tree_is_one_clear_error(name: str, tmp_path: Path) -> None:
    miniature.draw(tmp_path / "hospital" / "ptc" / "a.png", 1)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "hospital", tmp_path / "empty", tmp_path / "missing"):
        assert not PUBLISHED[name].recognised(folder)
        message = refusal(name, folder)
        assert PUBLISHED[name].title in message
        assert "Nothing was written" in message


def test_a_hospitals_class_folders_are_no_public_set(tmp_path: Path) -> None:
    for seed, label in enumerate(("benign", "normal", "malignant", "PTC", "FTC", "MTC")):
        miniature.draw(tmp_path / label / f"{seed}.png", seed)
    assert not any(published.recognised(tmp_path) for published in PUBLISHED.values())


# ---- Fang Dai


def test_fangdai(tmp_path: Path) -> None:
    source = read("fangdai", miniature.fangdai(tmp_path))
    assert rows_of(source, *KEYS, "patient_assumed") == [
        ("Thyroid/FTC/1.png", "Thyroid/FTC/1.png", "Thyroid/FTC/1.png", True, "FTC", True),
        ("Thyroid/MTC/1.png", "Thyroid/MTC/1.png", "Thyroid/MTC/1.png", True, "MTC", True),
        ("Thyroid/PTC/20191101_094744_1.png", "20191101_094744", "20191101_094744/PTC", True, "PTC", None),
        ("Thyroid/PTC/20191101_094744_2.png", "20191101_094744", "20191101_094744/PTC", True, "PTC", None),
        ("Thyroid/PTC/p7.jpg", "Thyroid/PTC/p7.jpg", "Thyroid/PTC/p7.jpg", True, "PTC", True),
    ]
    assert [note.split(":")[0] for note in source.notes] == [
        "No patient ids",
        "Images with one date and time in their names were taken for one patient; the names were not documented.",
        "The set has carcinomas only",
    ]
    miniature.draw(tmp_path / "Thyroid" / "benign" / "b.png", 9)
    assert set(read("fangdai", tmp_path).rows["malignant"]) == {True, False}
    miniature.draw(tmp_path / "Thyroid" / "cysts" / "c.png", 10)
    assert not PUBLISHED["fangdai"].recognised(tmp_path)


def test_an_unreadable_folder_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every folder")
    folder = miniature.fangdai(tmp_path)
    (folder / "Thyroid" / "FTC").chmod(0)
    try:
        assert ledger_of(read("fangdai", folder))["Thyroid/FTC"] == "unreadable"
    finally:
        (folder / "Thyroid" / "FTC").chmod(0o755)
