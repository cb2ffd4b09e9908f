"""Public data sets become the rows that their layouts say; every file is a row, belongs to one, or is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

import miniature_sets as miniature
from csasn.cohort.labels import vocabulary
from csasn.cohort.ledger import RefusedPicture
from csasn.cohort.pictures import read_mask, read_picture
from csasn.cohort.published import PUBLISHED
from csasn.cohort.published.annotation_xml import parsed
from csasn.cohort.published.stanford_cine import chosen_frames, read_member, stanford_source
from csasn.cohort.source import Source
from csasn.errors import BadInputError

WORDS = vocabulary()
KEYS = ("image_path", "patient_id", "nodule_id", "malignant", "subtype")
BUILDERS: dict[str, Callable[[Path], Path]] = {
    "busi": miniature.busi,
    "ddti": miniature.ddti,
    "tn3k": miniature.tn3k,
    "tn5000": miniature.tn5000,
    "thyroidxl": miniature.thyroidxl,
    "stanford-cine": miniature.stanford_cine,
    "fangdai": miniature.fangdai,
}


def rows_of(source: Source, *columns: str) -> list[tuple[object, ...]]:
    return source.rows.select(*columns).rows()


def ledger_of(source: Source, outcome: str = "refused") -> dict[str, str]:
    return {row.item: row.code for row in source.refused if row.outcome == outcome}


def read(name: str, folder: Path) -> Source:
    return PUBLISHED[name].source(folder, WORDS)


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read(name, folder)
    return str(caught.value)


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


# ---- BUSI


def test_busi_as_distributed(tmp_path: Path) -> None:
    source = read("busi", miniature.busi(tmp_path))
    assert source.root == tmp_path / "Dataset_BUSI_with_GT"
    assert rows_of(source, "image_path", "patient_id", "malignant", "subtype", "mask_path", "mask_paths") == [
        ("benign/benign (1).png", "benign/benign (1).png", False, "benign", "benign/benign (1)_mask.png", None),
        (
            "benign/benign (2).png",
            "benign/benign (2).png",
            False,
            "benign",
            "benign/benign (2)_mask.png",
            ["benign/benign (2)_mask_1.png"],
        ),
        (
            "malignant/malignant (1).png",
            "malignant/malignant (1).png",
            True,
            "malignant",
            "malignant/malignant (1)_mask.png",
            None,
        ),
        (
            "malignant/malignant (10).png",
            "malignant/malignant (10).png",
            True,
            "malignant",
            "malignant/malignant (10)_mask.png",
            None,
        ),
        ("normal/normal (1).png", "normal/normal (1).png", False, "normal", "normal/normal (1)_mask.png", None),
    ]
    assert source.kept, "united masks are written"
    assert source.rows["patient_assumed"].all()
    assert "not thyroid" in source.notes[0]
    assert ledger_of(source) == {}


def test_busi_masks_without_image_and_images_of_another_class(tmp_path: Path) -> None:
    home = miniature.busi(tmp_path) / "Dataset_BUSI_with_GT"
    (home / "benign" / "benign (2).png").unlink()
    miniature.draw(home / "benign" / "malignant (3).png", 9)
    source = read("busi", tmp_path)
    assert ledger_of(source) == {
        "benign/benign (2)_mask.png": "mask-not-image",
        "benign/benign (2)_mask_1.png": "mask-not-image",
        "benign/malignant (3).png": "not-in-layout",
    }
    assert not source.kept


def test_busi_as_stored(tmp_path: Path) -> None:
    source = read("busi", miniature.busi_stored(tmp_path))
    assert rows_of(source, *KEYS, "mask_path") == [
        ("images/benign_1.png", "g000", "g000", False, "benign", "masks/benign_1.png"),
        ("images/benign_2.png", "g000", "g000", False, "benign", "masks/benign_2.png"),
        ("images/malignant_1.png", "g001", "g001", True, "malignant", "masks/malignant_1.png"),
    ]
    assert "CC BY 4.0" in str(source.citation)


def test_the_stored_real_images_are_recognised(data_folder: Path) -> None:
    source = read("busi", data_folder / "busi")
    assert dict(source.rows.group_by("subtype").len().rows()) == {"benign": 298, "malignant": 144, "normal": 90}


# ---- DDTI

OUTLINE = [[16.0, 16.0], [47.0, 16.0], [47.0, 47.0], [16.0, 47.0]]


def test_ddti_labels_by_tirads_and_outlines(tmp_path: Path) -> None:
    source = read("ddti", miniature.ddti(tmp_path))
    assert rows_of(source, *KEYS, "outlines") == [
        ("10_1.jpg", "10", "10", True, "malignant", None),
        ("1_1.jpg", "1", "1", False, "benign", [OUTLINE]),
        ("1_2.jpg", "1", "1", False, "benign", [OUTLINE]),
        ("2_1.jpg", "2", "2", True, "malignant", [OUTLINE, [[2.0, 2.0], [12.0, 2.0], [2.0, 12.0]]]),
    ]
    assert ledger_of(source) == {"3_1.jpg": "ambiguous-label", "4_1.jpg": "no-label"}
    assert source.kept, "outlines are drawn as masks, which are written"
    assert "SURROGATE LABEL BY TI-RADS, NOT HISTOLOGY" in source.notes[0]


@pytest.mark.parametrize(
    ("tirads", "outcome"),
    [
        *(("2", "benign"), ("3", "benign"), ("4b", "malignant"), ("4C", "malignant"), (" 5 ", "malignant")),
        *(("4a", "ambiguous-label"), ("4A", "ambiguous-label"), ("4", "no-label"), ("6", "no-label"), ("", "no-label")),
    ],
)
def test_ddti_tirads(tirads: str, outcome: str, tmp_path: Path) -> None:
    miniature.ddti(tmp_path)
    miniature.write(tmp_path / "2.xml", miniature.ddti_case(2, tirads, {}))
    source = read("ddti", tmp_path)
    used = dict(rows_of(source, "image_path", "subtype"))
    assert used.get("2_1.jpg", ledger_of(source).get("2_1.jpg")) == outcome


def test_ddti_missing_partners(tmp_path: Path) -> None:
    miniature.ddti(tmp_path)
    (tmp_path / "1.xml").unlink()
    (tmp_path / "10_1.jpg").unlink()
    miniature.write(tmp_path / "2.xml", miniature.ddti_case(2, "5", {1: [miniature.SQUARE], 7: [miniature.SQUARE]}))
    source = read("ddti", tmp_path)
    assert [path for (path,) in rows_of(source, "image_path")] == ["2_1.jpg"]
    assert ledger_of(source) == {
        "1_1.jpg": "no-annotation",
        "1_2.jpg": "no-annotation",
        "10.xml": "no-image",
        "2_7.jpg": "no-image",
        "3_1.jpg": "ambiguous-label",
        "4_1.jpg": "no-label",
    }


def _with(svg: str) -> str:
    return f"<case><number>2</number><tirads>5</tirads><mark><image>1</image><svg>{svg}</svg></mark></case>"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (miniature.ddti_case(2, "5", {1: [miniature.SQUARE]}, stated=3), "annotation-contradicts"),
        ("<annotation><tirads>5</tirads></annotation>", "annotation-contradicts"),
        ("<case><tirads>5</tirads><tirads>2</tirads></case>", "annotation-unreadable"),
        ("<case><number>2</number>", "annotation-unreadable"),
        ("", "empty-file"),
        (_with("[{"), "annotation-unreadable"),
        (_with('[{"points": [{"x": 1}]}]'), "annotation-unreadable"),
        (_with('[{"points": [{"x": NaN, "y": 2}]}]'), "annotation-unreadable"),
        (_with('[{"points": [{"x": true, "y": 2}]}]'), "annotation-unreadable"),
        (_with('{"points": 3}'), "annotation-unreadable"),
        (_with("7"), "annotation-unreadable"),
        (_with("[" * 100_000), "annotation-unreadable"),
        (_with('[{"points": [{"x": -9, "y": 2}, {"x": -1, "y": 2}, {"x": -3, "y": 9}]}]'), "outline-outside"),
        ("<case>" + " " * 4_000_000 + "</case>", "annotation-unreadable"),
    ],
)
def test_ddti_annotations_that_cannot_be_trusted(document: str, code: str, tmp_path: Path) -> None:
    miniature.ddti(tmp_path)
    (tmp_path / "2.xml").write_text(document)
    assert ledger_of(read("ddti", tmp_path))["2_1.jpg"] == code


def test_ddti_outlines_partly_outside_are_kept_and_stumps_are_left_out(tmp_path: Path) -> None:
    miniature.ddti(tmp_path)
    partly = [(-5, 10), (200, 10), (20, 90)]
    miniature.write(tmp_path / "2.xml", miniature.ddti_case(2, "5", {1: [partly, [(3, 3), (4, 4)]]}))
    source = read("ddti", tmp_path)
    drawn = source.rows.filter(pl.col("image_path") == "2_1.jpg")["outlines"].to_list()
    assert drawn == [[[[-5.0, 10.0], [200.0, 10.0], [20.0, 90.0]]]]
    assert ledger_of(source, "fixed") == {"2_1.jpg": "outline-dropped"}


BOMB = (
    '<!DOCTYPE case [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><case><number>2</number><tirads>&c;</tirads></case>'
)


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode(),
        b'<!DOCTYPE case SYSTEM "file:///etc/passwd"><case/>',
        b'<!doctype case [<!entity x "2">]><case><number>&x;</number></case>',
        BOMB.encode("utf-16"),
        BOMB.encode("utf-16-le"),
        BOMB.encode("utf-32"),
        b'<?xml version="1.0" encoding="cp037"?>' + BOMB.encode("cp037"),
        b'<?xml version="1.0" encoding="utf-7"?>' + BOMB.replace("<", "+ADw-").encode(),
        b"\xff\xfe\x00",
        b"<case>&undeclared;</case>",
    ],
)
def test_hostile_xml_is_refused_unparsed(content: bytes) -> None:
    with pytest.raises(RefusedPicture) as caught:
        parsed(content)
    assert caught.value.code == "annotation-unreadable"


def test_xml_in_latin_1_and_with_a_byte_order_mark_is_read() -> None:
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?><case><reporteco>nódulo</reporteco></case>'
    assert parsed(declared.encode("latin-1")).findtext("reporteco") == "nódulo"
    assert parsed(declared.replace("ISO-8859-1", "UTF-8").encode("utf-8-sig")).findtext("reporteco") == "nódulo"


# ---- TN3K


def test_tn3k_with_labels(tmp_path: Path) -> None:
    source = read("tn3k", miniature.tn3k(tmp_path))
    expected = [
        ("trainval-image/0000.jpg", False, "benign", "trainval-mask/0000.jpg", "train"),
        ("trainval-image/0001.jpg", True, "malignant", "trainval-mask/0001.jpg", "train"),
        ("trainval-image/0002.jpg", True, "malignant", "trainval-mask/0002.jpg", "tuning"),
        ("trainval-image/0003.jpg", False, "benign", "trainval-mask/0003.jpg", "train"),
        ("test-image/0000.jpg", True, "malignant", "test-mask/0000.jpg", "test"),
        ("test-image/0001.jpg", False, "benign", "test-mask/0001.jpg", "test"),
    ]
    assert rows_of(source, "image_path", "malignant", "subtype", "mask_path", "split_hint") == expected
    assert source.rows["patient_id"].to_list() == source.rows["image_path"].to_list()
    assert source.rows["patient_assumed"].all()
    assert "2,421 patients" in source.notes[0]
    assert not source.kept


def test_tn3k_without_labels_says_that_it_has_no_diagnosis(tmp_path: Path) -> None:
    folder = miniature.tn3k(tmp_path, labels=False)
    assert PUBLISHED["tn3k"].recognised(folder)
    message = refusal("tn3k", folder)
    assert "no label4trainval.csv or label4test.csv, so it cannot make a cohort by itself" in message


def test_tn3k_gaps(tmp_path: Path) -> None:
    home = miniature.tn3k(tmp_path) / "tn3k"
    (home / "label4trainval.csv").write_text("﻿image,label\n0000.jpg,0.0\n0001.jpg,2\n0009.jpg,1\n0003.jpg, 1 \n")
    (home / "tn3k-trainval-fold0.json").unlink()
    (home / "test-image" / "0001.jpg").unlink()
    (home / "test-mask" / "0000.jpg").unlink()
    source = read("tn3k", tmp_path)
    assert rows_of(source, "image_path", "subtype", "mask_path", "split_hint") == [
        ("trainval-image/0000.jpg", "benign", "trainval-mask/0000.jpg", "train"),
        ("trainval-image/0003.jpg", "malignant", "trainval-mask/0003.jpg", "train"),
        ("test-image/0000.jpg", "malignant", None, "test"),
    ]
    assert ledger_of(source) == {
        "trainval-image/0001.jpg": "no-label",
        "trainval-image/0002.jpg": "no-label",
        "trainval-image/0009.jpg": "no-image",
        "test-image/0001.jpg": "no-image",
        "test-mask/0001.jpg": "mask-not-image",
    }


def test_tn3k_contradictions_are_errors(tmp_path: Path) -> None:
    home = miniature.tn3k(tmp_path) / "tn3k"
    (home / "label4test.csv").write_text("0000.jpg,1\n0001.jpg,0\n0000.jpg,0\n")
    assert "line 3: 0000.jpg is 0, and 1 before" in refusal("tn3k", tmp_path)
    miniature.tn3k(tmp_path)
    (home / "tn3k-trainval-fold0.json").write_text(json.dumps({"train": [0, 1], "val": [1]}))
    assert "An image stands in one partition" in refusal("tn3k", tmp_path)
    (home / "tn3k-trainval-fold0.json").write_text(json.dumps({"train": [0, "1"], "val": []}))
    assert "lists of image numbers" in refusal("tn3k", tmp_path)


def test_a_partition_declared_for_some_images_only_is_left_out(tmp_path: Path) -> None:
    home = miniature.tn3k(tmp_path) / "tn3k"
    (home / "tn3k-trainval-fold0.json").write_text(json.dumps({"train": [0], "val": [1]}))
    source = read("tn3k", tmp_path)
    assert "split_hint" not in source.rows.columns
    assert "4 of 6 images only" in source.notes[-1]


# ---- TN5000


def test_tn5000(tmp_path: Path) -> None:
    source = read("tn5000", miniature.tn5000(tmp_path))
    assert source.root == tmp_path / "TN5000_forReview" / "TN5000_forReview"
    assert rows_of(source, *KEYS, "split_hint") == [
        (path, path, path, malignant, label, hint)
        for path, malignant, label, hint in (
            ("JPEGImages/000001.jpg", False, "benign", "train"),
            ("JPEGImages/000002.jpg", True, "malignant", "train"),
            ("JPEGImages/000003.jpg", True, "malignant", "tuning"),
            ("JPEGImages/000004.jpg", False, "benign", "test"),
        )
    ]
    assert "mask_path" not in source.rows.columns, "a box is not a mask"
    assert any("box is not a mask" in note for note in source.notes)


def test_tn5000_gaps(tmp_path: Path) -> None:
    home = miniature.tn5000(tmp_path) / "TN5000_forReview/TN5000_forReview"
    (home / "Annotations/000001.xml").write_text(miniature.voc("000001", "0", "1"))
    (home / "Annotations/000002.xml").write_text(miniature.voc("000002", "nodule"))
    (home / "Annotations/000003.xml").write_text(miniature.voc("000003", "Malignant", "1"))
    (home / "Annotations/000004.xml").unlink()
    miniature.draw(home / "JPEGImages/000005.jpg", 5)
    (home / "Annotations/000005.xml").write_text(miniature.voc("000005"))
    miniature.draw(home / "JPEGImages/000006.jpg", 6)
    (home / "Annotations/000006.xml").write_bytes(BOMB.encode())
    (home / "Annotations/000007.xml").write_text(miniature.voc("000007", "1"))
    source = read("tn5000", tmp_path)
    assert rows_of(source, "image_path", "subtype", "split_hint") == [("JPEGImages/000003.jpg", "malignant", "tuning")]
    assert ledger_of(source) == {
        "JPEGImages/000001.jpg": "ambiguous-label",
        "JPEGImages/000002.jpg": "no-label",
        "JPEGImages/000004.jpg": "no-annotation",
        "JPEGImages/000005.jpg": "no-label",
        "JPEGImages/000006.jpg": "annotation-unreadable",
        "Annotations/000007.xml": "no-image",
    }


def test_tn5000_with_an_image_in_two_lists_or_no_label_at_all(tmp_path: Path) -> None:
    home = miniature.tn5000(tmp_path) / "TN5000_forReview/TN5000_forReview"
    (home / "ImageSets/Main/test.txt").write_text("000004\r\n000002\r\n")
    assert "000002: train, test" in refusal("tn5000", tmp_path)
    miniature.tn5000(tmp_path)
    for path in (home / "Annotations").iterdir():
        path.write_text(miniature.voc("0", "x"))
    message = refusal("tn5000", tmp_path)
    assert "no-label: 4" in message
    assert "Nothing was written" in message


# ---- ThyroidXL


def test_thyroidxl(tmp_path: Path) -> None:
    source = read("thyroidxl", miniature.thyroidxl(tmp_path))
    assert rows_of(source, *KEYS, "mask_path", "split_hint") == [
        (f"{part}/images/{name}", patient, patient, malignant, label, f"{part}/masks/{name}", part)
        for part, name, patient, malignant, label in (
            ("train", "00000058_2201CE11_0.png", "00000058", False, "benign"),
            ("train", "00000058_A73CED93_1.png", "00000058", False, "benign"),
            ("train", "00000061_0B1C2D3E_0.png", "00000061", True, "PTC"),
            ("test", "00000139_31AD2E2C_0.png", "00000139", True, "malignant"),
        )
    ]
    assert "patient_assumed" not in source.rows.columns
    assert any("not checked against the distribution" in note for note in source.notes)


def test_thyroidxl_with_a_file_of_records_in_each_part(tmp_path: Path) -> None:
    miniature.thyroidxl(tmp_path)
    records = json.loads((tmp_path / "stats/id2info_eng.json").read_text())
    shutil.rmtree(tmp_path / "stats")
    parts = {"train": ("00000058", "00000061"), "test": ("00000139",)}
    for part, patients in parts.items():
        content = {"info": {patient.lstrip("0"): records[patient] for patient in patients}, "images": []}
        (tmp_path / part / f"{part}_annotations.json").write_text(json.dumps(content))
    assert dict(rows_of(read("thyroidxl", tmp_path), "patient_id", "subtype")) == {
        "00000058": "benign",
        "00000061": "PTC",
        "00000139": "malignant",
    }


@pytest.mark.parametrize(
    ("conclusion", "nodules", "outcome"),
    [
        (4, [("Benign (Histopathology) - 4", "Follicular thyroid adenoma")], "benign"),
        (1, [("Malignant (Histopathology) - 1", "Micro-papillary thyroid carcinoma")], "PTC"),
        (1, [("Malignant (Histopathology) - 1", "Papillary thyroid carcinoma, chronic thyroiditis")], "PTC"),
        (1, [("Malignant (Histopathology) - 1", "Follicular thyroid carcinoma")], "FTC"),
        (1, [("Malignant (Histopathology) - 1", "Medullary thyroid carcinoma")], "MTC"),
        (1, [("Malignant (Histopathology) - 1", "Papillary thyroid carcinoma, follicular variant")], "malignant"),
        (1, [("Malignant (Histopathology) - 1", "Hurthle cell carcinoma")], "malignant"),
        (1, [("Malignant (Histopathology) - 1", "Follicular thyroid tumor")], "malignant"),
        (1, [], "malignant"),
        (2, [("Malignant (FNAC) - 2", None), ("Malignant (FNAC) - 2", None)], "malignant"),
        (2, [("Malignant (FNAC) - 2", None), ("Benign (FNAC) - 3", None)], "ambiguous-label"),
        (3, [("Malignant (FNAC) - 2", None)], "ambiguous-label"),
        (3, [("Benign (FNAC) - 3", "Papillary thyroid carcinoma")], "ambiguous-label"),
        (5, [("Benign (FNAC) - 3", None)], "no-label"),
        (None, [("Benign (FNAC) - 3", None)], "no-label"),
    ],
)
def test_thyroidxl_labels(
    conclusion: int | None, nodules: list[tuple[str | None, str | None]], outcome: str, tmp_path: Path
) -> None:
    miniature.thyroidxl(tmp_path)
    place, name = tmp_path / "stats/id2info_eng.json", "00000139_31AD2E2C_0.png"
    records = json.loads(place.read_text())
    records["00000139"] = miniature.thyroidxl_record(conclusion, [name], *nodules)
    place.write_text(json.dumps(records))
    source = read("thyroidxl", tmp_path)
    found = dict(rows_of(source, "image_path", "subtype")) | ledger_of(source)
    assert found[f"test/images/{name}"] == outcome


def test_thyroidxl_gaps(tmp_path: Path) -> None:
    miniature.thyroidxl(tmp_path)
    place = tmp_path / "stats/id2info_eng.json"
    records = json.loads(place.read_text())
    records["00000058"]["images"] = ["00000058_2201CE11_0.png", "00000058_FFFFFFFF_9.png"]
    del records["00000061"]
    place.write_text(json.dumps(records))
    (tmp_path / "test/masks/00000139_31AD2E2C_0.png").unlink()
    miniature.draw_mask(tmp_path / "test/masks/00000140_0_0.png")
    source = read("thyroidxl", tmp_path)
    assert rows_of(source, "image_path", "mask_path") == [
        ("train/images/00000058_2201CE11_0.png", "train/masks/00000058_2201CE11_0.png"),
        ("test/images/00000139_31AD2E2C_0.png", None),
    ]
    assert ledger_of(source) == {
        "train/images/00000058_A73CED93_1.png": "no-annotation",
        "train/images/00000061_0B1C2D3E_0.png": "no-annotation",
        "test/masks/00000140_0_0.png": "mask-not-image",
        "00000058_FFFFFFFF_9.png": "no-image",
    }
    place.write_text(json.dumps({"00000058": 3}))
    assert "one record a patient" in refusal("thyroidxl", tmp_path)
    place.write_text(json.dumps({"58": {}, "00000058": {}}))
    assert "A patient has one record" in refusal("thyroidxl", tmp_path)


# ---- Stanford cine clips


def test_stanford_middle_frames(tmp_path: Path) -> None:
    source = read("stanford-cine", miniature.stanford_cine(tmp_path))
    assert rows_of(source, "image_path", "member", "frame", "patient_id", "nodule_id", "malignant", "subtype") == [
        ("dataset.hdf5", 0, 3, "8", "8/8_", False, "benign"),
        ("dataset.hdf5", 7, 3, "112", "112/112_", True, "malignant"),
        ("dataset.hdf5", 9, 10, "24", "24/24_", False, "benign"),
    ]
    assert source.kept
    assert source.notes[0].startswith("3 of 12 frames were taken (middle")
    assert "names no patient" in source.notes[1]


def test_stanford_other_choices_of_frames(tmp_path: Path) -> None:
    folder = miniature.stanford_cine(tmp_path)
    every = stanford_source(folder, WORDS, frames="all")
    assert every.rows["member"].sort().to_list() == list(range(12))
    two = stanford_source(folder, WORDS, frames="evenly-spaced", n_frames=2)
    assert rows_of(two, "nodule_id", "member", "frame") == [
        *(("8/8_", 3, 2), ("8/8_", 5, 4)),
        *(("112/112_", 6, 2), ("112/112_", 8, 4)),
        *(("24/24_", 10, 9), ("24/24_", 11, 11)),
    ]


@pytest.mark.parametrize(
    ("n", "frames", "n_frames", "expected"),
    [
        (1, "middle", 3, [0]),
        (2, "middle", 3, [1]),
        (5, "middle", 3, [2]),
        (90, "evenly-spaced", 3, [15, 45, 75]),
        (4, "evenly-spaced", 2, [1, 3]),
        (3, "evenly-spaced", 3, [0, 1, 2]),
        (2, "evenly-spaced", 3, [0, 1]),
        (4, "all", 1, [0, 1, 2, 3]),
    ],
)
def test_chosen_frames(n: int, frames: str, n_frames: int, expected: list[int]) -> None:
    assert chosen_frames(n, frames, n_frames) == expected  # type: ignore[arg-type]


def test_one_member_is_read_and_no_more(tmp_path: Path) -> None:
    path = miniature.stanford_cine(tmp_path) / "thyroidultrasoundcineclip/dataset.hdf5"
    pixels, mask = read_member(path, 7)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, miniature.speckle(7))
    assert mask is not None
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, np.roll(miniature.DISC, 7, axis=1))


def test_members_with_a_channel_axis_and_without_masks_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["image"] = miniature.speckle(0)[None, :, :, None]
    pixels, mask = read_member(tmp_path / "a.hdf5", 0)
    assert pixels.shape == (64, 64)
    assert mask is None


def _hdf5(path: Path, **arrays: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_damaged_and_hostile_files_of_frames_are_refused(tmp_path: Path) -> None:
    frames = np.zeros((2, 64, 64), np.uint8)
    (tmp_path / "text.hdf5").write_text("not HDF5")
    (tmp_path / "empty.hdf5").touch()
    whole = _hdf5(tmp_path / "whole.hdf5", image=frames)
    (tmp_path / "cut.hdf5").write_bytes(whole.read_bytes()[:-4000])
    os.mkfifo(tmp_path / "pipe.hdf5")
    with h5py.File(tmp_path / "linked.hdf5", "w") as file:
        file["image"] = h5py.ExternalLink(str(whole), "image")
    with h5py.File(tmp_path / "soft.hdf5", "w") as file:
        file["image"] = h5py.SoftLink("/elsewhere")
    with h5py.File(tmp_path / "outside.hdf5", "w") as file:
        secret = tmp_path / "secret.bin"
        secret.write_bytes(bytes(2 * 64 * 64))
        file.create_dataset("image", (2, 64, 64), np.uint8, external=[(str(secret), 0, 2 * 64 * 64)])
    with h5py.File(tmp_path / "virtual.hdf5", "w") as file:
        layout = h5py.VirtualLayout((2, 64, 64), np.uint8)
        layout[:] = h5py.VirtualSource(str(whole), "image", (2, 64, 64))
        file.create_virtual_dataset("image", layout)
    with h5py.File(tmp_path / "bomb.hdf5", "w") as file:
        file.create_dataset("image", (1000, 1000, 1000), np.uint8, chunks=(1000, 1000, 1000), compression="gzip")
    cases = {
        "text.hdf5": "unreadable",
        "empty.hdf5": "empty-file",
        "cut.hdf5": "unreadable",
        "pipe.hdf5": "not-a-regular-file",
        "missing.hdf5": "unreadable",
        "linked.hdf5": "not-a-picture",
        "soft.hdf5": "not-a-picture",
        "outside.hdf5": "not-a-picture",
        "virtual.hdf5": "not-a-picture",
        "bomb.hdf5": "too-many-pixels",
        _hdf5(tmp_path / "none.hdf5", other=frames).name: "not-a-picture",
        _hdf5(tmp_path / "floats.hdf5", image=frames.astype(np.float32)).name: "not-a-picture",
        _hdf5(tmp_path / "flat.hdf5", image=frames[0]).name: "not-a-picture",
        _hdf5(tmp_path / "colour.hdf5", image=np.zeros((2, 64, 64, 3), np.uint8)).name: "not-a-picture",
        _hdf5(tmp_path / "small.hdf5", image=frames[:, :20]).name: "too-small",
        _hdf5(tmp_path / "long.hdf5", image=np.zeros((2, 32, 400), np.uint8)).name: "extreme-aspect",
        _hdf5(tmp_path / "masks.hdf5", image=frames, mask=frames[:, :32]).name: "mask-size-differs",
    }
    for name, code in cases.items():
        with pytest.raises(RefusedPicture) as caught:
            read_member(tmp_path / name, 1)
        assert (name, caught.value.code) == (name, code)
    for member in (-1, 2):
        with pytest.raises(RefusedPicture):
            read_member(whole, member)


def test_stanford_gaps(tmp_path: Path) -> None:
    home = miniature.stanford_cine(tmp_path) / "thyroidultrasoundcineclip"
    miniature.stanford_table(home / "metadata.csv", {"8_": "Malignant", "112_": "unknown", "30_": "1"})
    source = read("stanford-cine", tmp_path)
    assert rows_of(source, "nodule_id", "subtype") == [("8/8_", "malignant")]
    assert ledger_of(source) == {
        "dataset.hdf5#112_": "no-label",
        "dataset.hdf5#24_": "no-annotation",
        "dataset.hdf5#30_": "no-image",
    }


def test_stanford_nodules_of_one_patient_stay_together(tmp_path: Path) -> None:
    home = miniature.stanford_cine(tmp_path) / "thyroidultrasoundcineclip"
    diagnoses = {"8_": "0.0", "24_": "0", "112_": "1"}
    patients = {"8_": "P1", "24_": "P1", "112_": "P2"}
    miniature.stanford_table(home / "metadata.csv", diagnoses, patient_id=patients)
    source = read("stanford-cine", tmp_path)
    assert rows_of(source, "patient_id", "nodule_id") == [("P1", "P1/8_"), ("P2", "P2/112_"), ("P1", "P1/24_")]
    assert not any("names no patient" in note for note in source.notes)


def test_stanford_faults_are_errors(tmp_path: Path) -> None:
    home = miniature.stanford_cine(tmp_path) / "thyroidultrasoundcineclip"
    table = (home / "metadata.csv").read_text()
    (home / "metadata.csv").write_text(table + table.splitlines()[1] + "\n")
    assert "one row a nodule. Repeated:\n  - 8_" in refusal("stanford-cine", tmp_path)
    (home / "metadata.csv").write_text(table)
    with h5py.File(home / "dataset.hdf5", "a") as file:
        del file["frame_num"]
    assert "no array 'frame_num'" in refusal("stanford-cine", tmp_path)
    with h5py.File(home / "dataset.hdf5", "a") as file:
        file["frame_num"] = np.arange(3)
    assert "image 12, annot_id 12, frame_num 3" in refusal("stanford-cine", tmp_path)
    (home / "dataset.hdf5").write_text("no HDF5")
    assert "cannot be read" in refusal("stanford-cine", tmp_path)


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
