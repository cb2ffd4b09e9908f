"""A path is one file and never a pattern; a damaged, foreign or special file is refused by name."""

import os
import re
from pathlib import Path

import polars as pl
import pytest

import csasn
from csasn.errors import BadInputError
from csasn.files import read_json
from csasn.frames import read_csv, read_parquet
from csasn.schema import HISTORY_COLUMNS, SPLIT_COLUMNS
from csasn.settings_files import read_configuration

# A folder's name and a neighbour that it would match as a pattern.
PATTERNS = (("exp[1]", "exp1"), ("what?", "whats"), ("best*", "best-of-all"), ("lr=[1e-3,1e-4]", "lr=1"))
SPLIT = pl.DataFrame({"fold": [0], "image_path": ["own.png"], "patient_id": ["p"], "partition": ["test"]})
OTHER = SPLIT.with_columns(image_path=pl.lit("neighbour.png"))


@pytest.mark.parametrize(("name", "neighbour"), PATTERNS)
def test_the_files_of_a_folder_are_read_and_never_a_neighbours(tmp_path: Path, name: str, neighbour: str) -> None:
    for folder, frame in ((name, SPLIT), (neighbour, OTHER)):
        (tmp_path / folder).mkdir()
        frame.write_parquet(tmp_path / folder / "t.parquet")
        (tmp_path / folder / "t.csv").write_bytes(frame.write_csv().encode())
    assert read_parquet(tmp_path / name / "t.parquet").equals(SPLIT)
    assert read_csv(tmp_path / name / "t.csv", SPLIT_COLUMNS)["image_path"].to_list() == ["own.png"]
    (tmp_path / name / "t.parquet").unlink()
    with pytest.raises(BadInputError, match="is missing"):
        read_parquet(tmp_path / name / "t.parquet")


def test_no_room_hands_polars_a_path() -> None:
    source = Path(csasn.__file__).parent
    reader = re.compile(r"pl\.(scan_\w+|read_(?!excel)\w+)\(|glob\.glob")
    found = {str(file.relative_to(source)) for file in source.rglob("*.py") if reader.search(file.read_text())}
    assert found == {"frames.py"}


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PAR1" + b"\xff" * 64 + b"PAR1", b"\xff\xfe\xfd" * 50])
def test_a_damaged_parquet_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"t\.parquet is not readable parquet"):
        read_parquet(path)


@pytest.mark.parametrize("content", [b"", b'"', b"\xff\xfe\xfd" * 50, b"\0" * 100, b"a,b\n1,2\n"])
@pytest.mark.parametrize("columns", [SPLIT_COLUMNS, HISTORY_COLUMNS])
def test_a_damaged_csv_file_is_refused_by_name(tmp_path: Path, content: bytes, columns: dict[str, type]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"t\.csv (is not readable CSV|has the columns)"):
        read_csv(path, columns)


def test_a_cell_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("fold,image_path,patient_id,partition\nzero,a.png,p,test\n")
    with pytest.raises(BadInputError, match=r"t\.csv is not readable CSV"):
        read_csv(path, SPLIT_COLUMNS)


def test_a_course_whose_first_rows_are_empty_keeps_its_types(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    late = {"tuning_auroc": [None] * 200 + [0.5], "learning_rate": [None] * 200 + [1e-3]}
    frame = pl.DataFrame({"model": ["csasn"] * 201, "epoch": range(201)} | late)
    frame = frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in HISTORY_COLUMNS.items()
    )
    path.write_bytes(frame.write_csv().encode())
    assert read_csv(path, HISTORY_COLUMNS).equals(frame)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 10_000, b"\xff\xfe\xfd", b"", b"[]", b'{"a":' * 100_000])
def test_json_that_is_no_object_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"run\.json"):
        read_json(path)


@pytest.mark.parametrize(
    "content",
    [
        b"a=" + b"[" * 5000,
        b"\xff\xfe\xfd",
        b"\0",
        b"[fit]\nseed = 99999999999999999999999999\n",
        b"x = " + b"1" * 10_000,
    ],
)
def test_toml_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"config\.toml"):
        read_configuration(path)


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[fit]\nseed = 7\n")
    assert read_configuration(path).fit.seed == 7


@pytest.mark.parametrize("read", [read_parquet, read_json, read_configuration])
def test_a_pipe_or_a_device_is_refused_and_never_waited_for(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(BadInputError, match=name):
            read(tmp_path / name)  # type: ignore[operator]
