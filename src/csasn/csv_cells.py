"""CSV whose cells no spreadsheet runs as formulas, and the way back."""

import csv
import io
from collections.abc import Iterable, Sequence

import polars as pl

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def escaped_cell(cell: str) -> str:
    """The cell behind an apostrophe where a spreadsheet would run it, or where it begins with an apostrophe itself."""
    return f"'{cell}" if cell.startswith((*FORMULA_SIGNS, "'")) else cell


def restored_cell(cell: str) -> str:
    """The cell that `escaped_cell` was given."""
    return cell.removeprefix("'")


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """CSV in UTF-8: text cells escaped, numbers as they are, None empty; what is not UTF-8 as backslash escapes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([escaped_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return stream.getvalue().encode("utf-8", "backslashreplace")


def escaped_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every text cell as `escaped_cell` gives it, at the speed that millions of rows need."""
    return frame.with_columns(pl.col(pl.String).str.replace("^(['=+@\t\r-])", "'${1}"))


def restored_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame that `escaped_cells` was given."""
    return frame.with_columns(pl.col(pl.String).str.strip_prefix("'"))
