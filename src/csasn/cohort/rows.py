"""The rows of a table are checked together: keys, labels and declared partitions, each fault listing every row."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from csasn.cohort.identity import nobodies, nobody
from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary, spelling, truth_of
from csasn.errors import NOTHING_WRITTEN, BadInputError

LINE = "_line"
DEFAULT_SITE = "site-1"
KEYS = ("site", "patient_id", "nodule_id")
# Boolean columns that say which rows were put in order, and the ledger's code of it.
TRIMMED, LABEL_FIXED, SITE_FIXED, PATH_FIXED = "_trimmed", "_label_fixed", "_site_fixed", "_path_fixed"


def place(source: Path, line: int) -> str:
    """Where a row stands: the line of a text file, the row of a workbook or parquet file."""
    return f"{_unit(source)} {line}"


def _unit(source: Path) -> str:
    return "line" if source.suffix.lower() in (".csv", ".tsv", ".tab") else "row"


def every_row(found: Iterable[tuple[int, str]], source: Path) -> str:
    """Every offending row, none left out: `  - line 3: what`, or `  - lines 3, 7-9: what` where rows share it."""
    lines_of: dict[str, list[int]] = {}
    for line, what in found:
        lines_of.setdefault(what, []).append(line)
    unit = _unit(source)
    return "\n".join(
        f"  - {unit}{'s' if len(lines) > 1 else ''} {row_ranges(lines)}: {what}" for what, lines in lines_of.items()
    )


def row_ranges(lines: list[int]) -> str:
    """Numbers of rows, neighbours joined: 3, 7-9."""
    runs: list[list[int]] = []
    for line in sorted(lines):
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def offending(rows: pl.DataFrame, column: str, invariant: str, source: Path) -> None:
    """Raise BadInputError for the given rows, if any: the invariant, then place and cell of each."""
    if not rows.is_empty():
        found = ((line, repr(cell)) for line, cell in rows.select(LINE, column).iter_rows())
        raise BadInputError(
            f"{invariant}. In {source}:\n{every_row(found, source)}\nCorrect these rows. {NOTHING_WRITTEN}"
        )


def trimmed(rows: pl.DataFrame) -> pl.DataFrame:
    """Text cells without surrounding space, empty ones null, empty rows left out; `_trimmed` marks what had space."""
    cells = pl.col(pl.String)
    rows = rows.with_columns(
        cells.str.strip_chars().replace("", None), pl.any_horizontal(cells != cells.str.strip_chars()).alias(TRIMMED)
    )
    return rows.filter(pl.any_horizontal(cells.is_not_null())).with_columns(pl.col(TRIMMED).fill_null(value=False))


def with_sites(rows: pl.DataFrame, source: Path, site: str = DEFAULT_SITE) -> pl.DataFrame:
    """Rows whose keys are there, with `site` where none is named.

    Sites whose names differ in case or space alone are one, by the name that most rows have; `_site_fixed` marks the
    others. Raises BadInputError where image_path or patient_id is empty, where a key is a placeholder for an empty cell
    or holds an invisible character, and where some rows name a site and others do not, unless `site` is declared.
    """
    _refuse_empty(rows, source)
    for key in (name for name in KEYS if name in rows.columns):
        invisible = rows.filter(pl.col(key).str.contains(r"\p{Cf}"))
        offending(invisible, key, f"{key} is visible text, so that one key is not taken for two", source)
    refuse_partly_filled_sites(rows, source, site)
    named = pl.col("site") if "site" in rows.columns else pl.lit(None, dtype=pl.String)
    rows = rows.with_columns(site=named.fill_null(site))
    name_of = _site_names(rows)
    return rows.with_columns(pl.col("site").replace(name_of), pl.col("site").is_in(list(name_of)).alias(SITE_FIXED))


def with_nodules(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a nodule_id that is unique across patients; one that names none is its patient's."""
    nodule = pl.col("nodule_id") if "nodule_id" in rows.columns else pl.lit(None, dtype=pl.String)
    return rows.with_columns(nodule_id=pl.coalesce(pl.format("{}/{}", "patient_id", nodule), "patient_id"))


def refuse_partly_filled_sites(rows: pl.DataFrame, source: Path, site: str) -> None:
    """Raise BadInputError where some rows name a site and others none: merged cells leave all but the first empty."""
    if "site" not in rows.columns or site != DEFAULT_SITE:
        return
    without = rows.filter(pl.col("site").is_null())
    if not without.is_empty() and without.height < rows.height:
        found = every_row(((line, "site is empty") for line in without[LINE]), source)
        raise BadInputError(
            f"Every row names its site, or none does, so that no row stands under a site that nobody gave it. In "
            f"{source}:\n{found}\nFill them in (in a workbook, take merged cells apart), or name the site of these "
            f"rows with --site. {NOTHING_WRITTEN}"
        )


def _refuse_empty(rows: pl.DataFrame, source: Path) -> None:
    found: list[tuple[int, str]] = []
    for name in ("image_path", *KEYS):
        if name not in rows.columns:
            continue
        cells = rows[name].drop_nulls().unique().to_list() if name != "image_path" else []
        nameless = nobodies(cells) if name == "patient_id" else {cell for cell in cells if nobody(cell, person=False)}
        empty = pl.col(name).is_in(list(nameless))
        if name in ("image_path", "patient_id"):
            empty = empty.fill_null(value=True)
        for line, cell in rows.filter(empty).select(LINE, name).iter_rows():
            found.append((line, f"{name} is empty" if cell is None else f"{name} {cell!r} stands for an empty cell"))
    if found:
        raise BadInputError(
            f"Every row has an image_path and a patient_id, so that no patient is split unseen. In {source}:\n"
            f"{every_row(found, source)}\nFill them in, or remove the rows. {NOTHING_WRITTEN}"
        )


def _site_names(rows: pl.DataFrame) -> dict[str, str]:
    """The name of the site for each spelling that is not the usual one."""
    usual: dict[str, str] = {}
    counted = sorted(rows.group_by("site").len().iter_rows(), key=lambda found: (-found[1], found[0]))
    for name, _ in counted:
        usual.setdefault(spelling(name), name)
    return {name: usual[spelling(name)] for name, _ in counted if usual[spelling(name)] != name}


def with_labels(rows: pl.DataFrame, words: Vocabulary, source: Path) -> pl.DataFrame:
    """Rows with `malignant` and `subtype` made from the columns subtype, label and malignant that are there.

    The most specific statement names the class; `_label_fixed` marks labels spelt otherwise than their class. Raises
    BadInputError listing every row whose label is unknown (with a suggestion), missing, or contradicted by another
    column of the same row.
    """
    columns = [name for name in ("subtype", "label", "malignant") if name in rows.columns]
    spellings = rows.select(columns).unique()
    readings = [_reading(cells, words) for cells in spellings.to_dicts()]
    known = [(None, None) if isinstance(reading, str) else reading for reading in readings]
    named = [[cells[name] for name in columns if name != "malignant"] for cells in spellings.to_dicts()]
    answers = spellings.rename({name: f"_{name}" for name in columns}).with_columns(
        pl.Series("malignant", [malignant for malignant, _ in known], dtype=pl.Boolean),
        pl.Series("subtype", [name for _, name in known], dtype=pl.String),
        pl.Series("_wrong", [reading if isinstance(reading, str) else None for reading in readings], dtype=pl.String),
        pl.Series(
            LABEL_FIXED, [any(text not in (None, *words.malignant_by_class) for text in texts) for texts in named]
        ),
    )
    asked = rows.rename({name: f"_{name}" for name in columns})
    keys = [f"_{name}" for name in columns]
    read = asked.join(answers, on=keys, how="left", nulls_equal=True, maintain_order="left").drop(keys)
    wrong = read.filter(pl.col("_wrong").is_not_null())
    if not wrong.is_empty():
        raise BadInputError(
            f"Every row has one known label: {', '.join(words.malignant_by_class)}. In {source}:\n"
            f"{every_row(wrong.select(LINE, '_wrong').iter_rows(), source)}\n"
            f"Correct them, or declare further classes as malignant or non-malignant. {NOTHING_WRITTEN}"
        )
    return read.drop("_wrong")


def _reading(cells: dict[str, str | None], words: Vocabulary) -> tuple[bool, str] | str:
    """(malignant, class) of one row's label cells, or what is wrong with them."""
    declared: bool | None = None
    if (text := cells.get("malignant")) is not None:
        declared = truth_of(text)
        if declared is None:
            return f"malignant {text!r} is neither 1/true/yes nor 0/false/no"
    named: list[str] = []
    for column in ("subtype", "label"):
        text = cells.get(column)
        if text is None:
            continue
        found = words.find(text)
        if found is None:
            truth = truth_of(text) is not None and not text.isalpha()
            advice = "; is it 1 for malignant? Then map the column as malignant" if truth else words.suggestion(text)
            return f"{column} {text!r} is unknown{advice}"
        named.append(found)
    if not named:
        unspecific = UNSPECIFIC_MALIGNANT if declared else UNSPECIFIC_BENIGN
        return "the label is empty" if declared is None else (declared, unspecific)
    groups = {words.malignant_by_class[name] for name in named} | ({declared} - {None})
    specific = list(dict.fromkeys(name for name in named if name not in (UNSPECIFIC_MALIGNANT, UNSPECIFIC_BENIGN)))
    if len(groups) > 1 or len(specific) > 1:
        return "its columns contradict each other: " + ", ".join(f"{name} {text!r}" for name, text in cells.items())
    return words.malignant_by_class[named[0]], (specific or named)[0]


def refuse_shared_hints(rows: pl.DataFrame, source: Path) -> None:
    """Raise BadInputError, listing every row, where a patient stands in two declared partitions (split_hint)."""
    if "split_hint" not in rows.columns:
        return
    shared = rows.filter(pl.col("split_hint").n_unique().over("patient_id") > 1).sort("patient_id", LINE)
    if not shared.is_empty():
        found = (
            (line, f"patient {patient!r} in {hint or 'no partition'}")
            for line, patient, hint in shared.select(LINE, "patient_id", "split_hint").iter_rows()
        )
        raise BadInputError(
            f"A patient stands in one declared partition (split_hint), or in none. In {source}:\n"
            f"{every_row(found, source)}\nGive all images of a patient one partition, or leave split_hint out. "
            f"{NOTHING_WRITTEN}"
        )
