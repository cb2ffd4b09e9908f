"""The table of diagnoses of a PACS export: each file finds its row by the most specific key that names it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import polars as pl

from csasn.cohort.labels import Vocabulary, did_you_mean
from csasn.cohort.rows import LINE, NOTHING_WRITTEN, every_row, place, trimmed, with_labels
from csasn.cohort.table_files import read_table
from csasn.cohort.tables import DESCRIPTIONS, LABELS, typed_columns
from csasn.decoding.dicom.identity import Identity
from csasn.errors import BadInputError, listing

# From the most specific to the least; a row counts by the first of them that it fills.
KEYS = (
    "image_path",
    "sop_instance_uid",
    "series_instance_uid",
    "accession_number",
    "study_instance_uid",
    "patient_id",
)
DETAILS = ("nodule_id", "site", "view", "laterality", "issuer", *DESCRIPTIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What a row of the label table says."""

    line: int
    malignant: bool
    subtype: str
    nodule_id: str | None
    site: str | None
    view: str | None
    laterality: str | None
    descriptions: Mapping[str, object]  # age, sex, nodule size and TI-RADS level, where the table has them


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """Labels by (key column, key); `found` collects the lines that a file was found for."""

    labels: Mapping[tuple[str, str, str], Label]
    """By key column, key and, where the row names it, the issuer of the patient_id."""
    found: set[int] = field(default_factory=set)

    def find(self, identity: Identity, path: str) -> Label | None:
        """The label of a file, by the most specific key that matches; None where there is none."""
        for key in KEYS:
            text = path if key == "image_path" else getattr(identity, key)
            own = self.labels.get((key, text, identity.issuer)) if key == "patient_id" else None
            label = own or self.labels.get((key, text, "")) if text else None
            if label is not None:
                self.found.add(label.line)
                return label
        return None

    def unmatched(self) -> list[int]:
        """Lines for which no file was found."""
        return sorted({label.line for label in self.labels.values()} - self.found)


def read_labels(path: Path, columns: Mapping[str, str], words: Vocabulary) -> LabelTable:
    """The label table of a PACS export, keyed by any of KEYS, with label (or subtype, or malignant) and DETAILS.

    Raises BadInputError, listing lines but never the keys in them, where a column is missing, a row has no key or no
    known label, or two rows of one key differ.
    """
    known = (*KEYS, *LABELS, *DETAILS)
    wrong = [f"{name!r}{did_you_mean(name, known)}" for name in columns if name not in known]
    if wrong:
        raise BadInputError(f"A label table's column mapping knows {', '.join(known)}. Received:\n{listing(wrong)}")
    frame = read_table(path).rows
    places = {name: columns.get(name, name) for name in known}
    missing = [f"{places[name]!r} for {name}" for name in columns if places[name] not in frame.columns]
    keys = [name for name in KEYS if places[name] in frame.columns]
    if not keys:
        missing.append(f"one of {', '.join(KEYS)}")
    if not any(places[name] in frame.columns for name in LABELS):
        missing.append("'label' (or 'subtype', or 'malignant')")
    if missing:
        raise BadInputError(f"{path.name} lacks columns:\n{listing(missing)}\nAdd or map them. {NOTHING_WRITTEN}")
    rows = frame.select([pl.col(old).alias(new) for new, old in places.items() if old in frame.columns] + [LINE])
    rows = typed_columns(with_labels(trimmed(rows), words, path), source=path)
    return LabelTable(labels=MappingProxyType(_by_key(rows, keys, path)))


def _by_key(rows: pl.DataFrame, keys: list[str], path: Path) -> dict[tuple[str, str, str], Label]:
    labels: dict[tuple[str, str, str], Label] = {}
    keyless: list[tuple[int, str]] = []
    conflicts: list[str] = []
    for row in rows.iter_rows(named=True):
        key = next((name for name in keys if row[name] is not None), None)
        if key is None:
            keyless.append((row[LINE], "no key"))
            continue
        details = {name: row.get(name) for name in ("nodule_id", "site", "view", "laterality")}
        described = {name: row.get(name) for name in DESCRIPTIONS}
        label = Label(
            line=row[LINE], malignant=row["malignant"], subtype=row["subtype"], descriptions=described, **details
        )
        issuer = str(row.get("issuer") or "") if key == "patient_id" else ""
        earlier = labels.setdefault((key, str(row[key]), issuer), label)
        if (earlier.subtype, earlier.nodule_id, earlier.site) != (label.subtype, label.nodule_id, label.site):
            conflicts.append(f"{place(path, earlier.line)} and {place(path, label.line)} have the same {key}")
    if keyless or conflicts:
        found = "\n".join(filter(None, [every_row(keyless, path), *(f"  - {each}" for each in conflicts)]))
        raise BadInputError(
            "Every row of a label table names its files by one key, and no key has two labels. In "
            f"{path.name}:\n{found}\nWhere a patient has several nodules, "
            f"name each by its accession_number, series or object. {NOTHING_WRITTEN}"
        )
    return labels
