from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from csasn.cohort.table_files import read_table
from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import read_dicom
from csasn.phantom.anatomy import VIEWS
from csasn.phantom.cohort import draw_patients, simulate_export
from csasn.phantom.export import BANNER_PX, N_CINE, invented, write_objects
from csasn.phantom.rendering import Acquisition, acquisitions
from csasn.phantom.scanner import draw_scanner
from csasn.phantom.workbook import workbook

N_PATIENTS, SEED = 12, 4


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pacs") / "out"
    simulate_export(folder, n_patients=N_PATIENTS, n_sites=2, seed=SEED)
    return folder


@pytest.fixture(scope="module")
def planned() -> dict[tuple[str, str], Acquisition]:
    """Every acquisition of the export by hospital number and view."""
    scanners = [draw_scanner(site, SEED) for site in range(2)]
    patients = draw_patients(n_patients=N_PATIENTS, n_sites=2, seed=SEED)
    drawn = acquisitions(patients, scanners, seed=SEED, overlay_shortcut=0.0)
    return {(invented(each.patient.number)[1], each.view): each for each in drawn}


def objects(export: Path) -> dict[Path, Dataset]:
    return {path: dcmread(path) for path in sorted((export / "export").rglob("*.dcm"))}


def view_of(dataset: Dataset) -> str:
    return str(dataset.SeriesDescription).split()[-1].lower()


def test_every_object_says_that_it_is_simulated(export: Path) -> None:
    found = objects(export)
    assert len(found) == N_PATIENTS * len(VIEWS)
    for path, dataset in found.items():
        assert "SIMULATED" in dataset.ImageComments
        assert "SIMULATED" in dataset.DerivationDescription
        assert dataset.BurnedInAnnotation == "YES"
        site, _, study, name = path.relative_to(export / "export").parts
        assert site in dataset.InstitutionName
        assert (study, name) == (dataset.AccessionNumber, f"{view_of(dataset)}.dcm")
    for key in ("SOPInstanceUID", "SeriesInstanceUID"):
        counts = Counter(str(dataset[key].value) for dataset in found.values())
        assert set(counts.values()) == ({1} if key == "SOPInstanceUID" else {2})


def test_every_coding_and_loops_occur(export: Path) -> None:
    found = objects(export).values()
    codings = {(str(each.file_meta.TransferSyntaxUID.name), each.PhotometricInterpretation) for each in found}
    assert {photometric for _, photometric in codings} == {"RGB", "YBR_FULL_422", "MONOCHROME2", "MONOCHROME1"}
    assert len({syntax for syntax, _ in codings}) == 5
    loops = [each for each in found if "NumberOfFrames" in each]
    assert len(loops) == N_PATIENTS // 3
    for each in loops:
        assert each.SOPClassUID.name == "Ultrasound Multi-frame Image Storage"
        frames = each.pixel_array[:, BANNER_PX:].astype(float)
        assert len(frames) == N_CINE
        for before, after in pairwise(frames):
            assert 0.5 < np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.999  # alike, and not the same


def test_objects_hold_the_pictures_of_the_cohort(export: Path, planned: dict[tuple[str, str], Acquisition]) -> None:
    for dataset in objects(export).values():
        acquisition = planned[dataset.PatientID, view_of(dataset)]
        if "NumberOfFrames" in dataset or acquisition.patient.number % 5 == 4:  # letters lie in its picture
            continue
        picture = acquisition.pictures()[0].pixels
        stored = dataset.pixel_array.reshape(dataset.Rows, dataset.Columns, -1)[BANNER_PX:, :, 0].astype(int)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            stored = 255 - stored
        error = np.abs(stored - picture)
        assert error.mean() < 4 if dataset.PhotometricInterpretation == "YBR_FULL_422" else error.max() == 0
        region = dataset.SequenceOfUltrasoundRegions[0]
        assert region.PhysicalDeltaX * 10 == pytest.approx(acquisition.scanner.pixel_spacing_mm)
        assert (region.RegionLocationMinY0, region.RegionLocationMaxY1) == (BANNER_PX, dataset.Rows - 1)


def test_the_reader_gives_the_pictures_back(export: Path, planned: dict[tuple[str, str], Acquisition]) -> None:
    for path, dataset in objects(export).items():
        acquisition = planned[dataset.PatientID, view_of(dataset)]
        read = read_dicom(path, DicomSettings())
        assert (read.view, read.identity.patient_id) == (acquisition.view, dataset.PatientID)
        assert read.frames[0].pixel_spacing_mm == pytest.approx(acquisition.scanner.pixel_spacing_mm)
        height, width = acquisition.scanner.stored_px
        assert read.frames[0].pixels.shape[0] >= height
        assert read.frames[0].pixels.shape[1] >= width


def test_labels_and_attributes_name_the_same_patients(export: Path) -> None:
    labels = pl.read_csv(export / "labels.csv")
    assert labels.columns == ["patient_id", "nodule_id", "site", "label"]
    sheet = read_table(export / "labels.xlsx").rows
    assert sheet["histology"].to_list() == labels["label"].to_list()
    assert sheet["patient_id"].to_list() == labels["patient_id"].to_list()
    attributes = pl.read_csv(export / "attributes.csv")
    assert attributes["subtype"].to_list() == labels["label"].to_list()
    assert attributes["hospital_number"].to_list() == labels["patient_id"].to_list()
    assert {each.PatientID for each in objects(export).values()} == set(labels["patient_id"])


def test_the_same_acquisition_gives_the_same_bytes(
    export: Path, planned: dict[tuple[str, str], Acquisition], tmp_path: Path
) -> None:
    chosen = [
        each for each in planned.values() if each.patient.number in (0, 1, 2, 3, 10) and each.view == "transverse"
    ]
    for each in chosen:
        assert write_objects((tmp_path, each)) == 1
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.dcm")}
    assert len(written) == 5
    assert all((export / "export" / name).read_bytes() == content for name, content in written.items())


def test_a_workbook_keeps_its_text(tmp_path: Path) -> None:
    rows = [("patient_id", "histology"), ("007", 'a < b & "c"'), ("Ä", "PTC")]
    (tmp_path / "table.xlsx").write_bytes(workbook(rows))
    table = read_table(tmp_path / "table.xlsx").rows
    assert table["patient_id"].to_list() == ["007", "Ä"]
    assert table["histology"].to_list() == ['a < b & "c"', "PTC"]
    assert workbook(rows) == workbook(rows)
