"""BUSI and DDTI become the rows that their layouts say."""

from pathlib import Path

import polars as pl
import pytest

from csasn.cohort.published.annotation_xml import parsed
from csasn.decoding.refused import RefusedPicture
from tests.support import miniature_sets as miniature
from tests.support.published_sets import BOMB, KEYS, ledger_of, read, rows_of

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
