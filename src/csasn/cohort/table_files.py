"""A table file (CSV, TSV, Excel or parquet) becomes text columns, each row with the line that it stands on."""

import codecs
import csv
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from csasn.cohort.ledger import LedgerRow, fixed_row
from csasn.cohort.rows import LINE, every_row, row_ranges
from csasn.cohort.workbook_cells import SheetFacts, sheet_facts
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing
from csasn.frames import read_parquet

SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".parquet": None}
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
# UTF-32 before UTF-16, whose mark it begins with.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
CHUNK_ROWS = 50_000  # rows of text held as Python objects at once


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFile:
    """The rows of a table as text as it stands there, file lines in `_line`, and what was put in order to read it."""

    rows: pl.DataFrame
    fixes: tuple[LedgerRow, ...] = ()
    notes: tuple[str, ...] = ()


class _Reader(Iterator[list[str]], Protocol):
    line_num: int


def read_table(path: Path) -> TableFile:
    """A CSV, TSV, Excel or parquet file as text columns; rows without any text are left out.

    "007" stays "007"; a byte order mark and UTF-16 are understood; a quoted line break is part of its cell.
    Raises BadInputError where the file is missing, empty, badly formed, or names a column twice.
    """
    if not path.is_file():
        raise BadInputError(f"A table is a file; there is none at {path}.")
    suffix = path.suffix.lower()
    fixes: list[str] = []
    notes: tuple[str, ...] = ()
    if suffix not in (*SUFFIXES, *SHEETS):
        raise BadInputError(
            f"A table ends in {', '.join((*SUFFIXES, *SHEETS))}; received {path.name}. Export it as one of these."
        )
    if suffix in SHEETS:
        rows, notes = _sheet_rows(path)
    elif (separator := SUFFIXES[suffix]) is None:
        rows = _parquet_rows(path)
    else:
        encoding = _encoding(path)
        rows = _text_rows(path, separator, encoding)
        fixes = ["text-recoded"] if encoding != "utf-8" else []
    cells = pl.all().exclude(LINE)
    rows = rows.filter(pl.any_horizontal(cells.str.contains(r"\S")))
    if rows.is_empty():
        raise BadInputError(f"A table needs at least one row below its header; {path} has none. {NOTHING_WRITTEN}")
    nul = rows.filter(pl.any_horizontal(cells.str.contains("\0", literal=True)))
    if not nul.is_empty():
        raise BadInputError(
            f"A table is text; these rows of {path} hold NUL characters:\n"
            f"{every_row(((line, 'a NUL character') for line in nul[LINE]), path)}\nExport it again. {NOTHING_WRITTEN}"
        )
    if rows.select(pl.any_horizontal(cells.str.contains(r"[\r\n]")).any()).item():
        fixes.append("line-break-in-cell")
    return TableFile(rows=rows, fixes=tuple(fixed_row(path.name, code) for code in fixes), notes=notes)


def _parquet_rows(path: Path) -> pl.DataFrame:
    frame = read_parquet(path, remedy=f"Export it again. {NOTHING_WRITTEN}")
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        raise BadInputError(
            f"Every column of {path} holds one plain value a row. These do not:\n{listing(nested)}\n{NOTHING_WRITTEN}"
        )
    names = _checked_header(frame.columns, ",", path)
    return frame.cast(pl.String).rename(dict(zip(frame.columns, names, strict=True))).with_row_index(LINE, offset=1)


def _sheet_rows(path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The one visible sheet of a workbook that is not empty, as text, and notes; its first filled row is the header."""
    try:
        sheets = pl.read_excel(
            path,
            sheet_id=0,
            has_header=False,
            infer_schema_length=0,
            raise_if_empty=False,
            drop_empty_rows=False,  # so that rows keep their numbers
            read_options={"skip_rows": 0},
        )
    except Exception as error:
        raise BadInputError(
            f"{path} is not a readable workbook ({type(error).__name__}): save it again. {NOTHING_WRITTEN}"
        ) from error
    facts = _facts_of(path)
    filled = {name: sheet for name, sheet in sheets.items() if not sheet.is_empty()}
    if not filled:
        raise BadInputError(f"A table begins with a header; {path} has none in any of its sheets. {NOTHING_WRITTEN}")
    shown = [name for name in filled if name not in facts or not facts[name].hidden]
    if len(filled) > 1 and len(shown) != 1:
        names = [f"{name}{'' if name in shown else ' (hidden)'}" for name in filled]
        raise BadInputError(
            f"A table is one sheet; {path} has {len(filled)} that are not empty:\n{listing(names)}\n"
            f"Save the right one as a workbook of its own. {NOTHING_WRITTEN}"
        )
    name = shown[0] if shown else next(iter(filled))
    _refuse_doubtful_cells(path, [each for sheet, each in facts.items() if sheet == name or not each.hidden])
    notes = _hidden_notes(name, [each for each in filled if each != name], facts)
    return _named_rows(path, filled[name]), notes


def _facts_of(path: Path) -> dict[str, SheetFacts]:
    try:
        return sheet_facts(path)
    except (ValueError, SyntaxError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"{path} is not a readable workbook ({type(error).__name__}): save it again. {NOTHING_WRITTEN}"
        ) from error


def _hidden_notes(name: str, left_out: list[str], facts: Mapping[str, SheetFacts]) -> tuple[str, ...]:
    """What the certificate says of hidden sheets and rows."""
    notes = []
    if left_out:
        notes.append(f"{len(left_out)} hidden sheets of the workbook were left out; the visible one was read.")
    if name in facts and facts[name].hidden:
        notes.append("The only filled sheet of the workbook is hidden; it was read.")
    rows = facts[name].hidden_rows if name in facts else []
    if rows:
        notes.append(
            f"{len(rows)} rows are hidden in the workbook (by hand or by a filter) and were read like all others: "
            f"{row_ranges(rows)}. Delete them where they are not meant."
        )
    return tuple(notes)


def _named_rows(path: Path, sheet: pl.DataFrame) -> pl.DataFrame:
    """Rows of a sheet under the names of its first filled row."""
    sheet = sheet.cast(pl.String).with_row_index(LINE, offset=1)
    sheet = sheet.filter(pl.any_horizontal(pl.all().exclude(LINE).str.contains(r"\S")))
    header = [(cell or "").strip() for cell in sheet.row(0)[1:]] if not sheet.is_empty() else []
    n_named = max((place + 1 for place, name in enumerate(header) if name), default=0)
    names = _checked_header(header[:n_named], ",", path)
    beyond = sheet[1:, n_named + 1 :]
    if not beyond.is_empty() and beyond.select(pl.any_horizontal(pl.all().is_not_null().any())).item():
        raise BadInputError(f"Every filled column of {path} has a name in its first row. {NOTHING_WRITTEN}")
    return sheet[1:, : n_named + 1].rename(dict(zip(sheet.columns[1 : n_named + 1], names, strict=True)))


def _refuse_doubtful_cells(path: Path, sheets: Iterable[SheetFacts]) -> None:
    """Raise BadInputError for cells that failed, which would be read as empty, and for one id as text and as number."""
    sheets = list(sheets)
    if wrong := [cell for sheet in sheets for cell in sheet.wrong]:
        every = "\n".join(f"  - cell {cell}" for cell in wrong)
        raise BadInputError(
            f"Every cell of a table has a value or is empty. These of {path} are errors (#N/A, #REF!, ...):\n{every}\n"
            f"Correct or empty them, and let the program that made the file compute it. {NOTHING_WRITTEN}"
        )
    if twofold := [each for sheet in sheets for each in sheet.twofold()]:
        raise BadInputError(
            f"A column holds an id in one form, so that 0012 as text and 12 shown as 0012 are not two. In {path}:\n"
            f"{listing(twofold)}\nFormat the column as text and enter these ids again. {NOTHING_WRITTEN}"
        )


def _encoding(path: Path) -> str:
    """UTF-8 unless a mark, or the NUL beside a first ASCII letter, says UTF-16 or UTF-32."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if marked or len(start) < 2 or (start[0] == 0) == (start[1] == 0):
        return marked or "utf-8"
    return "utf-16-be" if start[0] == 0 else "utf-16-le"


def _text_rows(path: Path, separator: str, encoding: str) -> pl.DataFrame:
    begun = 1
    reader: _Reader | None = None
    try:
        with path.open(encoding=encoding, newline="") as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True)
            names = _checked_header(_without_empty_end(next(reader, [])), separator, path)
            chunks: list[pl.DataFrame] = []
            ragged: list[tuple[int, str]] = []
            cells: list[list[str]] = []
            lines: list[int] = []
            begun = reader.line_num + 1
            for line in reader:
                row = line if len(line) <= len(names) or any(map(str.strip, line[len(names) :])) else line[: len(names)]
                if len(row) == len(names):
                    cells.append(row)
                    lines.append(begun)
                elif any(map(str.strip, row)):
                    ragged.append((begun, f"{len(row)} cells"))
                begun = reader.line_num + 1
                if len(cells) == CHUNK_ROWS:
                    chunks.append(_frame(names, cells, lines))
                    cells, lines = [], []
            chunks.append(_frame(names, cells, lines))
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"A table is UTF-8 or UTF-16 text; {path} is not:\n{_undecodable(path, encoding, error)}\n"
            f"Save it as 'CSV UTF-8'. {NOTHING_WRITTEN}"
        ) from error
    except csv.Error as error:
        last = reader.line_num if reader is not None else begun
        raise BadInputError(
            f"Quotes of a table are paired, and begin and end their cell. In {path} they do not from line {begun} to "
            f"line {last} ({error}). Correct them, or export the table again. {NOTHING_WRITTEN}"
        ) from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    if ragged and len(names) == 1 and not any(map(len, cells)):
        raise BadInputError(
            f"A table begins with its header; the first line of {path} is one text, {names[0]!r}, and the rows below "
            f"have more cells. If it is a title, remove the lines above the header. {NOTHING_WRITTEN}"
        )
    if ragged:
        raise BadInputError(
            f"Every line of {path} has {len(names)} cells, as its header. These differ:\n{every_row(ragged, path)}\n"
            f"Correct them, or export the table again. {NOTHING_WRITTEN}"
        )
    return pl.concat(chunks)


def _without_empty_end(header: list[str]) -> list[str]:
    """A header without the unnamed columns that spreadsheets leave at its end."""
    n_named = max((place + 1 for place, name in enumerate(header) if name.strip()), default=len(header))
    return header[:n_named]


def _frame(names: list[str], cells: list[list[str]], lines: list[int]) -> pl.DataFrame:
    columns = zip(*cells, strict=True) if cells else ([] for _ in names)
    series = [pl.Series(name, column, dtype=pl.String) for name, column in zip(names, columns, strict=True)]
    return pl.DataFrame([pl.Series(LINE, lines, dtype=pl.UInt32), *series])


def _undecodable(path: Path, encoding: str, error: UnicodeDecodeError) -> str:
    """Every line that is not UTF-8; of the wider encodings, whose lines cannot be told apart, the reason alone."""
    if not encoding.startswith("utf-8"):
        return listing([f"{encoding}: {error.reason}"])
    wrong: list[tuple[int, str]] = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                wrong.append((number, f"byte 0x{line[found.start]:02x} is not UTF-8"))
    return every_row(wrong, path)


def _checked_header(header: list[str], separator: str, path: Path) -> list[str]:
    """The names of a header without surrounding space; BadInputError where one is missing or stands twice."""
    names = [name.strip() for name in header]
    if not any(names):
        raise BadInputError(f"A table begins with a header; {path} has none in its first line. {NOTHING_WRITTEN}")
    others = [word for sign, word in SEPARATORS.items() if sign != separator and sign in names[0]]
    if len(names) == 1 and others:
        raise BadInputError(
            f"The cells of {path.name} are separated by {SEPARATORS[separator]}; its header {names[0]!r} has "
            f"{others[0]}. Export it again, or correct its ending (.csv, .tsv). {NOTHING_WRITTEN}"
        )
    twice = sorted({name or "(no name)" for name in names if names.count(name) > 1 or name == LINE})
    if twice:
        raise BadInputError(
            f"Every column of {path} has a name of its own ({LINE!r} is reserved). Received more than once:\n"
            f"{listing(twice)}\nRename or remove them. {NOTHING_WRITTEN}"
        )
    return names
