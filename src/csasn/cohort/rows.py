"""The rows of a table are checked together: labels, keys and paths, each fault one error that lists every row."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import polars as pl

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary, truth_of
from csasn.errors import BadInputError, listing

LINE = "_line"
DEFAULT_SITE = "site-1"
NOTHING_WRITTEN = "Nothing was written."


def place(source: Path, line: int) -> str:
    """Where a row stands: the line of a text file, the row of a parquet file."""
    return f"{'line' if source.suffix.lower() in ('.csv', '.tsv', '.tab') else 'row'} {line}"


def offending(rows: pl.DataFrame, column: str, invariant: str, source: Path) -> None:
    """Raise BadInputError for the given rows, if any: the invariant, then place and cell of each."""
    if not rows.is_empty():
        found = [f"{place(source, line)}: {cell!r}" for line, cell in rows.select(LINE, column).iter_rows()]
        raise BadInputError(f"{invariant}. In {source}:\n{listing(found)}\nCorrect these rows. {NOTHING_WRITTEN}")


def with_keys(rows: pl.DataFrame, source: Path) -> pl.DataFrame:
    """Rows with site and nodule keys filled in; a given nodule_id becomes unique across patients.

    Raises BadInputError where image_path or patient_id is empty.
    """
    empty = [
        f"{place(source, row[LINE])}: {name} is empty"
        for row in rows.filter(pl.any_horizontal(pl.col("image_path", "patient_id").is_null())).iter_rows(named=True)
        for name in ("image_path", "patient_id")
        if row[name] is None
    ]
    if empty:
        raise BadInputError(
            f"Every row has an image_path and a patient_id, so that no patient is split unseen. In {source}:\n"
            f"{listing(empty)}\nFill them in, or remove the rows. {NOTHING_WRITTEN}"
        )
    site = pl.col("site") if "site" in rows.columns else pl.lit(None, dtype=pl.String)
    rows = rows.with_columns(site=site.fill_null(DEFAULT_SITE))
    nodule = pl.col("nodule_id") if "nodule_id" in rows.columns else pl.lit(None, dtype=pl.String)
    return rows.with_columns(nodule_id=pl.coalesce(pl.format("{}/{}", "patient_id", nodule), "patient_id"))


def with_labels(rows: pl.DataFrame, words: Vocabulary, source: Path) -> pl.DataFrame:
    """Rows with `malignant` and `subtype` made from the columns subtype, label and malignant that are there.

    The most specific statement names the class. Raises BadInputError listing every row whose label is unknown (with a
    suggestion), missing, or contradicted by another column of the same row.
    """
    columns = [name for name in ("subtype", "label", "malignant") if name in rows.columns]
    readings = {cells: _reading(dict(zip(columns, cells, strict=True)), words) for cells in set(rows[columns].rows())}
    read = [readings[cells] for cells in rows[columns].rows()]
    wrong = [
        f"{place(source, line)}: {reading}"
        for line, reading in zip(rows[LINE].to_list(), read, strict=True)
        if isinstance(reading, str)
    ]
    if wrong:
        raise BadInputError(
            f"Every row has one known label: {', '.join(words.malignant_by_class)}. In {source}:\n{listing(wrong)}\n"
            f"Correct them, or declare further classes as malignant or non-malignant. {NOTHING_WRITTEN}"
        )
    pairs = [reading for reading in read if not isinstance(reading, str)]
    return rows.drop("label", strict=False).with_columns(
        pl.Series("malignant", [malignant for malignant, _ in pairs], dtype=pl.Boolean),
        pl.Series("subtype", [name for _, name in pairs], dtype=pl.String),
    )


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
            return f"{column} {text!r} is unknown{words.suggestion(text)}"
        named.append(found)
    if not named:
        unspecific = UNSPECIFIC_MALIGNANT if declared else UNSPECIFIC_BENIGN
        return "the label is empty" if declared is None else (declared, unspecific)
    groups = {words.malignant_by_class[name] for name in named} | ({declared} - {None})
    specific = list(dict.fromkeys(name for name in named if name not in (UNSPECIFIC_MALIGNANT, UNSPECIFIC_BENIGN)))
    if len(groups) > 1 or len(specific) > 1:
        return "its columns contradict each other: " + ", ".join(f"{name} {text!r}" for name, text in cells.items())
    return words.malignant_by_class[named[0]], (specific or named)[0]


def with_paths(rows: pl.DataFrame, root: Path, source: Path) -> pl.DataFrame:
    """Rows whose image and mask paths are plain, lie below `root` and exist; each image stands in one row.

    Raises BadInputError for paths outside the root (absolute, through "..", or by a link), for missing files, for an
    image with two labels, and for a duplicate image.
    """
    columns = [name for name in ("image_path", "mask_path") if name in rows.columns]
    real_root = root.resolve()
    for name in columns:
        plain = [None if text is None else _plain(text, root) for text in rows[name].to_list()]
        rows = rows.with_columns(pl.Series(name, plain, dtype=pl.String))
        outside = [text is not None and _outside(text, real_root) for text in plain]
        offending(rows.filter(pl.Series(outside)), name, f"{name} lies below {root}, the folder of the table", source)
    for name in columns:
        missing = [text is not None and not _exists(root / text) for text in rows[name].to_list()]
        offending(rows.filter(pl.Series(missing)), name, f"{name} names an existing file below {root}", source)
    _refuse_repeated(rows, source)
    return rows


def _plain(text: str, root: Path) -> str:
    if "\\" in text and not _exists(root / text):
        windows = PureWindowsPath(text)
        text = windows.as_posix() if not windows.drive else f"/{windows.as_posix()}"
    return str(PurePosixPath(text))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # it may be there; reading it is refused later, into the ledger
        return True
    except (OSError, ValueError):  # a name that no file can have
        return False


def _outside(text: str, real_root: Path) -> bool:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        return True
    try:
        return not (real_root / path).resolve().is_relative_to(real_root)
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a name that no file can have
        return True


def _refuse_repeated(rows: pl.DataFrame, source: Path) -> None:
    repeated = rows.filter(pl.len().over("image_path") > 1).sort("image_path", LINE)
    conflict = repeated.filter(pl.struct("malignant", "subtype").n_unique().over("image_path") > 1)
    for found, invariant in (
        (conflict, "An image has one label; these rows give it several"),
        (repeated, "An image stands in one row; these rows repeat it"),
    ):
        if not found.is_empty():
            lines = [
                f"{place(source, row[LINE])}: {row['image_path']} (patient {row['patient_id']}, {row['subtype']})"
                for row in found.iter_rows(named=True)
            ]
            raise BadInputError(
                f"{invariant}. In {source}:\n{listing(lines)}\nKeep the right row of each. {NOTHING_WRITTEN}"
            )
