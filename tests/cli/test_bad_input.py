"""Bad input through the command line: what is wrong, where, what to do; exit code not zero; nothing half-written."""

import csv
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.cli import main
from csasn.cli.outcome import EXIT_ITEMS_SET_ASIDE, EXIT_REFUSED
from csasn.imaging.row_files import RowFiles

N_IMAGES = 24
SMOKE = Path(__file__).parents[2] / "configs" / "smoke.toml"
Rows = list[dict[str, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of 24 noise images, 12 patients a class, with a table."""
    folder = tmp_path / "source"
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows: Rows = []
    for number in range(N_IMAGES):
        name = f"image{number:02}.png"
        Image.fromarray(generator.integers(0, 256, (64, 80), dtype=np.uint8)).save(folder / name)
        rows.append({"image_path": name, "patient_id": f"p{number:02}", "label": ("benign", "PTC")[number % 2]})
    write_table(folder, rows)
    return folder


def write_table(folder: Path, rows: Rows) -> None:
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=["image_path", "patient_id", "label"])
        writer.writeheader()
        writer.writerows(rows)


def read_table(folder: Path) -> Rows:
    with (folder / "table.csv").open() as stream:
        return list(csv.DictReader(stream))


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def typo(folder: Path, rows: Rows) -> Rows:
    rows[3]["label"] = rows[7]["label"] = "PCT"
    return rows


def empty(folder: Path, rows: Rows) -> Rows:
    return []


def missing_files(folder: Path, rows: Rows) -> Rows:
    (folder / "image05.png").unlink()
    (folder / "image06.png").unlink()
    return rows


def outside(folder: Path, rows: Rows) -> Rows:
    rows[4]["image_path"] = "../elsewhere.png"
    return rows


def one_picture_two_patients(folder: Path, rows: Rows) -> Rows:
    (folder / "image09.png").write_bytes((folder / "image08.png").read_bytes())
    return rows


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (typo, ["PCT", "PTC", "5", "9"]),
        (empty, ["at least one row", "table.csv"]),
        (missing_files, ["image05.png", "image06.png"]),
        (outside, ["../elsewhere.png"]),
        (one_picture_two_patients, ["image08.png", "image09.png", "p08", "p09"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_table_is_one_error_and_nothing_is_written(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path, Rows], Rows],
    said: list[str],
) -> None:
    write_table(source, spoil(source, read_table(source)))
    before = set(tmp_path.rglob("*"))
    assert run("ingest", source / "table.csv", "--out", tmp_path / "cohort") == EXIT_REFUSED
    message = capsys.readouterr().err
    assert message.splitlines().count("") == 0
    assert any(line.startswith("csasn: ") for line in message.splitlines())
    assert all(word in message for word in said), message
    assert set(tmp_path.rglob("*")) == before


def test_missing_column_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "table.csv").write_text("image_path,patient_id\nimage00.png,p00\n")
    assert run("ingest", source / "table.csv", "--out", tmp_path / "cohort") == EXIT_REFUSED
    assert "label" in capsys.readouterr().err
    assert not (tmp_path / "cohort").exists()


def test_truncated_image_is_set_aside_and_said(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (source / "image02.png").read_bytes()
    (source / "image02.png").write_bytes(whole[: len(whole) // 2])
    cohort = tmp_path / "cohort"
    assert run("ingest", source / "table.csv", "--out", cohort) == EXIT_ITEMS_SET_ASIDE
    assert "ledger.csv" in capsys.readouterr().err
    ledger = pl.read_csv(cohort / "ledger.csv")
    assert ledger["item"].to_list() == ["image02.png"]
    assert ledger["code"].to_list() == ["truncated"]
    assert pl.read_parquet(cohort / "manifest.parquet").height == 23


def test_class_with_one_patient_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_table(source)
    rows[0]["label"] = "ATC"
    write_table(source, rows)
    cohort = tmp_path / "cohort"
    assert run("ingest", source / "table.csv", "--out", cohort) == 0
    assert run("split", "--cohort", cohort, "--out", tmp_path / "run") == EXIT_REFUSED
    message = capsys.readouterr().err
    assert "ATC" in message
    assert not (tmp_path / "run" / "split.csv").exists()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "BMP"])
def test_fault_3_a_bit_flipped_since_ingest_never_trains(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    cohort, folder = tmp_path / "cohort", tmp_path / "run"
    path = source / "image03.png"
    Image.open(path).save(path, kind, quality=95)
    assert run("ingest", source / "table.csv", "--out", cohort) == 0
    content = bytearray(path.read_bytes())
    content[len(content) * 7 // 10] ^= 8
    path.write_bytes(content)
    Image.open(path).load()  # the decoder sees nothing wrong
    assert run("run", "--cohort", cohort, "--config", SMOKE, "--out", folder) == EXIT_REFUSED
    assert "image03.png" in capsys.readouterr().err
    assert not list(folder.glob("cache/*"))


def test_missing_weights_file_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort, folder, weights = tmp_path / "cohort", tmp_path / "run", tmp_path / "weights"
    weights.mkdir()
    assert run("ingest", source / "table.csv", "--out", cohort) == 0
    options = ("--config", SMOKE, "--out", folder, "--fit.weights", weights)
    assert run("run", "--cohort", cohort, *options) == EXIT_REFUSED
    assert str(weights / "vit_tiny_patch16_224.safetensors") in capsys.readouterr().err
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize(("limit_bytes", "stage"), [(500, "ingest"), (20_000, "pixels"), (400_000, "maps")])
def test_a_device_that_refuses_to_write(source: Path, tmp_path: Path, limit_bytes: int, stage: str) -> None:
    """The kernel refuses every byte beyond the limit, as a full device does; the error is real, not patched in."""
    cohort, folder = tmp_path / "cohort", tmp_path / "run"
    command = ["ingest", str(source / "table.csv"), "--out", str(cohort)]
    if stage != "ingest":
        assert run(*command) == 0
        command = [
            "run",
            "--cohort",
            str(cohort),
            "--config",
            str(SMOKE),
            "--out",
            str(folder),
            "--fit.weights",
            "none",
        ]
    done = subprocess.run(
        [sys.executable, "-m", "csasn", *command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == EXIT_REFUSED, done.stderr
    assert "Nothing half-written was left behind" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    if stage == "ingest":
        assert not cohort.exists()
    else:
        (pixels,) = (RowFiles(each, key_bytes=32) for each in folder.glob("cache/pixels-*"))
        n = N_IMAGES if stage == "maps" else 0
        assert len(pixels.keys) == n
        assert (pixels.folder / "pixels.rows").stat().st_size == n * pixels.arrays["pixels"][:1].nbytes
        for kept in folder.glob("cache/features-*/"):  # the first branch's maps may fit: then they are whole
            maps = RowFiles(kept, key_bytes=36)
            assert len(maps.keys) % N_IMAGES == 0
