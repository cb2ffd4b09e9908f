"""A hospital's images become a manifest, a ledger of what was refused or fixed and why, and a certificate."""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import polars as pl

from csasn.cohort.cohort_folder import write_cohort
from csasn.cohort.dicom_items import read_dicom_item
from csasn.cohort.integrity import NODULE_LABELS_CHECK
from csasn.cohort.items import Item, Kind, Reading, Shot, read_item, read_picture_item
from csasn.cohort.label_table import read_labels
from csasn.cohort.labels import Vocabulary, vocabulary, with_subtypes
from csasn.cohort.layouts import Layout, layout_of, read_source
from csasn.cohort.ledger import FIXES, LedgerRow
from csasn.cohort.member_items import read_member_item
from csasn.cohort.pacs import Door, export_source
from csasn.cohort.pseudonyms import keep_private, open_pseudonyms
from csasn.cohort.source import Source
from csasn.config import IngestSettings
from csasn.decoding.refused import RefusedPicture
from csasn.decoding.workers import Lost, default_workers, each_in_workers, prepare_workers
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing
from csasn.files import folder_made_whole
from csasn.progress import CountProgress
from csasn.schema import MANIFEST_COLUMNS

DICOM: Literal["dicom"] = "dicom"
MEMBER: Literal["member"] = "member"
READERS: Mapping[Kind, Callable[[Item], Reading]] = {
    "picture": read_picture_item,
    DICOM: read_dicom_item,
    MEMBER: read_member_item,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """Where the cohort lies, and what became of every item (a file, or a row of a table): in = used + refused."""

    folder: Path
    layout: str
    n_items: int
    n_used: int
    n_images: int
    refusals: Mapping[str, int]
    """Number of ledger rows by code of what was refused; single frames of a used loop are among them."""
    fixes: Mapping[str, int]
    """Number of ledger rows by code of what was used after a fix."""

    @property
    def n_refused(self) -> int:
        """Items of which nothing was used."""
        return self.n_items - self.n_used


@dataclass(kw_only=True, slots=True)
class Intake:
    """What has come in so far: manifest rows with their fingerprints and items, and the ledger."""

    rows: list[dict[str, object]] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)

    def refuse(self, item: str, code: str, reason: str) -> None:
        """Set an item aside."""
        self.ledger.append(LedgerRow(item=item, code=code, reason=reason))


def ingest(
    source: Path,
    out: Path,
    *,
    layout: Layout = "auto",
    labels: Path | None = None,
    private: Path | None = None,
    settings: IngestSettings | None = None,
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> IngestResult:
    """Write the cohort folder `out`: manifest, fingerprints, ledger and certificate; pictures stay where they are.

    Every item is decoded once, in worker processes; one that cannot be used goes to the ledger. DICOM and files of many
    pictures enter as grey PNG below `out`. A fault of the table, or the same pixels under two patients, raises
    BadInputError listing every offending row, and nothing is written. `labels` and `private` belong to DICOM: the table
    of diagnoses, and the folder of the site's key and of the crosswalk. `progress(done, total)` counts items.
    """
    prepare_workers(read_item)  # they import while the table is read
    settings = settings or IngestSettings()
    words = vocabulary(settings.malignant_classes, settings.non_malignant_classes)
    chosen = layout_of(source, words) if layout == "auto" else layout
    _refuse_needless(chosen, settings, labels, private)
    if chosen != "table" and out.resolve().is_relative_to(source.resolve()):
        raise BadInputError(f"The cohort folder lies outside its source; {out} is within {source}. Choose another.")
    door = _open_door(labels, private, out, source, settings, words) if chosen == DICOM else None
    found = read_source(source, chosen, settings, words) if door is None else export_source(source, door.pseudonyms)
    with folder_made_whole(out) as scratch:
        items = _with_owners([_item(row, found, scratch, settings, door) for row in found.rows.iter_rows(named=True)])
        intake = Intake(ledger=list(found.refused))
        readings = each_in_workers(read_item, items, workers=workers or default_workers(), progress=progress)
        decided = readings if door is None else _decided(readings, found, door)
        for row, item, reading in zip(found.rows.iter_rows(named=True), items, decided, strict=True):
            _take_in(intake, row, item, reading, door)
        _without_repeats(intake)
        _refuse_nothing_left(intake)
        _drop_unused(scratch, intake)
        rows = with_subtypes(pl.DataFrame(intake.rows, infer_schema_length=None))
        certificate = write_cohort(
            scratch,
            rows,
            intake.ledger,
            images_root=scratch if found.kept else found.root,
            facts=_facts(found, source, settings, door),
        )
        _refuse_nodules_with_two_diagnoses(certificate)
        if door is not None and private is not None:
            keep_private(door.pseudonyms, private, out)  # before the cohort takes its name: none is without its key
    return IngestResult(
        folder=out,
        layout=chosen,
        n_items=found.rows.height + len({row.item for row in found.refused if row.outcome == "refused"}),
        n_used=len({row["item"] for row in intake.rows}),
        n_images=len(intake.rows),
        refusals=_by_code(intake.ledger, "refused"),
        fixes=_by_code(intake.ledger, "fixed"),
    )


def _decided(readings: Iterable[Reading | Lost], found: Source, door: Door) -> Iterator[Reading | Lost]:
    """The readings of an export after who is who was decided over all of them: no patient has a pseudonym before."""
    kept = list(readings)
    paths = map(str, found.rows["image_path"])
    door.decide((path, each) for path, each in zip(paths, kept, strict=True) if isinstance(each, Reading))
    return iter(kept)


def _open_door(
    labels: Path | None, private: Path | None, out: Path, source: Path, settings: IngestSettings, words: Vocabulary
) -> Door:
    """The table of diagnoses and the pseudonyms through which DICOM enters; BadInputError where there is no table."""
    if labels is None:
        raise BadInputError(
            "DICOM files carry no diagnosis: name the table that does with --labels TABLE (patient_id, or "
            "accession_number, study_instance_uid, ..., and label)."
        )
    pseudonyms = open_pseudonyms(private, out, source)
    return Door(
        labels=read_labels(labels, settings.columns, words, settings.site), pseudonyms=pseudonyms, settings=settings
    )


def _by_code(ledger: Iterable[LedgerRow], outcome: str) -> dict[str, int]:
    return dict(sorted(Counter(row.code for row in ledger if row.outcome == outcome).items()))


def _refuse_needless(layout: str, settings: IngestSettings, labels: Path | None, private: Path | None) -> None:
    """A declaration that would be ignored is a mistake to be told, not to be passed over."""
    if settings.columns and layout not in ("table", DICOM):
        raise BadInputError(f"A column mapping belongs to a table; the layout here is {layout}. Leave it out.")
    if layout != DICOM and (labels or private):
        raise BadInputError(f"--labels and --private belong to the layout dicom; the layout here is {layout}.")


def _item(row: Mapping[str, object], found: Source, scratch: Path, settings: IngestSettings, door: Door | None) -> Item:
    path = str(row["image_path"])
    masks = [row.get("mask_path"), *_listed(row.get("mask_paths"))]
    member = row.get(MEMBER)
    kept = None
    if door is not None:
        kept = door.pseudonyms.item(path)
    elif found.kept:
        kept = path.removesuffix(".png") if member is None else f"{path}-{member:06d}"
    declared = row.get("declared_sha256")
    kind: Kind = DICOM if door is not None else "picture" if member is None else MEMBER
    return Item(
        path=found.root / path,
        kind=kind,
        reader=READERS[kind],
        member=member if isinstance(member, int) else 0,
        mask_paths=tuple(found.root / str(name) for name in masks if name is not None),
        outlines=tuple(tuple((x, y) for x, y in polygon) for polygon in _listed(row.get("outlines"))),
        declared_sha256=None if declared is None else str(declared),
        cohort=scratch if found.kept else None,
        kept=kept,
        dicom=settings.dicom if door is not None else None,
    )


def _with_owners(items: list[Item]) -> list[Item]:
    """The items, each with the number of those that name its mask too."""
    counts = Counter(os.path.realpath(path) for item in items for path in dict.fromkeys(item.mask_paths))
    return [
        replace(item, n_of_mask=n)
        if (n := max((counts[os.path.realpath(path)] for path in item.mask_paths), default=1)) > 1
        else item
        for item in items
    ]


def _listed(cell: object) -> Sequence[Sequence[Sequence[float]]]:
    return cell if isinstance(cell, list) else ()


def _name(row: Mapping[str, object], item: Item) -> str:
    """What the ledger calls an item: its path as the source has it, or the pseudonym of a DICOM file."""
    if item.kind == "dicom":
        return str(item.kept)
    return str(row["image_path"]) if item.kind == "picture" else f"{row['image_path']}#{item.member}"


def _take_in(intake: Intake, row: Mapping[str, object], item: Item, reading: Reading | Lost, door: Door | None) -> None:
    """Add what one item gave to the rows and to the ledger."""
    name = _name(row, item)
    if isinstance(reading, Lost):
        intake.refuse(name, reading.code, reading.reason)
        return
    for frame, code, reason in reading.refused:
        intake.refuse(name if frame is None else f"{name}#frame{frame}", code, reason)
    if not reading.shots:
        return
    declared = {key: cell for key, cell in row.items() if key in MANIFEST_COLUMNS}
    assumed = bool(row.get("patient_assumed"))  # an image stands in for its unnamed patient
    if door is not None:
        try:
            declared |= door.admit(reading, str(row["image_path"]))
        except RefusedPicture as refusal:
            intake.refuse(name, refusal.code, refusal.reason)
            return
    for shot in reading.shots:
        intake.rows.append(declared | _measured(shot, declared) | {"item": name, "assumed": assumed})
    for code in dict.fromkeys(code for shot in reading.shots for code in shot.fixes):
        intake.ledger.append(LedgerRow(item=name, outcome="fixed", code=code, reason=FIXES[code]))


def _measured(shot: Shot, declared: Mapping[str, object]) -> dict[str, object]:
    """The columns that reading found; a spacing or frame that the source declares is kept where reading has none."""
    columns: dict[str, object] = {
        "sha256": shot.sha256,
        "mask_sha256": shot.mask_sha256,
        "pixel_sha256": shot.pixel_sha256,
        "perceptual_hash": shot.fingerprint.hash,
        "thumbnail": shot.fingerprint.thumbnail,
        "width_px": shot.width_px,
        "height_px": shot.height_px,
        "frame": declared["frame"] if declared.get("frame") is not None else shot.frame,
    }
    if shot.pixel_spacing_mm is not None:
        columns["pixel_spacing_mm"] = shot.pixel_spacing_mm
    if shot.image_path is not None:
        columns |= {"image_path": shot.image_path, "mask_path": shot.mask_path}
    return columns


def _without_repeats(intake: Intake) -> None:
    """Keep the first of a patient's pictures with the same pixels; the others go to the ledger.

    Raises BadInputError where the same pixels stand under two patients, or under two labels of one patient.
    """
    first: dict[object, dict[str, object]] = {}
    kept: list[dict[str, object]] = []
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for row in intake.rows:
        earlier = first.setdefault(row["pixel_sha256"], row)
        if earlier is row:
            kept.append(row)
        elif earlier["patient_id"] != row["patient_id"] and not (earlier["assumed"] and row["assumed"]):
            faults["patients"].append(_pair(earlier, row, "patient_id"))
        elif earlier["subtype"] != row["subtype"]:
            faults["labels of one patient"].append(_pair(earlier, row, "subtype"))
        else:
            reason = f"the same pixels as {earlier['image_path']} of the same patient"
            name = f"{row['item']}#frame{row['frame']}" if earlier["item"] == row["item"] else str(row["item"])
            intake.refuse(name, "duplicate-pixels", reason)
    if faults:
        found = "\n".join(f"under two {what}:\n{listing(pairs)}" for what, pairs in faults.items())
        raise BadInputError(
            f"The same pixels never stand under two patients, nor under two labels of one. These do, {found}\n"
            f"Remove the wrong one of each pair, or correct its patient_id or label. {NOTHING_WRITTEN}"
        )
    intake.rows = kept


def _pair(earlier: Mapping[str, object], row: Mapping[str, object], column: str) -> str:
    return f"{earlier['item']} ({earlier[column]}) = {row['item']} ({row[column]})"


def _refuse_nothing_left(intake: Intake) -> None:
    if not intake.rows:
        codes = Counter(row.code for row in intake.ledger if row.outcome == "refused").most_common()
        raise BadInputError(
            f"A cohort needs at least one image; all items were refused:\n"
            f"{listing([f'{code}: {n}' for code, n in codes])}\n"
            f"The codes are explained in docs/reference/ledger.md. {NOTHING_WRITTEN}"
        )


def _drop_unused(folder: Path, intake: Intake) -> None:
    """What belongs to items of which nothing was used leaves the cohort and the ledger again."""
    _drop_unused_pictures(folder, intake.rows)
    _drop_unused_fixes(intake)


def _drop_unused_pictures(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Pictures written for items that were set aside afterwards leave the cohort again."""
    wanted = {str(row[name]) for row in rows for name in ("image_path", "mask_path") if row.get(name)}
    for kind in ("images", "masks"):
        for path in (folder / kind).rglob("*"):
            if path.is_file() and str(path.relative_to(folder)) not in wanted:
                path.unlink()
        if (folder / kind).is_dir() and not any(each.is_file() for each in (folder / kind).rglob("*")):
            shutil.rmtree(folder / kind)


def _drop_unused_fixes(intake: Intake) -> None:
    """Fixes of an item's row leave the ledger again where nothing of the item was used."""
    unused = {row.item for row in intake.ledger if row.outcome == "refused"} - {row["item"] for row in intake.rows}
    intake.ledger = [row for row in intake.ledger if row.outcome == "refused" or row.item not in unused]


def _facts(found: Source, source: Path, settings: IngestSettings, door: Door | None) -> dict[str, object]:
    """Where the cohort comes from; the path of a PACS export may name a patient and is not written."""
    notes = found.notes
    if door is not None:
        policies = ", ".join(f"{name} {value}" for name, value in settings.dicom.model_dump().items())
        notes += (f"DICOM policies: {policies}.", *door.notes())
    return {
        "simulated": False,
        "source": f"{found.layout}: {source.resolve()}" if door is None else "dicom: an export of the site",
        "citation": found.citation,
        "licence": found.licence,
        "notes": notes,
    }


def _refuse_nodules_with_two_diagnoses(certificate: Mapping[str, object]) -> None:
    checks = certificate["checks"]
    found = (
        [each["found"] for each in checks if each["name"] == NODULE_LABELS_CHECK] if isinstance(checks, list) else []
    )
    if found and found[0]:
        raise BadInputError(
            f"A nodule has one diagnosis. These have several:\n{listing(found[0])}\n"
            f"Correct the labels, or give the patient's nodules a nodule_id each. {NOTHING_WRITTEN}"
        )
