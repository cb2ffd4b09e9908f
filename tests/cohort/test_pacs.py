"""A simulated PACS export becomes a cohort that holds no identifier; labels find their files by the right key."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit

from csasn.cohort.ingest import ingest
from csasn.cohort.pseudonyms import keep_private, open_pseudonyms
from csasn.cohort.verification import lines, verify
from csasn.errors import BadInputError
from csasn.files import read_json
from csasn.phantom.cohort import simulate_export
from csasn.phantom.export import invented
from csasn.schema import read_manifest


@pytest.fixture(scope="module")
def pacs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pacs") / "made"
    simulate_export(folder, n_patients=10, n_sites=1, seed=2)
    return folder


def taken_in(pacs: Path, tmp_path: Path, **options):
    options = {"labels": pacs / "labels.csv", "private": tmp_path / "private"} | options
    return ingest(pacs / "export", tmp_path / "cohort", layout="dicom", **options)


def test_no_identifier_leaves_and_the_crosswalk_leads_back(pacs, tmp_path):
    result = taken_in(pacs, tmp_path)
    assert (result.n_items, result.n_used, result.n_images) == (20, 20, 20)
    content = b"".join(path.name.encode() + path.read_bytes() for path in result.folder.rglob("*") if path.is_file())
    content += read_manifest(result.folder).write_csv().encode()
    for number in range(10):
        name, hospital_number = invented(number)
        for word in (*name.split("^"), hospital_number, f"ACC{number:06d}"):
            assert word.encode() not in content
    assert str(pacs).encode() not in content
    private = tmp_path / "private"
    assert all(path.stat().st_mode & 0o077 == 0 for path in private.iterdir())
    with (private / "crosswalk-cohort.csv").open(newline="") as stream:
        patients = {row["pseudonym"]: row["original"] for row in csv.DictReader(stream) if row["kind"] == "patient"}
    labels = dict(pl.read_csv(pacs / "labels.csv").select("patient_id", "label").iter_rows())
    for row in read_manifest(result.folder).iter_rows(named=True):
        assert labels[patients[row["patient_id"]].split(" | ")[-1]] == row["subtype"]


def test_the_picture_is_the_region_alone(pacs, tmp_path):
    result = taken_in(pacs, tmp_path)
    with (tmp_path / "private/crosswalk-cohort.csv").open(newline="") as stream:
        items = {row["pseudonym"]: row["original"] for row in csv.DictReader(stream) if row["kind"] == "item"}
    for row in read_manifest(result.folder).iter_rows(named=True):
        source = dcmread(pacs / "export" / items[Path(row["image_path"]).name[:18]])
        region = source.SequenceOfUltrasoundRegions[0]
        frames = source.pixel_array.reshape(-1, source.Rows, source.Columns, source.SamplesPerPixel)
        expected = frames[len(frames) // 2, region.RegionLocationMinY0 :, :, 0]
        found = np.asarray(Image.open(result.folder / row["image_path"]))
        assert found.shape == expected.shape
        if source.PhotometricInterpretation == "MONOCHROME1":
            expected = 255 - expected
        near = 8 if source.file_meta.TransferSyntaxUID == JPEGBaseline8Bit else 0
        assert (np.abs(found.astype(int) - expected) <= near).mean() > 0.7, "only masked text differs"
        assert row["pixel_spacing_mm"] == pytest.approx(10 * region.PhysicalDeltaX)
        assert row["view"] in source.SeriesDescription.lower()


def test_the_same_key_gives_the_same_pseudonyms_and_another_key_others(pacs, tmp_path):
    found = []
    for name, private in (("a", "one"), ("b", "one"), ("c", "two")):
        options = {"labels": pacs / "labels.csv", "private": tmp_path / private}
        ingest(pacs / "export", tmp_path / name, layout="dicom", **options)
        found.append(set(read_manifest(tmp_path / name)["patient_id"]))
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_files_without_a_label_and_files_that_are_not_dicom_are_set_aside(pacs, tmp_path):
    labels = pl.read_csv(pacs / "labels.csv")
    labels[:8].write_csv(tmp_path / "labels.csv")
    export = tmp_path / "export"
    for path in (pacs / "export").rglob("*.dcm"):
        target = export / path.relative_to(pacs / "export")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (export / "INVENTED.txt").write_text("a name")
    options = {"labels": tmp_path / "labels.csv", "private": tmp_path / "private"}
    result = ingest(export, tmp_path / "cohort", layout="dicom", **options)
    assert result.refusals == {"no-label": 4, "not-dicom": 1}
    assert result.n_items == result.n_used + result.n_refused == 21
    assert len(list((result.folder / "images").iterdir())) == 16
    assert "INVENTED" not in (result.folder / "ledger.csv").read_text()


def test_the_private_folder_and_the_labels_are_asked_for(pacs, tmp_path):
    with pytest.raises(BadInputError, match="--private"):
        taken_in(pacs, tmp_path, private=None)
    with pytest.raises(BadInputError, match="--labels"):
        taken_in(pacs, tmp_path, labels=None)
    with pytest.raises(BadInputError, match="lie apart"):
        taken_in(pacs, tmp_path, private=tmp_path / "cohort" / "private")
    (tmp_path / "private").mkdir()
    (tmp_path / "private/secret.key").write_text("too short")
    with pytest.raises(BadInputError, match="64 hexadecimal"):
        taken_in(pacs, tmp_path)
    assert not (tmp_path / "cohort").exists()


def test_a_key_made_meanwhile_is_never_replaced(tmp_path):
    first, second = (open_pseudonyms(tmp_path / "private", tmp_path / "cohort", tmp_path / "export") for _ in range(2))
    assert not (tmp_path / "private").exists()
    keep_private(first, tmp_path / "private", tmp_path / "cohort")
    keep_private(first, tmp_path / "private", tmp_path / "cohort")
    with pytest.raises(BadInputError, match="meanwhile"):
        keep_private(second, tmp_path / "private", tmp_path / "cohort")
    assert open_pseudonyms(tmp_path / "private", tmp_path / "cohort", tmp_path / "export").secret == first.secret


def test_errors_of_the_label_table_name_lines_and_no_key(pacs, tmp_path):
    table = tmp_path / "labels.csv"
    for text, said in (
        ("patient_id,label\nSECRET1,PTC\nSECRET1,benign\n", "same patient_id"),
        ("patient_id,label\nSECRET1,PTX\n", "PTX"),
        ("patient_id,label\n,PTC\n", "no key"),
        ("who,label\nSECRET1,PTC\n", "one of"),
    ):
        table.write_text(text)
        with pytest.raises(BadInputError, match=said) as caught:
            taken_in(pacs, tmp_path, labels=table)
        assert "SECRET1" not in str(caught.value)


def test_the_most_specific_key_wins(pacs, tmp_path):
    path = min((pacs / "export").rglob("*.dcm"))
    rows = pl.read_csv(pacs / "labels.csv").with_columns(
        sop_instance_uid=pl.lit(None, dtype=pl.String), age_years=pl.lit(61.5), sex=pl.lit("male")
    )
    other = {
        "age_years": 40.0,
        "sex": "female",
        "patient_id": None,
        "site": "elsewhere",
        "label": "ATC",
        "sop_instance_uid": dcmread(path).SOPInstanceUID,
    }
    table = tmp_path / "labels.xlsx"
    pl.concat([rows, pl.DataFrame([other], schema=rows.schema)]).write_excel(table)
    result = taken_in(pacs, tmp_path, labels=table)
    manifest = read_manifest(result.folder)
    assert manifest.filter(site="elsewhere").select("subtype", "age_years", "sex").rows() == [("ATC", 40.0, "female")]
    assert set(manifest.filter(pl.col("site") != "elsewhere")["age_years"]) == {61.5}
    assert any("several sites" in note for note in read_json(result.folder / "certificate.json")["notes"])


def test_check_finds_what_changed(pacs, tmp_path):
    result = taken_in(pacs, tmp_path)
    assert verify(result.folder).differences == ()
    assert any("differences" in line for line in lines(verify(result.folder)))
    image = result.folder / read_manifest(result.folder)["image_path"][0]
    content = image.read_bytes()
    image.write_bytes(content[:-1] + b"x")
    assert any("changed since ingest" in each for each in verify(result.folder).differences)
    image.unlink()
    assert len(verify(result.folder).differences) == 1
    image.write_bytes(content)
    with (result.folder / "ledger.csv").open("a") as stream:
        stream.write("x,refused,y,z\n")
    assert any("looked_at" in each for each in verify(result.folder).differences)
