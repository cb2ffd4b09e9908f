"""Files and folders are whole or absent."""

import errno
import os
from pathlib import Path

import pytest

from csasn.errors import BadInputError, StorageError
from csasn.files import file_sha256, folder_made_whole, read_json, write_bytes, write_json, write_whole


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def full_device(part: Path) -> None:
    part.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_with_its_folders_and_can_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file.bin"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_device_leaves_the_old_file_and_nothing_else(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(StorageError, match=r"file\.bin failed: No space left on device") as caught:
        write_whole(path, full_device)
    assert "--out" in str(caught.value)
    assert names(tmp_path) == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old


def test_another_error_of_the_writer_is_not_disguised(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "file.bin", fail)
    assert names(tmp_path) == []


def test_a_folder_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="taken"):
        write_bytes(tmp_path / "taken", b"x")
    assert names(tmp_path) == ["taken"]


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"ä": [1, None, 0.5]})
    assert read_json(path) == {"ä": [1, None, 0.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"ä": [1, None, 0.5]}
    path.write_text("[1]")
    with pytest.raises(BadInputError, match="must hold a JSON object; received list"):
        read_json(path)
    path.write_bytes(b'{"a": \xff}')
    with pytest.raises(BadInputError, match="not readable JSON"):
        read_json(path)
    with pytest.raises(BadInputError, match="is missing"):
        read_json(tmp_path / "none.json")


def test_the_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "deep" / "cohort"
    if exists:
        folder.mkdir(parents=True)
    with folder_made_whole(folder) as scratch:
        (scratch / "file").write_text("x")
        assert scratch != folder
        assert not (folder / "file").exists()
    assert names(folder) == ["file"]
    assert names(folder.parent) == ["cohort"]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (BadInputError("bad row"), BadInputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_an_error_leaves_no_folder(tmp_path: Path, error: BaseException, expected: type[BaseException]) -> None:
    def fail() -> None:
        with folder_made_whole(tmp_path / "cohort") as scratch:
            (scratch / "file").write_text("x")
            raise error

    with pytest.raises(expected):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["full folder", "file"])
def test_what_is_there_already_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "cohort"
    if kind == "file":
        taken.write_text("mine")
    else:
        taken.mkdir()
        (taken / "mine").write_text("mine")
    with pytest.raises(BadInputError, match="exists already"), folder_made_whole(taken):
        pass
    assert names(tmp_path) == ["cohort"]
    assert (taken if kind == "file" else taken / "mine").read_text() == "mine"
