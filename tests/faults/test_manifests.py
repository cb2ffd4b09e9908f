"""Faults 60, 65 and 66, which splits, exports and a million rows show; `faults.manifests` has the rest."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csasn.cli import main
from csasn.cli.outcome import EXIT_REFUSED
from csasn.cohort.ingest import ingest
from csasn.cohort.split import split_run
from csasn.config import Configuration, SplitSettings
from csasn.csv_cells import FORMULA_SIGNS, restored_cell
from csasn.files import read_json
from csasn.runs import create_run
from csasn.schema import read_manifest
from tests.faults.manifests import FORMULAS, good_rows, pictures, put, write_table

ROOT = Path(__file__).parents[2]


def cells_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))[1:]


def lone_cohort(tmp_path: Path, variant: str) -> Path:
    """ATC, and for one variant MTC too, has one patient; four patients of each other class."""
    rows = [row | {"patient_id": f"{copy}{row['patient_id']}"} for copy in range(4) for row in good_rows()]
    for copy in range(4):
        pictures(tmp_path / f"source/{copy}")
    for number, row in enumerate(rows):
        row["image_path"] = f"{number // 6}/{row['image_path']}"
        noise(tmp_path / "source" / str(row["image_path"]), number)
    put(label="ATC")(0)(rows)
    if variant == "two-classes":
        put(label="MTC")(1)(rows)
    if variant == "two-images":
        put(label="ATC", patient_id=rows[0]["patient_id"])(1)(rows)
    if variant == "two-nodules":
        put(patient_id=rows[0]["patient_id"], nodule_id="other")(1)(rows)
    path = tmp_path / "source" / ("table.tsv" if variant == "tsv" else "table.csv")
    write_table(path, rows)
    ingest(path, tmp_path / "cohort", workers=1)
    return tmp_path / "cohort"


def noise(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(1000 + seed).integers(0, 255, (40, 48), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("variant", ["one-image", "two-images", "two-nodules", "two-classes", "tsv"])
@pytest.mark.parametrize("scheme", ["grouped-kfold", "holdout"])
def test_fault_60_a_class_with_one_patient(tmp_path, capsys, variant, scheme):
    cohort = lone_cohort(tmp_path, variant)
    command = ["split", "--cohort", str(cohort), "--split.scheme", scheme, "--split.n-folds", "3"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(tmp_path / "refused")])
    assert ended.value.code == EXIT_REFUSED
    said = capsys.readouterr().err
    assert "class ATC: 1 patient (0p0)" in said
    assert ("class MTC" in said) == (variant == "two-classes")
    assert not (tmp_path / "refused/split.csv").exists()
    main([*command, "--out", str(tmp_path / "run"), "--split.lone-classes", "not-estimable"])
    manifest = read_manifest(cohort)
    lone = set(manifest.filter(manifest["subtype"].is_in(["ATC", "MTC"]))["patient_id"])
    rows = cells_of(tmp_path / "run/split.csv")
    assert {partition for _, _, patient, partition in rows if patient in lone} == {"train"}
    tested = Counter(image for _, image, _, partition in rows if partition == "test")
    assert set(tested.values()) == {1}
    if scheme == "grouped-kfold":
        assert set(tested) == set(manifest.filter(~manifest["patient_id"].is_in(list(lone)))["image_path"])


@pytest.mark.parametrize("file", ["table.csv", "t.tsv", "t.parquet", "t.xlsx"])
def test_fault_65_formulas_are_escaped_on_export_and_come_back(tmp_path, file):
    (tmp_path / "source").mkdir()
    rows = []
    for number, cell in enumerate(f"{sign} {copy}" for sign in FORMULAS for copy in range(4)):
        name = f"{cell.replace('/', ':')}.png"
        noise(tmp_path / "source" / name, number)
        rows.append({"image_path": name, "patient_id": cell, "label": ("benign", "ptc")[number % 2]})
    write_table(tmp_path / "source" / file, rows)
    result = ingest(tmp_path / "source" / file, tmp_path / "cohort", workers=1)
    run = create_run(result.folder, tmp_path / "run", Configuration(split=SplitSettings(n_folds=3)))
    split_run(run)
    ledger, split = cells_of(result.folder / "ledger.csv"), cells_of(tmp_path / "run/split.csv")
    assert not any(cell.startswith(FORMULA_SIGNS) for row in ledger + split for cell in row)
    assert {restored_cell(row[0]) for row in ledger} == {row["image_path"] for row in rows if row["label"] == "ptc"}
    patient_of = {row["image_path"]: row["patient_id"] for row in rows}
    assert dict(run.split().select("image_path", "patient_id").iter_rows()) == patient_of
    run.require_certificate()


def test_a_fix_of_a_row_whose_picture_is_refused_is_no_fix(tmp_path):
    pictures(tmp_path / "source")
    rows = good_rows()
    put(label="ptc")(2, 3)(rows)
    (tmp_path / "source/images/2.png").write_bytes(b"")
    write_table(tmp_path / "source/t.csv", rows)
    result = ingest(tmp_path / "source/t.csv", tmp_path / "cohort", workers=1)
    assert (result.n_items, result.n_used, result.n_refused) == (6, 5, 1)
    assert [row[:3] for row in cells_of(tmp_path / "cohort/ledger.csv")] == [
        ["images/3.png", "fixed", "label-normalised"],
        ["images/2.png", "refused", "empty-file"],
    ]


@pytest.mark.slow
def test_fault_60_a_lone_class_is_trained_and_reported_as_not_estimable(tmp_path):
    cohort, run = lone_cohort(tmp_path, "one-image"), tmp_path / "run"
    smoke = ["--config", str(ROOT / "configs/smoke.toml"), "--fit.weights", "none"]
    main(["run", "--cohort", str(cohort), "--out", str(run), *smoke, "--split.lone-classes", "not-estimable"])
    records = [each for each in read_json(run / "metrics.json")["records"] if each["target"] == "ATC"]
    assert records
    tested = [each for each in records if each["partition"] == "test"]
    assert {each["estimate"] for each in tested} == {None}
    assert all(each["note"].startswith("not estimable: 0 patients with ATC") for each in tested)
    assert "not estimable: 0 patients with ATC" in (run / "report.html").read_text()


def test_fault_66_memory_stays_bounded_as_rows_grow():
    """A thirtieth of the million: the whole is benchmarks/million_rows.py."""
    command = [sys.executable, str(ROOT / "benchmarks/million_rows.py"), "30000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.rsplit("peak ", 1)[1].split()[0])
    assert peak < 0.4, done.stdout
