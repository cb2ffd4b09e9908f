"""How a source is laid out is told from what lies there, and each layout becomes the same kind of rows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from csasn.cohort.folders import class_folders, folder_rows
from csasn.cohort.labels import Vocabulary
from csasn.cohort.pacs import holds_dicom
from csasn.cohort.published import PUBLISHED
from csasn.cohort.rows import DEFAULT_SITE
from csasn.cohort.source import Source
from csasn.cohort.table_identity import settled
from csasn.cohort.tables import table_rows
from csasn.config import IngestSettings
from csasn.errors import BadInputError, listing

Layout = Literal[
    "auto",
    "table",
    "folders",
    "dicom",
    "busi",
    "ddti",
    "tn3k",
    "tn5000",
    "thyroidxl",
    "stanford-cine",
    "fangdai",
]
OWN_LAYOUTS: Mapping[str, str] = {
    "table": "a CSV, TSV, Excel or parquet file with image_path, patient_id and label (or subtype) columns",
    "folders": "SOURCE/<class>/<image> or SOURCE/<class>/<patient>/<image>, a folder for each known class",
    "dicom": "a folder of DICOM files, however deep; needs --labels TABLE and --private FOLDER",
}


def layout_of(source: Path, words: Vocabulary) -> str:
    """The layout of a source; BadInputError, saying what is there, where none is recognised."""
    if source.is_file():
        return "table"
    if not source.is_dir():
        raise BadInputError(f"The source of a cohort is a file or a folder; there is nothing at {source}.")
    for name, published in PUBLISHED.items():
        if published.recognised(source):
            return name
    if class_folders(source, words):
        return "folders"
    if holds_dicom(source):
        return "dicom"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in source.iterdir())
    known = dict(OWN_LAYOUTS) | {name: published.title for name, published in PUBLISHED.items()}
    layouts = "\n".join(f"  {name:14}{meaning}" for name, meaning in known.items())
    raise BadInputError(
        f"A source has one of these layouts:\n{layouts}\n{source} is a folder that holds "
        f"{len(names)} entries, none named after a class ({', '.join(words.malignant_by_class)}):\n{listing(names)}\n"
        "Give the table itself, rename the folders, or declare their names as malignant or non-malignant classes."
    )


def read_source(source: Path, layout: str, settings: IngestSettings, words: Vocabulary) -> Source:
    """The rows of a source that is not DICOM; BadInputError where it does not have the layout."""
    if layout in PUBLISHED:
        published = PUBLISHED[layout]
        if not source.is_dir() or not published.recognised(source):
            raise BadInputError(f"{source} does not have the layout {layout}: {published.title}.")
        return _settled(published.source(source, words), settings, source)
    if layout == "folders":
        rows, refused, notes = folder_rows(source, words)
        found = Source(rows=_at_site(rows, settings), root=source, layout=layout, refused=refused, notes=notes)
        return _settled(found, settings, source)
    table = table_rows(source, settings.columns, words, settings)
    return Source(
        rows=_at_site(table.rows, settings),
        root=source.parent,
        layout="table",
        refused=table.fixes,
        notes=table.notes,
    )


def _settled(found: Source, settings: IngestSettings, source: Path) -> Source:
    rows, notes = settled(found.rows, settings, source)
    return replace(found, rows=rows, notes=(*found.notes, *notes))


def _at_site(rows: pl.DataFrame, settings: IngestSettings) -> pl.DataFrame:
    return rows.with_columns(pl.col("site").replace(DEFAULT_SITE, settings.site))


assert set(get_args(Layout)) == {"auto", *OWN_LAYOUTS, *PUBLISHED}  # noqa: S101 - two lists of one thing
