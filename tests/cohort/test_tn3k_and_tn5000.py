"""TN3K and TN5000 become the rows that their layouts say."""

import json
from pathlib import Path

from csasn.cohort.published import PUBLISHED
from tests.support import miniature_sets as miniature
from tests.support.published_sets import BOMB, KEYS, ledger_of, read, refusal, rows_of

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
