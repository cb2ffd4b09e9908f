"""A PACS export becomes cohort rows: each file finds its label, and identifiers become pseudonyms at the door."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from csasn.cohort.export_identity import Claim, People, people_of, refuse_contradicting_rows
from csasn.cohort.folders import files_below, unusable
from csasn.cohort.identity import nobodies, nobody
from csasn.cohort.items import Reading
from csasn.cohort.label_table import LabelTable
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.pseudonyms import Pseudonyms
from csasn.cohort.source import Source
from csasn.config import IngestSettings
from csasn.decoding.dicom.identity import Identity
from csasn.decoding.dicom.preamble import is_dicom
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError

PROBED_FILES = 500  # of a folder whose layout is to be told


@dataclass(kw_only=True, slots=True)
class Door:
    """What a DICOM file must pass on its way in: the label table, who is who, and the site's pseudonyms."""

    labels: LabelTable
    pseudonyms: Pseudonyms
    settings: IngestSettings
    people: People = field(default_factory=People)
    """Who is who, as `decide` found it."""
    nobodies: set[str] = field(default_factory=set)
    """Ids that stand for nobody among the others: zeros alone."""
    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """One person's keys, which are several where the same id came from several sites."""

    def decide(self, readings: Iterable[tuple[str, Reading]]) -> None:
        """Decide who is who among all files that were read, before any pseudonym of a patient is made.

        Raises BadInputError, listing files and lines of the label table, where that is doubtful and not declared.
        """
        read = [(path, reading) for path, reading in readings if reading.shots and _named(reading.identity)]
        files = [(reading.identity, path) for path, reading in read if reading.identity is not None]
        refuse_contradicting_rows(files, self.labels)
        claims = []
        for path, reading in read:
            if reading.identity is None or (label := self.labels.find(reading.identity, path)) is None:
                continue
            claims.append(
                Claim(
                    path=path,
                    identity=reading.identity,
                    label=label,
                    site=label.site or self.settings.site,
                    view=reading.view,
                    laterality=reading.laterality,
                )
            )
        self.nobodies = nobodies(claim.identity.patient_id for claim in claims)
        claims = [claim for claim in claims if claim.identity.patient_id not in self.nobodies]
        self.people = people_of(claims, self.labels, self.settings)

    def admit(self, reading: Reading, path: str) -> dict[str, object]:
        """The manifest columns of a file, none of which holds an identifier; RefusedPicture where no label is found."""
        identity = reading.identity
        if identity is None or not _named(identity) or identity.patient_id in self.nobodies:
            raise RefusedPicture("no-patient-id", "its patient id stands for nobody: files of several may share it")
        label = self.labels.find(identity, path)
        if label is None:
            raise RefusedPicture("no-label", "no row of the label table has its patient, study, series or object")
        site = label.site or self.settings.site
        home, issuer, patient_id = self.people.key(identity, site)
        patient = self.pseudonyms.patient(site=home, issuer=issuer, patient_id=patient_id)
        self.seen[self.pseudonyms.same_person(issuer=issuer, patient_id=patient_id)].add(patient)
        return {
            "site": site,
            "patient_id": patient,
            "nodule_id": self.pseudonyms.nodule(patient, label.nodule_id) if label.nodule_id else patient,
            "malignant": label.malignant,
            "subtype": label.subtype,
            "view": label.view or reading.view,
            "laterality": label.laterality or reading.laterality,
            "device": self.pseudonyms.device(reading.device) if reading.device else None,
            **label.descriptions,
        }

    def notes(self) -> tuple[str, ...]:
        """What the certificate says about labels without files and ids at several sites."""
        several = sorted(", ".join(sorted(keys)) for keys in self.seen.values() if len(keys) > 1)
        notes = [*self.labels.notes, *self.people.notes]
        notes += [f"One patient id at several sites, kept apart as possibly one person: {keys}." for keys in several]
        if unmatched := self.labels.unmatched():
            shown = ", ".join(map(str, unmatched[:20])) + (" ..." if len(unmatched) > 20 else "")
            notes.append(f"{len(unmatched)} rows of the label table found no file; their lines: {shown}.")
        return tuple(notes)


def _named(identity: Identity | None) -> bool:
    return identity is not None and not nobody(identity.patient_id)


def holds_dicom(source: Path) -> bool:
    """Whether one of the first files below a folder is DICOM; nothing but regular files is opened."""
    found: Iterable[Path] = (Path(folder) / name for folder, _, names in os.walk(source) for name in sorted(names))
    first = (path for _, path in zip(range(PROBED_FILES), found, strict=False))
    return any(path.is_file() and is_dicom(path) for path in first)


def export_source(source: Path, pseudonyms: Pseudonyms) -> Source:
    """One row for every file below a PACS export; the ledger names files by their pseudonyms.

    Files stand in the order of their pseudonyms, and are read and written in it: the order of rows, of files and of
    their times says nothing of names and paths. Whoever has a list of the names could else match them one by one.
    """
    paths, unreadable = files_below(source)
    refused = [
        LedgerRow(item=pseudonyms.item(name), code="unreadable", reason="the folder cannot be read")
        for name in unreadable
    ]
    usable: dict[str, str] = {}
    for path in paths:
        name = pseudonyms.item(str(path))
        if found := unusable(path, source):
            refused.append(LedgerRow(item=name, code=found[0], reason=found[1]))
        else:
            usable[name] = str(path)
    if not usable:
        raise BadInputError(f"A PACS export holds DICOM files; none lie below {source}. {NOTHING_WRITTEN}")
    rows = pl.DataFrame({"image_path": [path for _, path in sorted(usable.items())]})
    in_order = tuple(sorted(refused, key=lambda row: row.item))
    return Source(rows=rows, root=source, layout="dicom", refused=in_order, kept=True)
