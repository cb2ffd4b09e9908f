"""Files that only grow: what was flushed is there, what was not is never believed."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csasn.errors import MismatchError, StorageError
from csasn.imaging.row_files import RowFiles

LAYOUT = {"a": ((2, 3), "float16"), "b": ((), "uint8")}


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def rows(numbers: list[int]) -> dict[str, np.ndarray]:
    a = np.array(numbers, dtype=np.float16)[:, None, None] + np.arange(6).reshape(2, 3)
    return {"a": a.astype(np.float16), "b": np.array(numbers, dtype=np.uint8)}


def opened(folder: Path) -> RowFiles:
    return RowFiles(folder, key_bytes=4)


def grow(files: RowFiles, numbers: list[int], *, flush: bool = True) -> None:
    with files.alone():
        files.reserve(LAYOUT, len(numbers))
        if numbers:
            files.append([key(each) for each in numbers], rows(numbers))
        if flush:
            files.flush()


def check(files: RowFiles, numbers: list[int]) -> None:
    assert files.keys == [key(each) for each in numbers]
    for name, expected in rows(numbers).items():
        np.testing.assert_array_equal(files.arrays[name], expected)
        assert not isinstance(files.arrays[name], np.memmap) or not files.arrays[name].flags.writeable


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.tuples(st.lists(st.integers(0, 99), max_size=4), st.booleans()), max_size=6),
    cut=st.tuples(st.sampled_from(["a.rows", "b.rows", "keys"]), st.integers(0, 30)),
)
def test_flushed_rows_are_all_there_whatever_was_begun_or_cut(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[list[int], bool]], cut: tuple[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    expected: list[int] = []
    for numbers, flush in parts:
        grow(opened(folder), numbers, flush=flush)
        expected += numbers if flush else []
    if parts:
        check(opened(folder), expected)
    name, length = cut
    if (folder / name).is_file() and (folder / name).stat().st_size > length:
        os.truncate(folder / name, length)
        n = length // {"a.rows": 12, "b.rows": 1, "keys": 4}[name]
        expected = expected[:n]
        check(opened(folder), expected)
    grow(opened(folder), [7, 8])
    check(opened(folder), [*expected, 7, 8])


def test_a_reader_keeps_its_rows_while_another_appends(tmp_path: Path) -> None:
    grow(opened(tmp_path), [1, 2])
    reader = opened(tmp_path)
    grow(opened(tmp_path), [3])
    check(reader, [1, 2])
    reader.refresh()
    check(reader, [1, 2, 3])


def test_unused_space_is_given_back(tmp_path: Path) -> None:
    files = opened(tmp_path)

    def interrupted() -> None:
        with files.alone():
            files.reserve(LAYOUT, 1000)
            assert (tmp_path / "a.rows").stat().st_size == 12_000
            files.append([key(1)], rows([1]))
            files.flush()
            files.append([key(2)], rows([2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a.rows").stat().st_size == 12
    check(opened(tmp_path), [1])


def test_rows_of_another_layout_are_refused(tmp_path: Path) -> None:
    grow(opened(tmp_path), [1])
    files = opened(tmp_path)
    with pytest.raises(MismatchError, match="holds rows of"), files.alone():
        files.reserve({"a": ((3, 2), "float16"), "b": ((), "uint8")}, 1)
    check(opened(tmp_path), [1])


def test_a_device_that_fills_up_while_keys_are_written_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(opened(tmp_path), [1])
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # after both arrays
            raise OSError(28, "No space left on device")
        real(descriptor)

    files = opened(tmp_path)
    with files.alone():
        files.reserve(LAYOUT, 1)
        files.append([key(2)], rows([2]))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            files.flush()
    monkeypatch.setattr(os, "fsync", real)
    check(opened(tmp_path), [1])
    grow(opened(tmp_path), [3])
    check(opened(tmp_path), [1, 3])
