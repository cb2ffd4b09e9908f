"""A table of images becomes cohort rows; every fault of the table is one error that lists every offending row."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.cohort.labels import Vocabulary, did_you_mean
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.rows import LINE, offending, with_keys, with_labels, with_paths
from csasn.errors import BadInputError, listing

REQUIRED = ("image_path", "patient_id")
LABELS = ("subtype", "label", "malignant")
DESCRIPTIONS = ("age_years", "sex", "nodule_size_mm", "tirads_level")
OPTIONAL = (
    "site",
    "nodule_id",
    "view",
    "laterality",
    "sha256",
    "mask_path",
    "pixel_spacing_mm",
    "frame",
    "device",
    "split_hint",
    *DESCRIPTIONS,
)
COLUMNS = (*REQUIRED, *LABELS, *OPTIONAL)
# Numbers above the first and up to the second, and the words for them.
NUMBERS = {
    "pixel_spacing_mm": (0.0, float("inf"), "a positive number of millimetres"),
    "nodule_size_mm": (0.0, 300.0, "a positive number of millimetres up to 300"),
    "age_years": (-1e-9, 120.0, "a number of years from 0 to 120"),
    "tirads_level": (0.0, 5.0, "a whole number from 1 to 5"),
}
SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".parquet": None}
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}


def read_table(path: Path) -> pl.DataFrame:
    """A CSV, TSV, Excel or parquet file as text columns, stripped (empty cells null), with its file lines in `line`.

    "007" stays "007"; a byte order mark and UTF-16 are understood; a quoted line break is part of its cell.
    Raises BadInputError where the file is missing, empty, badly formed, or names a column twice.
    """
    if not path.is_file():
        raise BadInputError(f"A table is a file; there is none at {path}.")
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, *SHEETS):
        raise BadInputError(
            f"A table ends in {', '.join((*SUFFIXES, *SHEETS))}; received {path.name}. Export it as one of these."
        )
    if suffix in SHEETS:
        frame = _sheet_rows(path)
    elif (separator := SUFFIXES[suffix]) is None:
        frame = _parquet_rows(path)
    else:
        frame = _text_rows(path, separator)
    if frame.is_empty():
        raise BadInputError(f"A table needs at least one row below its header; {path} has none.")
    return frame


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRows:
    """Checked rows of a table, the items whose text was put in order, and what the certificate says of the table."""

    rows: pl.DataFrame
    fixes: tuple[LedgerRow, ...] = ()
    notes: tuple[str, ...] = ()


def table_rows(path: Path, columns: Mapping[str, str], words: Vocabulary) -> TableRows:
    """Every row of a table of images with keys, labels, types and paths checked.

    Raises BadInputError, listing every offending row, where any of them is at fault.
    """
    rows = rename_columns(read_table(path), columns, source=path)
    rows = with_labels(with_keys(rows, path), words, path)
    rows = with_paths(typed_columns(rows, source=path), path.parent, path)
    return TableRows(rows=rows.rename({"sha256": "declared_sha256"}, strict=False))


def rename_columns(frame: pl.DataFrame, columns: Mapping[str, str], *, source: Path) -> pl.DataFrame:
    """The declared columns under their manifest names; `columns` maps a manifest name to the table's name.

    Raises BadInputError where a mapping or a required column is not there.
    """
    found = [name for name in frame.columns if name != LINE]
    wrong = [f"{name!r}{did_you_mean(name, COLUMNS)}" for name in columns if name not in COLUMNS]
    if wrong:
        raise BadInputError(f"Column mapping knows {', '.join(COLUMNS)}. Received:\n{listing(wrong)}\nCorrect it.")
    places = {name: columns.get(name, name) for name in COLUMNS}
    missing = [f"{places[name]!r} for {name}" for name in (*REQUIRED, *columns) if places[name] not in found]
    if not any(places[name] in found for name in LABELS):
        missing.append("'label' (or 'subtype', or 'malignant')")
    if missing:
        raise BadInputError(
            f"{source} lacks columns:\n{listing(list(dict.fromkeys(missing)))}\nIt has: {', '.join(found)}. "
            "Add them, or map each to the column that holds it."
        )
    present = [(name, place) for name, place in places.items() if place in found]
    return frame.select([pl.col(place).alias(name) for name, place in present] + [pl.col(LINE)])


def typed_columns(rows: pl.DataFrame, *, source: Path) -> pl.DataFrame:
    """Numbers and declared words of the optional columns in their types; BadInputError lists each cell that fails."""
    words = {
        "sex": ("female", "male"),
        "view": ("transverse", "longitudinal"),
        "laterality": ("left", "right", "isthmus"),
        "split_hint": ("train", "tuning", "test"),
    }
    if "sha256" in rows.columns:
        rows = rows.with_columns(pl.col("sha256").str.to_lowercase())
        wrong = rows.filter(~pl.col("sha256").str.contains("^[0-9a-f]{64}$"))
        offending(wrong, "sha256", "sha256 is 64 hexadecimal digits, or empty", source)
    for name, allowed in words.items():
        if name in rows.columns:
            rows = rows.with_columns(pl.col(name).str.to_lowercase())
            unknown = rows.filter(~pl.col(name).is_in(allowed))
            offending(unknown, name, f"{name} is {', '.join(allowed)} or empty", source)
    if "frame" in rows.columns:
        frame = pl.col("frame").cast(pl.Int32, strict=False)
        wrong = rows.filter(pl.col("frame").is_not_null() & (frame.is_null() | (frame < 0)))
        offending(wrong, "frame", "frame is a whole number from 0, or empty", source)
        rows = rows.with_columns(frame)
    for name, (least, most, invariant) in NUMBERS.items():
        if name in rows.columns:
            number = pl.col(name).cast(pl.Float64, strict=False)
            good = number.is_finite() & (number > least) & (number <= most)
            if name == "tirads_level":
                good &= number == number.round()
            wrong = rows.filter(pl.col(name).is_not_null() & ~good.fill_null(value=False))
            offending(wrong, name, f"{name} is {invariant}, or empty", source)
            rows = rows.with_columns(number)
    return rows


def _parquet_rows(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInputError(f"{path} is not readable parquet ({error}): export it again.") from error
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if nested:
        raise BadInputError(f"Every column of {path} holds one plain value a row. These do not:\n{listing(nested)}")
    return _stripped(frame.cast(pl.String).with_columns(pl.int_range(1, pl.len() + 1).alias(LINE)))


def _sheet_rows(path: Path) -> pl.DataFrame:
    """The one sheet of a workbook that is not empty, as text; its first row is the header."""
    try:
        sheets = pl.read_excel(path, sheet_id=0, has_header=False, infer_schema_length=0, raise_if_empty=False)
    except Exception as error:
        raise BadInputError(f"{path} is not a readable workbook ({type(error).__name__}): save it again.") from error
    filled = {name: sheet for name, sheet in sheets.items() if not sheet.is_empty()}
    if not filled:
        raise BadInputError(f"A table begins with a header; {path} has none in any of its sheets.")
    if len(filled) > 1:
        raise BadInputError(
            f"A table is one sheet; {path} has {len(filled)} that are not empty:\n{listing(list(filled))}\n"
            "Save the right one as a workbook of its own."
        )
    sheet = next(iter(filled.values())).cast(pl.String)
    header = [(cell or "").strip() for cell in sheet.row(0)]
    n_named = max((place + 1 for place, name in enumerate(header) if name), default=0)
    _check_header(header[:n_named], ",", path)
    beyond = sheet[1:, n_named:]
    if not beyond.is_empty() and beyond.select(pl.any_horizontal(pl.all().is_not_null().any())).item():
        raise BadInputError(
            f"Every filled column of {path} has a name in its first row; some beyond the last have none."
        )
    frame = sheet[1:, :n_named].rename(dict(zip(sheet.columns[:n_named], header[:n_named], strict=True)))
    return _stripped(frame.with_columns(pl.int_range(2, pl.len() + 2).cast(pl.Int64).alias(LINE)))


def _text_rows(path: Path, separator: str) -> pl.DataFrame:
    text = _decoded(path)
    header = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    _check_header(header, separator, path)
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        rows = _ragged_lines(text, separator, len(header)) or [str(error).splitlines()[0]]
        raise BadInputError(
            f"Every line of {path} has {len(header)} cells, and quotes are paired. These differ:\n{listing(rows)}\n"
            "Correct them, or export the table again."
        ) from error
    frame = frame.rename(dict(zip(frame.columns, [name.strip() for name in header], strict=True)))
    breaks = pl.sum_horizontal(pl.all().str.count_matches("\n").fill_null(0))
    first = 2 + sum(name.count("\n") for name in header)
    lines = first + pl.int_range(pl.len()) + breaks.cum_sum() - breaks
    return _stripped(frame.with_columns(lines.cast(pl.Int64).alias(LINE)))


def _stripped(frame: pl.DataFrame) -> pl.DataFrame:
    cells = pl.all().exclude(LINE).str.strip_chars()
    frame = frame.with_columns(cells).with_columns(pl.all().exclude(LINE).replace("", None))
    return frame.filter(~pl.all_horizontal(pl.all().exclude(LINE).is_null()))


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"A table is UTF-8 or UTF-16 text; byte {error.start} of {path} is neither. Save it as 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def _check_header(header: list[str], separator: str, path: Path) -> None:
    names = [name.strip() for name in header]
    if not any(names):
        raise BadInputError(f"A table begins with a header; {path} has none in its first line.")
    others = [word for sign, word in OTHER_SEPARATORS.items() if sign != separator and sign in names[0]]
    if len(names) == 1 and others:
        raise BadInputError(
            f"The cells of {path.name} are separated by {OTHER_SEPARATORS[separator]}; "
            f"its header {names[0]!r} has {others[0]}. Export it again, or correct its ending (.csv, .tsv)."
        )
    twice = sorted({name or "(no name)" for name in names if names.count(name) > 1 or name == LINE})
    if twice:
        raise BadInputError(
            f"Every column of {path} has a name of its own ({LINE!r} is reserved). Received more than once:\n"
            f"{listing(twice)}\nRename or remove them."
        )


def _ragged_lines(text: str, separator: str, n_cells: int) -> list[str]:
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        return [f"line {reader.line_num}: {len(row)} cells" for row in reader if len(row) > n_cells]
    except csv.Error as error:
        return [f"line {reader.line_num}: {error}"]
