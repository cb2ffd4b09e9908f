"""A hospital's images become a manifest, a ledger of what was refused and why, and a certificate."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import polars as pl

from csasn.cohort.folders import class_folders, folder_rows
from csasn.cohort.integrity import NODULE_LABELS_CHECK, certify
from csasn.cohort.labels import Vocabulary, vocabulary, with_subtypes
from csasn.cohort.ledger import LedgerRow, RefusedPicture, ledger_csv
from csasn.cohort.pictures import pixel_sha256, read_mask, read_picture
from csasn.cohort.published import BUSI_CITATION, BUSI_COLUMNS, BUSI_NOTES, BUSI_SITE, BUSI_TABLE, is_busi
from csasn.cohort.rows import NOTHING_WRITTEN, with_keys, with_labels, with_paths
from csasn.cohort.source import Source
from csasn.cohort.tables import read_table, rename_columns, typed_columns
from csasn.errors import BadInputError, listing
from csasn.files import file_sha256, folder_made_whole, write_bytes, write_json
from csasn.schema import complete_columns

Layout = Literal["auto", "table", "folders", "busi"]
Progress = Callable[[int, int], None]  # images read so far, of how many
LAYOUTS = """  table    a CSV, TSV or parquet file with image_path, patient_id and label (or subtype) columns
  folders  SOURCE/<class>/<image> or SOURCE/<class>/<patient>/<image>, a folder for each known class
  busi     a folder with labels.csv (image, mask, label, dup_group)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """Where the cohort lies, and what became of every item: items in = used + refused."""

    folder: Path
    n_used: int
    n_refused: int
    layout: str
    refusals: Mapping[str, int]
    """Number of refused items by ledger code."""


def ingest(
    source: Path,
    out: Path,
    *,
    layout: Layout = "auto",
    columns: Mapping[str, str] = MappingProxyType({}),
    malignant_classes: tuple[str, ...] = (),
    non_malignant_classes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> IngestResult:
    """Write the cohort folder `out`: manifest.parquet, ledger.csv, certificate.json; images stay where they are.

    Every image is decoded once; one that cannot be used goes to the ledger. A fault of the table, or the same pixels
    under two patients, raises BadInputError listing every offending row, and nothing is written.
    `columns` maps manifest columns to the table's; `progress(done, total)` is called after each image.
    """
    words = vocabulary(malignant_classes, non_malignant_classes)
    chosen = _layout_of(source, words) if layout == "auto" else layout
    if columns and chosen != "table":
        raise BadInputError(f"A column mapping belongs to the layout table; the layout here is {chosen}. Leave it out.")
    found = _read_source(source, chosen, columns, words)
    if chosen != "table" and out.resolve().is_relative_to(source.resolve()):
        raise BadInputError(f"The cohort folder lies outside its source; {out} is within {source}. Choose another.")
    with folder_made_whole(out) as scratch:
        manifest, refused = _decode(found, progress)
        certificate = certify(
            manifest,
            images_root=str(found.root.resolve()),
            simulated=False,
            source=f"{found.layout}: {source.resolve()}",
            citation=found.citation,
            n_refused=len(refused),
            notes=found.notes,
        )
        _refuse_nodules_with_two_diagnoses(certificate)
        buffer = io.BytesIO()
        manifest.write_parquet(buffer)
        write_bytes(scratch / "manifest.parquet", buffer.getvalue())
        write_bytes(scratch / "ledger.csv", ledger_csv(refused))
        write_json(scratch / "certificate.json", certificate)
    return IngestResult(
        folder=out,
        n_used=manifest.height,
        n_refused=len(refused),
        layout=found.layout,
        refusals=dict(sorted(Counter(refusal.code for refusal in refused).items())),
    )


def _layout_of(source: Path, words: Vocabulary) -> Layout:
    if source.is_file():
        return "table"
    if not source.is_dir():
        raise BadInputError(f"The source of a cohort is a file or a folder; there is nothing at {source}.")
    if is_busi(source):
        return "busi"
    if class_folders(source, words):
        return "folders"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in source.iterdir())
    raise BadInputError(
        f"A source has one of these layouts:\n{LAYOUTS}\n{source} is a folder that holds "
        f"{len(names)} entries, none named after a class ({', '.join(words.malignant_by_class)}):\n{listing(names)}\n"
        "Give the table itself, rename the folders, or declare their names as malignant or non-malignant classes."
    )


def _read_source(source: Path, layout: Layout, columns: Mapping[str, str], words: Vocabulary) -> Source:
    if layout == "folders":
        rows, refused, notes = folder_rows(source, words)
        return Source(rows=rows, root=source, layout=layout, refused=refused, notes=notes)
    if layout == "busi":
        if not is_busi(source):
            raise BadInputError(f"The layout busi needs {BUSI_TABLE} (image, mask, label, dup_group) in {source}.")
        rows = _table_rows(source / BUSI_TABLE, BUSI_COLUMNS, words).with_columns(site=pl.lit(BUSI_SITE))
        return Source(rows=rows, root=source, layout=layout, citation=BUSI_CITATION, notes=BUSI_NOTES)
    return Source(rows=_table_rows(source, columns, words), root=source.parent, layout="table")


def _table_rows(path: Path, columns: Mapping[str, str], words: Vocabulary) -> pl.DataFrame:
    rows = rename_columns(read_table(path), columns, source=path)
    rows = with_labels(with_keys(rows, path), words, path)
    return with_paths(typed_columns(rows, source=path), path.parent, path)


def _decode(found: Source, progress: Progress | None) -> tuple[pl.DataFrame, list[LedgerRow]]:
    """The manifest of the images that decode, and every refusal; BadInputError where nothing is left."""
    refused = list(found.refused)
    used: list[dict[str, object]] = []
    for done, row in enumerate(found.rows.iter_rows(named=True), start=1):
        try:
            used.append(
                row
                | _measured(
                    found.root / row["image_path"],
                    None if row.get("mask_path") is None else found.root / row["mask_path"],
                )
            )
        except RefusedPicture as refusal:
            refused.append(LedgerRow(item=row["image_path"], code=refusal.code, reason=refusal.reason))
        if progress:
            progress(done, found.rows.height)
    kept, repeated = _without_repeats(used)
    refused += repeated
    if not kept:
        codes = [f"{code}: {n}" for code, n in Counter(refusal.code for refusal in refused).most_common()]
        raise BadInputError(
            f"A cohort needs at least one image; all {len(refused)} items were refused:\n{listing(codes)}\n"
            f"Export the images again as 8-bit or 16-bit grey PNG. {NOTHING_WRITTEN}"
        )
    frame = pl.DataFrame(kept, infer_schema_length=None)
    return complete_columns(with_subtypes(frame)), refused


def _measured(path: Path, mask_path: Path | None) -> dict[str, object]:
    pixels = read_picture(path)
    height, width = pixels.shape
    if mask_path is not None:
        try:
            mask = read_mask(mask_path)
        except RefusedPicture as refusal:
            raise RefusedPicture("mask-refused", f"its mask is {refusal.code}: {refusal.reason}") from refusal
        if mask.shape != pixels.shape:
            raise RefusedPicture(
                "mask-size-differs", f"{width} x {height} px, its mask {mask.shape[1]} x {mask.shape[0]} px"
            )
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error}") from error
    return {"sha256": sha256, "width_px": width, "height_px": height, "pixel_sha256": pixel_sha256(pixels)}


def _without_repeats(used: list[dict[str, object]]) -> tuple[list[dict[str, object]], list[LedgerRow]]:
    """The rows without repeated pixels (the first of a patient is kept), and a refusal for each repeat.

    Raises BadInputError where the same pixels stand under two patients, or under two labels of one patient.
    """
    first: dict[object, dict[str, object]] = {}
    kept: list[dict[str, object]] = []
    repeats: list[LedgerRow] = []
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for row in used:
        earlier = first.setdefault(row["pixel_sha256"], row)
        if earlier is row:
            kept.append(row)
            continue
        if earlier["patient_id"] != row["patient_id"]:
            faults["patients"].append(_pair(earlier, row, "patient_id"))
        elif earlier["subtype"] != row["subtype"]:
            faults["labels of one patient"].append(_pair(earlier, row, "subtype"))
        else:
            reason = f"the same pixels as {earlier['image_path']} of the same patient"
            repeats.append(LedgerRow(item=str(row["image_path"]), code="duplicate-pixels", reason=reason))
    for what, pairs in faults.items():
        raise BadInputError(
            f"The same pixels never stand under two {what}. These do:\n{listing(pairs)}\n"
            f"Remove the wrong one of each pair, or correct its patient_id or label. {NOTHING_WRITTEN}"
        )
    return kept, repeats


def _pair(earlier: dict[str, object], row: dict[str, object], column: str) -> str:
    return f"{earlier['image_path']} ({earlier[column]}) = {row['image_path']} ({row[column]})"


def _refuse_nodules_with_two_diagnoses(certificate: dict[str, object]) -> None:
    checks = certificate["checks"]
    found = (
        [each["found"] for each in checks if each["name"] == NODULE_LABELS_CHECK] if isinstance(checks, list) else []
    )
    if found and found[0]:
        raise BadInputError(
            f"A nodule has one diagnosis. These have several:\n{listing(found[0])}\n"
            f"Correct the labels, or give the patient's nodules a nodule_id each. {NOTHING_WRITTEN}"
        )
