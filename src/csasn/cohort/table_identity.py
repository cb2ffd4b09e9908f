"""The rules of identity applied to cohort rows: of a table, of class folders, of a public data set."""

from pathlib import Path

import polars as pl

from csasn.cohort.identity import (
    DISTINCT_SITES,
    SAME_PATIENTS,
    alike,
    at_several,
    composed,
    joined_note,
    nobodies,
    refuse_alike,
    refuse_at_several_sites,
)
from csasn.cohort.rows import LINE, every_row
from csasn.config import IngestSettings
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

ASSUMED = "patient_assumed"


def settled(rows: pl.DataFrame, settings: IngestSettings, source: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows whose patient_id is a patient, and what the certificate says of how that was decided.

    Rows that name no patient (`patient_assumed`, or an image that stands for its own) are left as they are. Raises
    BadInputError, listing every row, where an id stands for nobody, where ids differ in spelling alone, or one stands
    at several sites, unless the settings declare what they are.
    """
    named = _named(rows)
    notes: list[str] = []
    rows, n_composed = _composed(rows)
    if n_composed:
        notes.append(f"{n_composed} patient ids were in decomposed Unicode (NFD) and were composed (NFC).")
    counts = dict(rows.filter(named).group_by("patient_id").len().iter_rows())
    if empty := nobodies(counts):
        raise BadInputError(
            f"A patient_id names one patient, so that none is split unseen. These stand for nobody, in {source}:\n"
            f"{_every(rows, named & pl.col('patient_id').is_in(list(empty)), source)}\n"
            f"Give each patient an id of its own, or remove the images. {NOTHING_WRITTEN}"
        )
    if groups := alike(counts):
        members = [text for group in groups for text in group]
        if not settings.same_patients:
            refuse_alike(_every(rows, named & pl.col("patient_id").is_in(members), source), f", in {source}")
        first = {text: group[0] for group in groups for text in group[1:]}
        rows = rows.with_columns(pl.when(named).then(pl.col("patient_id").replace(first)).otherwise("patient_id"))
        notes.append(joined_note(groups))
    return _at_sites(rows, named, settings, source, notes)


def _at_sites(
    rows: pl.DataFrame, named: pl.Expr, settings: IngestSettings, source: Path, notes: list[str]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    several = at_several(rows.filter(named).select("patient_id", "site").unique().iter_rows())
    if settings.distinct_sites:
        own = pl.when(named).then(pl.format("{}/{}", "site", "patient_id")).otherwise("patient_id")
        rows = rows.with_columns(patient_id=own)
        notes.append(
            f"Each site counts its own patients, as declared ({DISTINCT_SITES}): site and id together are the patient; "
            f"{len(several)} ids stand at several sites."
        )
    elif several and settings.same_patients:
        notes.append(
            f"{len(several)} ids stand at several sites and are one patient each, as declared ({SAME_PATIENTS})."
        )
    elif several:
        shared = named & pl.col("patient_id").is_in(list(several))
        refuse_at_several_sites(_every(rows, shared, source, site=True), f", in {source}")
    return rows, tuple(notes)


def _named(rows: pl.DataFrame) -> pl.Expr:
    """Rows whose source names a patient; an image without one stands for a patient of its own."""
    named = pl.col("patient_id") != pl.col("image_path")
    return named & ~pl.col(ASSUMED).fill_null(value=False) if ASSUMED in rows.columns else named


def _composed(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    ids = rows["patient_id"].unique().to_list()
    changed = {text: composed(text) for text in ids if text is not None and composed(text) != text}
    return (rows.with_columns(pl.col("patient_id").replace(changed)) if changed else rows), len(changed)


def _every(rows: pl.DataFrame, which: pl.Expr, source: Path, *, site: bool = False) -> str:
    """Every row that is meant, alike ids beside each other."""
    found = rows.filter(which).with_columns(at=pl.col("site") if site else pl.lit(None, dtype=pl.String))
    by_id = sorted(set(found.select("patient_id", "at").iter_rows()), key=lambda each: (each[0].casefold(), str(each)))
    order = {each: place for place, each in enumerate(by_id)}
    shown = [
        (line, text, at)
        for line, text, at in found.select(LINE if LINE in rows else "image_path", "patient_id", "at").iter_rows()
    ]
    shown.sort(key=lambda each: (order[each[1:]], each[0]))
    said = [(line, f"patient_id {text!r}" + (f" at site {at!r}" if at is not None else "")) for line, text, at in shown]
    if LINE in rows.columns:
        return every_row(said, source)
    return listing([f"{path}: {what}" for path, what in said])


def refuse_two_sexes(rows: pl.DataFrame, source: Path) -> None:
    """Raise BadInputError, listing every row, where a patient is female in one row and male in another."""
    if "sex" not in rows.columns:
        return
    both = rows.filter(pl.col("sex").drop_nulls().n_unique().over("patient_id") > 1).sort("patient_id", LINE)
    if not both.is_empty():
        shown = both.select(LINE, "patient_id", "sex").iter_rows()
        found = ((line, f"patient_id {text!r}, sex {sex or 'empty'}") for line, text, sex in shown)
        raise BadInputError(
            f"One id is one patient, who has one sex. In {source}:\n{every_row(found, source)}\n"
            f"Correct the sex, or give the patients an id each. {NOTHING_WRITTEN}"
        )
