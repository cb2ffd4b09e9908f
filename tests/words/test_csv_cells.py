import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csasn.csv_cells import csv_bytes, escaped_cell, restored_cell


@given(st.text())
def test_every_cell_comes_back(cell: str) -> None:
    escaped = escaped_cell(cell)
    assert not escaped.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert restored_cell(escaped) == cell


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1"])
def test_formulas_stand_behind_an_apostrophe(cell: str) -> None:
    assert escaped_cell(cell) == f"'{cell}"


def test_csv_keeps_commas_breaks_numbers_and_nothing() -> None:
    content = csv_bytes(("a", "b", "c"), [("x,y", "two\nlines", -1.5), ("=2", None, 3)])
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert rows == [["a", "b", "c"], ["x,y", "two\nlines", "-1.5"], ["'=2", "", "3"]]
