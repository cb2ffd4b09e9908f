"""A table of images becomes cohort rows; every fault of the table is one error that lists every offending row."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.cohort.labels import Vocabulary, did_you_mean
from csasn.cohort.ledger import LedgerRow, fixed_row
from csasn.cohort.paths import with_paths
from csasn.cohort.rows import (
    LABEL_FIXED,
    LINE,
    PATH_FIXED,
    SITE_FIXED,
    TRIMMED,
    every_row,
    refuse_shared_hints,
    trimmed,
    with_labels,
    with_nodules,
    with_sites,
)
from csasn.cohort.table_files import read_table
from csasn.cohort.table_identity import refuse_two_sexes, settled
from csasn.config import IngestSettings
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

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
WORDS = {
    "sex": ("female", "male"),
    "view": ("transverse", "longitudinal"),
    "laterality": ("left", "right", "isthmus"),
    "split_hint": ("train", "tuning", "test"),
}
# What R and pandas write for an empty cell; of a key it is refused, since it would make one patient of many.
NA = ("NA", "N/A", "<NA>", "NaN", "nan")
EMPTIED = "_emptied"
# What people write for the words of a column: told, not taken, since another table may mean something else by it.
MEANT = {
    "sex": {"f": "female", "w": "female", "m": "male"},
    "laterality": {"l": "left", "r": "right"},
    "view": {"trans": "transverse", "long": "longitudinal", "sagittal": "longitudinal"},
    "split_hint": {
        "val": "tuning",
        "valid": "tuning",
        "validation": "tuning",
        "dev": "tuning",
        "training": "train",
        "testing": "test",
    },
}
TIRADS = re.compile(r"(?:ACR|EU|K|C)?[- _]?(?:TI-?RADS|TR)?[- _]?([1-5])[a-c]?", re.IGNORECASE)
FIX_CODES = {
    TRIMMED: "space-trimmed",
    LABEL_FIXED: "label-normalised",
    SITE_FIXED: "site-normalised",
    PATH_FIXED: "path-normalised",
    EMPTIED: "na-emptied",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRows:
    """Checked rows of a table, the items whose text was put in order, and what the certificate says of the table."""

    rows: pl.DataFrame
    fixes: tuple[LedgerRow, ...] = ()
    notes: tuple[str, ...] = ()


def table_rows(
    path: Path, columns: Mapping[str, str], words: Vocabulary, settings: IngestSettings | None = None
) -> TableRows:
    """Every row of a table of images with keys, labels, types and paths checked.

    `settings` say what the user declared of sites and patients. Raises BadInputError, listing every offending row,
    where any of them is at fault.
    """
    table = read_table(path)
    settings = settings or IngestSettings()
    rows = trimmed(rename_columns(table.rows, columns, source=path))
    rows, notes = settled(with_sites(rows, path, settings.site), settings, path)
    rows = emptied(rows)
    rows = typed_columns(with_labels(with_nodules(rows), words, path), source=path)
    refuse_two_sexes(rows, path)
    refuse_shared_hints(rows, path)
    rows = with_paths(rows, path.parent, path)
    fixes = [
        fixed_row(item, code)
        for marked, code in FIX_CODES.items()
        for item in rows.filter(pl.col(marked))["image_path"].to_list()
    ]
    rows = rows.drop(*FIX_CODES).rename({"sha256": "declared_sha256"}, strict=False)
    return TableRows(rows=rows, fixes=(*table.fixes, *fixes), notes=(*table.notes, *notes))


def rename_columns(frame: pl.DataFrame, columns: Mapping[str, str], *, source: Path) -> pl.DataFrame:
    """The declared columns under their manifest names; `columns` maps a manifest name to the table's name.

    Raises BadInputError where a mapping or a required column is not there.
    """
    found = [name for name in frame.columns if name != LINE]
    wrong = [f"{name!r}{did_you_mean(name, COLUMNS)}" for name in columns if name not in COLUMNS]
    if wrong:
        raise BadInputError(
            f"Column mapping knows {', '.join(COLUMNS)}. Received:\n{listing(wrong)}\nCorrect it. {NOTHING_WRITTEN}"
        )
    places = {name: columns.get(name, name) for name in COLUMNS}
    missing = [
        f"{places[name]!r} for {name}{did_you_mean(places[name], found)}"
        for name in (*REQUIRED, *columns)
        if places[name] not in found
    ]
    if not any(places[name] in found for name in LABELS):
        missing.append("'label' (or 'subtype', or 'malignant')")
    if missing:
        raise BadInputError(
            f"{source} lacks columns:\n{listing(list(dict.fromkeys(missing)))}\nIt has: {', '.join(found)}. "
            f"Add them, or map each to the column that holds it. {NOTHING_WRITTEN}"
        )
    present = [(name, place) for name, place in places.items() if place in found]
    return frame.select([pl.col(place).alias(name) for name, place in present] + [pl.col(LINE)])


def emptied(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose NA in columns that are no key is an empty cell; `_emptied` marks them."""
    names = [name for name in ("mask_path", "sha256", "frame", "device", *WORDS, *NUMBERS) if name in rows.columns]
    marked = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_in(NA).fill_null(value=False) for name in names))
    return rows.with_columns(marked.alias(EMPTIED), *(pl.col(name).replace(dict.fromkeys(NA)) for name in names))


def typed_columns(rows: pl.DataFrame, *, source: Path) -> pl.DataFrame:
    """Numbers and declared words of the optional columns in their types; one BadInputError lists all that fail."""
    wrong: list[tuple[str, list[tuple[int, str]]]] = []

    def offending(found: pl.DataFrame, name: str, invariant: str) -> None:
        if not found.is_empty():
            cells = found.select(LINE, name).iter_rows()
            wrong.append((invariant, [(line, repr(cell) + _meant(name, cell)) for line, cell in cells]))

    rows = _typed(rows, offending)
    if wrong:
        found = "\n".join(f"{invariant}:\n{every_row(cells, source)}" for invariant, cells in wrong)
        raise BadInputError(
            f"Cells of {source} are not what their columns hold.\n{found}\nCorrect these rows. {NOTHING_WRITTEN}"
        )
    return rows


def _meant(name: str, cell: str) -> str:
    """What to write instead of a cell, where that is known."""
    if word := MEANT.get(name, {}).get(cell.casefold()):
        return f"; write {word!r}"
    if name == "age_years" and (age := re.fullmatch(r"0*(\d{1,3}) ?[yY](?:ears?)?", cell)):
        return f"; write {age[1]!r}"
    if name == "tirads_level" and (level := TIRADS.fullmatch(cell)):
        return f"; write {level[1]!r}"
    return ""


def _typed(rows: pl.DataFrame, offending: Callable[[pl.DataFrame, str, str], None]) -> pl.DataFrame:
    """The columns in their types; `offending` is told of every cell that has another."""
    if "sha256" in rows.columns:
        rows = rows.with_columns(pl.col("sha256").str.to_lowercase())
        wrong = rows.filter(~pl.col("sha256").str.contains("^[0-9a-f]{64}$"))
        offending(wrong, "sha256", "sha256 is 64 hexadecimal digits, or empty")
    for name, allowed in WORDS.items():
        if name in rows.columns:
            rows = rows.with_columns(pl.col(name).str.to_lowercase())
            unknown = rows.filter(~pl.col(name).is_in(allowed))
            offending(unknown, name, f"{name} is {', '.join(allowed)} or empty")
    if "frame" in rows.columns:
        frame = pl.col("frame").cast(pl.Int32, strict=False)
        wrong = rows.filter(pl.col("frame").is_not_null() & (frame.is_null() | (frame < 0)))
        offending(wrong, "frame", "frame is a whole number from 0, or empty")
        rows = rows.with_columns(frame)
    for name, (least, most, invariant) in NUMBERS.items():
        if name in rows.columns:
            number = pl.col(name).cast(pl.Float64, strict=False)
            good = number.is_finite() & (number > least) & (number <= most)
            if name == "tirads_level":
                good &= number == number.round()
            wrong = rows.filter(pl.col(name).is_not_null() & ~good.fill_null(value=False))
            offending(wrong, name, f"{name} is {invariant}, or empty")
            rows = rows.with_columns(number)
    return rows
