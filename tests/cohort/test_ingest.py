"""A source becomes manifest, ledger and certificate; a faulty one becomes one clear error and nothing on disk."""

import csv
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn import files
from csasn.cohort.ingest import IngestResult
from csasn.cohort.ingest import ingest as ingest_source
from csasn.cohort.table_files import read_table
from csasn.config import IngestSettings
from csasn.errors import BadInputError, StorageError
from csasn.files import read_json
from csasn.schema import LEDGER_COLUMNS, MANIFEST_COLUMNS, classes_of, manifest_sha256, read_manifest

HEADER = "image_path,patient_id,label"


def ingest(source: Path, out: Path, **options: object) -> IngestResult:
    """Settings given by name become IngestSettings."""
    settings = {name: options.pop(name) for name in tuple(options) if name in IngestSettings.model_fields}
    return ingest_source(source, out, settings=IngestSettings(**settings), **options)


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48), dtype=np.uint8)).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number in range(6):
        draw(folder / f"images/{number}.png", number)
    return folder


def table(folder: Path, *lines: str, header: str = HEADER, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def good(folder: Path) -> Path:
    labels = ("benign", "PTC", "FTC", "normal", "benign", "PTC")
    return table(folder, *(f"images/{i}.png,00{i},{label}" for i, label in enumerate(labels)))


def refused(source: Path, out: Path, **options: object) -> str:
    before = sorted(path.name for path in out.parent.iterdir())
    with pytest.raises(BadInputError) as caught:
        ingest(source, out, **options)
    assert sorted(path.name for path in out.parent.iterdir()) == before, "something was written"
    return str(caught.value)


def ledger(out: Path) -> dict[str, str]:
    with (out / "ledger.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(tuple(row) == tuple(LEDGER_COLUMNS) for row in rows)
    return {row["item"]: row["code"] for row in rows if row["outcome"] == "refused"}


def test_a_table_becomes_a_cohort(source, tmp_path):
    seen: list[tuple[int, int]] = []
    result = ingest(good(source), tmp_path / "cohort", progress=lambda done, total: seen.append((done, total)))
    assert (result.n_used, result.n_refused, result.layout, result.refusals) == (6, 0, "table", {})
    assert seen == [(done, 6) for done in range(1, 7)]
    manifest = read_manifest(result.folder)
    assert dict(manifest.schema) == {name: dtype() for name, dtype in MANIFEST_COLUMNS.items()}
    assert manifest["patient_id"].to_list() == ["000", "001", "002", "003", "004", "005"]
    assert manifest["nodule_id"].to_list() == manifest["patient_id"].to_list()
    assert set(manifest["site"]) == {"site-1"}
    assert set(manifest["width_px"]) == {48}
    assert set(manifest["height_px"]) == {40}
    assert manifest["sha256"][0] == files.file_sha256(source / "images/0.png")
    assert classes_of(manifest).names == ("benign", "normal", "PTC", "FTC")
    certificate = read_json(result.folder / "certificate.json")
    assert certificate["images_root"] == str(source.resolve())
    assert certificate["manifest_sha256"] == manifest_sha256(manifest)
    assert certificate["simulated"] is False
    assert all(check["passed"] for check in certificate["checks"])
    assert ledger(result.folder) == {}


def test_columns_are_mapped_and_labels_found_whatever_their_case_and_space(source, tmp_path):
    path = table(
        source,
        "images/0.png, 007 , Benign ,A,left,Transverse,0.05,3,0",
        "images/1.png,008, ptc,B,,,,,1",
        "images/2.png,008,NIFTP,B,right,,,,no",
        header="file,who,diagnosis,hospital,nodule_id,view,pixel_spacing_mm,frame,cancer",
        name="t.csv",
    )
    mapping = {
        "image_path": "file",
        "patient_id": "who",
        "label": "diagnosis",
        "site": "hospital",
        "malignant": "cancer",
    }
    assert "NIFTP" in refused(path, tmp_path / "c", columns=mapping)
    ingest(path, tmp_path / "c", columns=mapping, non_malignant_classes=("niftp",))
    rows = read_manifest(tmp_path / "c").to_dicts()
    assert [row["subtype"] for row in rows] == ["benign", "PTC", "niftp"]
    assert [row["malignant"] for row in rows] == [False, True, False]
    assert [row["nodule_id"] for row in rows] == ["007/left", "008", "008/right"]
    assert [row["site"] for row in rows] == ["A", "B", "B"]
    assert (rows[0]["patient_id"], rows[0]["view"], rows[0]["pixel_spacing_mm"], rows[0]["frame"]) == (
        "007",
        "transverse",
        0.05,
        3,
    )


DESCRIBED = "image_path,patient_id,label,age_years,sex,nodule_size_mm,tirads_level"


def test_what_describes_the_patient_and_the_nodule_enters_the_manifest(source, tmp_path):
    path = table(
        source, "images/0.png,a,benign,0,Female,12.5,3", "images/1.png,b,PTC,,,,", header=DESCRIBED, name="t.csv"
    )
    ingest(path, tmp_path / "c")
    rows = read_manifest(tmp_path / "c").select(DESCRIBED.split(",")[3:]).rows()
    assert rows == [(0.0, "female", 12.5, 3), (None, None, None, None)]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("-1,,,", "age_years is a number of years from 0 to 120"),
        ("121,,,", "age_years is a number of years from 0 to 120"),
        (",f,,", "sex is female, male or empty"),
        (",,0,", "nodule_size_mm is a positive number"),
        (",,,0", "tirads_level is a whole number from 1 to 5"),
        (",,,4.5", "tirads_level is a whole number from 1 to 5"),
        (",,,6", "tirads_level is a whole number from 1 to 5"),
        (",,,TR4", "tirads_level is a whole number from 1 to 5"),
    ],
)
def test_descriptions_out_of_their_range_are_refused(source, tmp_path, cells, says):
    path = table(source, f"images/0.png,a,benign,{cells}", "images/1.png,b,PTC,,,,", header=DESCRIBED, name="t.csv")
    assert says in refused(path, tmp_path / "c")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_and_quoted_line_breaks_are_understood(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes('a,b\r\n"x\ny",007\r\n\r\n"ü,""z""",\r\n'.encode(encoding))
    assert read_table(path).rows.to_dicts() == [
        {"a": "x\ny", "b": "007", "_line": 2},
        {"a": 'ü,"z"', "b": "", "_line": 5},
    ]


def test_tsv_and_parquet_are_tables_too(source, tmp_path):
    frame = pl.read_csv(good(source), infer_schema=False)
    frame.write_csv(source / "t.tsv", separator="\t")
    frame.write_parquet(source / "t.parquet")
    ingest(good(source), tmp_path / "csv")
    for name in ("t.tsv", "t.parquet"):
        ingest(source / name, tmp_path / name)
        assert read_manifest(tmp_path / name).equals(read_manifest(tmp_path / "csv"))


def test_just_malignant_beside_subtypes_trains_the_first_task_only(source, tmp_path):
    lines = ("images/0.png,0,benign", "images/1.png,1,malignant", "images/2.png,2,PTC")
    ingest(table(source, *lines), tmp_path / "mixed")
    assert read_manifest(tmp_path / "mixed").select("malignant", "subtype").rows() == [
        (False, "benign"),
        (True, None),
        (True, "PTC"),
    ]
    counts = read_json(tmp_path / "mixed/certificate.json")["counts"]
    assert [row["class"] for row in counts] == ["benign", "PTC", "malignant (subtype unknown)"]
    ingest(table(source, *lines[:2]), tmp_path / "alone")
    assert read_manifest(tmp_path / "alone")["subtype"].to_list() == ["benign", "malignant"]


def test_label_malignant_is_refined_by_subtype_and_contradictions_are_refused(source, tmp_path):
    header = "image_path,patient_id,label,subtype"
    lines = ["images/0.png,0,benign,", "images/1.png,1,malignant,PTC"]
    ingest(table(source, *lines, header=header), tmp_path / "c")
    assert read_manifest(tmp_path / "c")["subtype"].to_list() == ["benign", "PTC"]
    message = refused(table(source, *lines, "images/2.png,2,benign,FTC", header=header), tmp_path / "d")
    assert "line 4" in message
    assert "contradict" in message


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["images/0.png,0,bening", "images/1.png,1,PTC", "images/2.png,2,PTCC", "images/3.png,3,"],
         ["line 2: label 'bening' is unknown; did you mean 'benign'?", "line 4", "did you mean 'PTC'", "line 5"]),
        (["images/0.png,,benign", ",1,PTC"], ["line 2: patient_id is empty", "line 3: image_path is empty"]),
        (["images/0.png,0,benign", "./images/0.png,0,benign"], ["stands in one row", "lines 2-3: images/0.png"]),
        (["images/0.png,0,benign", "images//0.png,0,PTC"], ["has one label", "line 2", "PTC", "line 3"]),
        (["images/8.png,0,benign", "images/0.png,1,PTC", "images/9.png,1,PTC"], ["existing file", "8.png", "9.png"]),
        (["../x.png,0,benign", "/etc/hostname,1,PTC", "link.png,2,PTC", "C:\\x.png,3,PTC"],
         ["lies below", "'../x.png'", "'/etc/hostname'", "'link.png'", "C:/x.png"]),
        (["images/0.png,0,benign", "images/1.png,0,PTC"], ["one diagnosis", "0: benign, malignant"]),
        (["images/0.png,0,benign,x", "images/1.png,1,PTC", "images/2.png,1,PTC,a,b"], ["line 2: 4 cells", "line 4"]),
        (["images/0.png,0,benign"], ["at least one malignant"]),
        ([], ["at least one row"]),
    ],
)  # fmt: skip
def test_a_faulty_table_is_one_error_that_lists_every_row(source, tmp_path, lines, expected):
    draw(tmp_path / "x.png", 99)
    (source / "link.png").symlink_to(tmp_path / "x.png")
    message = refused(table(source, *lines), tmp_path / "cohort")
    for text in expected:
        assert text in message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("image_path,label", ["'patient_id'", "It has: image_path, label"]),
        ("path,patient,diagnosis", ["'image_path'", "'patient_id'", "'label'"]),
        ("image_path;patient_id;label", ["semicolons", "commas"]),
        ("image_path,patient_id,label,label", ["name of its own", "label"]),
        ("", ["header"]),
    ],
)
def test_a_faulty_header_is_refused(source, tmp_path, header, expected):
    row = ",".join("abcd"[: header.count(",") + 1])
    message = refused(table(source, row, header=header), tmp_path / "cohort")
    for text in expected:
        assert text in message


def test_faulty_optional_columns_are_refused(source, tmp_path):
    for column, cell in (("view", "oblique"), ("frame", "1.5"), ("pixel_spacing_mm", "0"), ("split_hint", "val")):
        path = table(source, "images/0.png,0,benign,", f"images/1.png,1,PTC,{cell}", header=f"{HEADER},{column}")
        message = refused(path, tmp_path / "cohort")
        assert f"line 3: '{cell}'" in message
        assert column in message


def test_faulty_declarations_are_refused(source, tmp_path):
    assert "did you mean 'site'" in refused(good(source), tmp_path / "c", columns={"sites": "x"})
    assert "'where' for site" in refused(good(source), tmp_path / "c", columns={"site": "where"})
    assert "'Benign' declared" in refused(good(source), tmp_path / "c", malignant_classes=("Benign",))
    assert "either" in refused(good(source), tmp_path / "c", malignant_classes=("x",), non_malignant_classes=("X",))
    assert "nothing at" in refused(tmp_path / "absent.csv", tmp_path / "c")
    (source / "latin.csv").write_bytes("image_path,patient_id,label\nü,1,PTC\n".encode("latin-1"))
    assert "UTF-8" in refused(source / "latin.csv", tmp_path / "c")


def test_what_cannot_be_read_goes_to_the_ledger_and_nothing_is_lost(source, tmp_path):
    (source / "images/1.png").write_bytes(b"")
    (source / "images/2.png").write_bytes(b"<html>")
    (source / "images/3.png").unlink()
    os.mkfifo(source / "images/3.png")
    path = good(source)
    result = ingest(path, tmp_path / "cohort")
    codes = {"images/1.png": "empty-file", "images/2.png": "not-a-picture", "images/3.png": "not-a-regular-file"}
    assert ledger(tmp_path / "cohort") == codes
    assert result.n_used + result.n_refused == 6
    assert result.refusals == dict.fromkeys(sorted(codes.values()), 1)
    assert not set(codes) & set(read_manifest(tmp_path / "cohort")["image_path"])
    assert read_json(tmp_path / "cohort/certificate.json")["n_refused"] == 3


def test_when_every_item_is_refused_nothing_is_written(source, tmp_path):
    path = good(source)
    for picture in (source / "images").iterdir():
        picture.write_bytes(b"")
    assert "empty-file: 6" in refused(path, tmp_path / "cohort")


def test_a_faulty_mask_refuses_its_image(source, tmp_path):
    Image.fromarray(np.pad(np.full((9, 9), 255, np.uint8), ((3, 28), (5, 34)))).save(source / "mask.png")
    Image.new("1", (40, 48)).save(source / "turned.png")
    lines = ["images/0.png,0,benign,mask.png", "images/1.png,1,PTC,turned.png", "images/2.png,2,PTC,"]
    ingest(table(source, *lines, header=f"{HEADER},mask_path"), tmp_path / "cohort")
    assert ledger(tmp_path / "cohort") == {"images/1.png": "mask-size-differs"}
    assert read_manifest(tmp_path / "cohort")["mask_path"].to_list() == ["mask.png", None]


def test_the_same_pixels_under_two_patients_are_refused(source, tmp_path):
    Image.open(source / "images/0.png").save(source / "images/4.bmp")
    lines = ("images/0.png,0,benign", "images/1.png,1,PTC", "images/4.bmp,4,benign")
    message = refused(table(source, *lines), tmp_path / "cohort")
    assert "images/0.png (0) = images/4.bmp (4)" in message
    ingest(table(source, *lines[:2], "images/4.bmp,0,benign"), tmp_path / "cohort")
    assert ledger(tmp_path / "cohort") == {"images/4.bmp": "duplicate-pixels"}


def test_class_folders_become_a_cohort(tmp_path):
    source = tmp_path / "source"
    for seed, name in enumerate(
        ["benign/a.png", "Benign/ü b\n.png", "ptc/p1/x.png", "ptc/p1/deep/y.png", "ftc/p2/z.png"]
    ):
        draw(source / name.replace("Benign", "benign"), seed)
    shutil.copy(source / "benign/a.png", tmp_path / "elsewhere.png")
    (source / "benign/link.png").symlink_to(tmp_path / "elsewhere.png")
    (source / "ptc/linked").symlink_to(tmp_path)
    (source / "readme.txt").write_text("x")
    (source / "ptc/p1/=notes.txt").write_text("x")
    draw(source / "benign/a_mask.png", 60)
    result = ingest(source, tmp_path / "cohort")
    assert (result.layout, result.n_used, result.n_refused) == ("folders", 5, 5)
    assert ledger(result.folder) == {
        "benign/a_mask.png": "mask-not-image",
        "benign/link.png": "outside-source",
        "ptc/linked": "outside-source",
        "ptc/p1/=notes.txt": "not-a-picture",
        "readme.txt": "no-class",
    }
    rows = {row["image_path"]: row for row in read_manifest(result.folder).iter_rows(named=True)}
    assert rows["ptc/p1/deep/y.png"]["patient_id"] == "p1"
    assert rows["ptc/p1/x.png"]["nodule_id"] == "p1/PTC"
    assert rows["benign/a.png"]["patient_id"] == "benign/a.png"
    assert rows["benign/ü b\n.png"]["malignant"] is False
    assert any("a patient of its own" in note for note in read_json(result.folder / "certificate.json")["notes"])


def test_unknown_class_folders_and_unknown_layouts_are_refused(tmp_path):
    source = tmp_path / "source"
    for seed, name in enumerate(["benign/a.png", "PCT/b.png", "cohort/c.png"]):
        draw(source / name, seed)
    message = refused(source, tmp_path / "cohort")
    assert "PCT; did you mean 'PTC'?" in message
    assert "- cohort" in message
    shutil.rmtree(source / "benign")
    message = refused(source, tmp_path / "cohort")
    assert "PCT/" in message
    assert "busi" in message
    (source / "PCT").rename(source / "PTC")
    (source / "cohort").rename(source / "benign")
    assert "outside its source" in refused(source, source / "benign" / "out")
    assert "belongs to a table" in refused(source, tmp_path / "cohort", columns={"site": "x"})


def test_an_existing_cohort_is_never_overwritten(source, tmp_path):
    ingest(good(source), tmp_path / "cohort")
    before = (tmp_path / "cohort/manifest.parquet").read_bytes()
    assert "not empty" in refused(good(source), tmp_path / "cohort")
    assert (tmp_path / "cohort/manifest.parquet").read_bytes() == before


def test_a_full_device_leaves_nothing_behind(source, tmp_path, monkeypatch):
    path = good(source)
    before = sorted(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        ingest(path, tmp_path / "cohort")
    assert sorted(tmp_path.iterdir()) == before


def test_real_breast_ultrasound_becomes_a_cohort(data_folder, tmp_path):
    busi = data_folder / "busi"
    table = pl.read_csv(busi / "labels.csv", infer_schema=False)
    some = pl.concat(table.filter(pl.col("label") == label).head(20) for label in ("benign", "malignant", "normal"))
    source = tmp_path / "busi"
    for name in (*some["image"], *some["mask"]):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(busi / name)
    some.write_csv(source / "labels.csv")
    assert "lies below" in refused(source, tmp_path / "cohort")
    for name in (*some["image"], *some["mask"]):
        (source / name).unlink()
        shutil.copyfile(busi / name, source / name)
    result = ingest(source, tmp_path / "cohort")
    assert (result.layout, result.n_used, result.n_refused) == ("busi", 60, 0)
    manifest = read_manifest(result.folder)
    assert classes_of(manifest).names == ("benign", "normal", "malignant")
    assert set(manifest["site"]) == {"busi"}
    assert manifest["patient_id"].to_list() == some["dup_group"].to_list() == manifest["nodule_id"].to_list()
    assert manifest["mask_path"].null_count() == 0
    certificate = read_json(result.folder / "certificate.json")
    assert "CC BY 4.0" in str(certificate["citation"])


def test_all_real_breast_ultrasound_is_used(data_folder, tmp_path):
    result = ingest(data_folder / "busi", tmp_path / "cohort")
    assert (result.n_used, result.n_refused) == (532, 0)
    counts = read_json(result.folder / "certificate.json")["counts"]
    assert [(row["class"], row["n_images"]) for row in counts] == [("benign", 298), ("normal", 90), ("malignant", 144)]
