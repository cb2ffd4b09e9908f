"""The table of diagnoses of a PACS export: each file finds its row by the most specific key that names it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import polars as pl

from csasn.cohort.identity import composed, loose, nobody
from csasn.cohort.labels import Vocabulary, did_you_mean
from csasn.cohort.rows import DEFAULT_SITE, LINE, every_row, place, refuse_partly_filled_sites, trimmed, with_labels
from csasn.cohort.table_files import read_table
from csasn.cohort.tables import DESCRIPTIONS, LABELS, emptied, typed_columns
from csasn.decoding.dicom.identity import Identity
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

# From the most specific to the least; a row counts by the first of them that it fills, and agrees with the file in all.
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
    stated: Mapping[str, str]
    """Every key that the row fills, and its issuer."""

    def contradicted_in(self, identity: Identity, path: str) -> str | None:
        """The first key in which this row and a file differ; a key that one of them lacks says nothing."""
        for key, text in self.stated.items():
            own = path if key == "image_path" else getattr(identity, key)
            if own and text != own and (key == "image_path" or loose(text) != loose(own)):
                return key
        return None

    def differs_from(self, other: "Label") -> list[str]:
        """The columns in which two rows differ."""
        names = ("malignant", "subtype", "nodule_id", "site", "view", "laterality")
        found = [name for name in names if getattr(self, name) != getattr(other, name)]
        return found + [name for name in DESCRIPTIONS if self.descriptions[name] != other.descriptions[name]]

    def names_another(self, other: "Label") -> bool:
        """Whether two rows that share a key state another key differently, so that no file belongs to both."""
        return any(loose(text) != loose(other.stated[key]) for key, text in self.stated.items() if key in other.stated)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """Labels by (key column, key); `found` collects the lines that a file was found for."""

    source: Path
    labels: Mapping[tuple[str, str, str], tuple[Label, ...]]
    """By key column, key and, where the row names it, the issuer of the patient_id."""
    found: set[int] = field(default_factory=set)
    notes: tuple[str, ...] = ()

    def find(self, identity: Identity, path: str) -> Label | None:
        """The label of a file, by the most specific key that matches, of a row that contradicts it in no other key."""
        for key in KEYS:
            for label in self._named(key, identity, path):
                if label.contradicted_in(identity, path) is None:
                    self.found.add(label.line)
                    return label
        return None

    def contradictions(self, identity: Identity, path: str) -> list[tuple[int, str]]:
        """Line and key of the rows that name a file by their most specific key, and differ from it in another one.

        Empty where another row of that key agrees with the file in all.
        """
        for key in KEYS:
            wrong = []
            for label in self._named(key, identity, path):
                differing = label.contradicted_in(identity, path)
                if differing is None:
                    return []
                wrong.append((label.line, f"its {key} is the file's, its {differing} is not"))
            if wrong:
                return wrong
        return []

    def unmatched(self) -> list[int]:
        """Lines for which no file was found."""
        return sorted({label.line for labels in self.labels.values() for label in labels} - self.found)

    def names_issuers_of(self, patient_id: str) -> bool:
        """Whether a row gives an issuer with this patient_id: then ids of several issuers are kept apart knowingly."""
        return any(key == "patient_id" and text == patient_id and issuer for key, text, issuer in self.labels)

    def _named(self, key: str, identity: Identity, path: str) -> tuple[Label, ...]:
        text = path if key == "image_path" else getattr(identity, key)
        if not text or (key != "image_path" and nobody(text, person=key == "patient_id")):
            return ()
        own = self.labels.get((key, text, identity.issuer), ()) if key == "patient_id" else ()
        return own or self.labels.get((key, text, ""), ())


def read_labels(path: Path, columns: Mapping[str, str], words: Vocabulary, site: str = DEFAULT_SITE) -> LabelTable:
    """The label table of a PACS export, keyed by any of KEYS, with label (or subtype, or malignant) and DETAILS.

    `site` is that of rows that name none. Raises BadInputError, listing lines but never the keys in them, where a
    column is missing, a row has no key or no known label, two rows of one key differ in any column that is used, two
    rows of one patient differ in sex, or a site is named in some rows only.
    """
    known = (*KEYS, *LABELS, *DETAILS)
    wrong = [f"{name!r}{did_you_mean(name, known)}" for name in columns if name not in known]
    if wrong:
        raise BadInputError(f"A label table's column mapping knows {', '.join(known)}. Received:\n{listing(wrong)}")
    table = read_table(path)
    frame = table.rows
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
    rows = emptied(trimmed(rows))
    refuse_partly_filled_sites(rows, path, site)
    rows = typed_columns(with_labels(rows, words, path), source=path)
    labels = _by_key(rows, keys, path)
    _refuse_two_sexes(labels, path)
    return LabelTable(source=path, labels=MappingProxyType(labels), notes=table.notes)


def _by_key(rows: pl.DataFrame, keys: list[str], path: Path) -> dict[tuple[str, str, str], tuple[Label, ...]]:
    labels: dict[tuple[str, str, str], tuple[Label, ...]] = {}
    keyless: list[tuple[int, str]] = []
    conflicts: list[str] = []
    for row in rows.iter_rows(named=True):
        label = _label(row, keys)
        key = next((name for name in keys if name in label.stated), None)
        empty = [name for name, text in label.stated.items() if name != "image_path" and _is_placeholder(name, text)]
        if key is None or empty:
            keyless.append((row[LINE], "no key" if key is None else f"its {empty[0]} stands for an empty cell"))
            continue
        issuer = label.stated.get("issuer", "") if key == "patient_id" else ""
        place_of = (key, label.stated[key], issuer)
        conflicts += [
            f"{place(path, earlier.line)} and {place(path, label.line)} have the same {key} and differ in "
            f"{', '.join(differing)}"
            for earlier in labels.get(place_of, ())
            if not label.names_another(earlier) and (differing := label.differs_from(earlier))
        ]
        labels[place_of] = (*labels.get(place_of, ()), label)
    if keyless or conflicts:
        found = "\n".join(filter(None, [every_row(keyless, path), *(f"  - {each}" for each in conflicts)]))
        raise BadInputError(
            "Every row of a label table names its files by one key, and no key has two labels. In "
            f"{path.name}:\n{found}\nWhere a patient has several nodules, "
            f"name each by its accession_number, series or object. {NOTHING_WRITTEN}"
        )
    return labels


def _label(row: Mapping[str, object], keys: list[str]) -> Label:
    stated = {name: str(row[name]) for name in (*keys, "issuer") if row.get(name) is not None}
    if "patient_id" in stated:
        stated["patient_id"] = composed(stated["patient_id"])
    cells = {name: row.get(name) for name in ("nodule_id", "site", "view", "laterality")}
    return Label(
        line=int(str(row[LINE])),
        malignant=bool(row["malignant"]),
        subtype=str(row["subtype"]),
        descriptions={name: row.get(name) for name in DESCRIPTIONS},
        stated=stated,
        **{name: None if cell is None else str(cell) for name, cell in cells.items()},
    )


def _is_placeholder(name: str, text: str) -> bool:
    return name != "issuer" and nobody(text, person=name == "patient_id")


def _refuse_two_sexes(labels: Mapping[tuple[str, str, str], tuple[Label, ...]], path: Path) -> None:
    """Raise BadInputError where rows of one patient, whatever key they count by, differ in sex."""
    first: dict[tuple[str, str], Label] = {}
    wrong: list[str] = []
    for label in sorted((label for found in labels.values() for label in found), key=lambda label: label.line):
        if "patient_id" not in label.stated or label.descriptions["sex"] is None:
            continue
        earlier = first.setdefault((loose(label.stated["patient_id"]), label.stated.get("issuer", "")), label)
        if earlier.descriptions["sex"] != label.descriptions["sex"]:
            wrong.append(f"{place(path, earlier.line)} and {place(path, label.line)} have the same patient_id")
    if wrong:
        raise BadInputError(
            f"Rows of one patient agree in sex. In {path.name}:\n{listing(wrong)}\n"
            f"Correct the sex or the patient_id. {NOTHING_WRITTEN}"
        )
