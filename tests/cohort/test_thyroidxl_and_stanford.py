"""ThyroidXL and the Stanford cine clips become the rows that their layouts say."""

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from csasn.cohort.published.stanford_cine import chosen_frames, read_member, stanford_source
from csasn.decoding.refused import RefusedPicture
from tests.support import miniature_sets as miniature
from tests.support.published_sets import KEYS, WORDS, ledger_of, read, refusal, rows_of

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
