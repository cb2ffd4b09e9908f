"""A whole simulated cohort, written as a cohort folder or as a PACS export: two pictures a nodule, and the truth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import polars as pl

from csasn.cohort.cohort_folder import write_cohort
from csasn.csv_cells import escaped_cells
from csasn.decoding.workers import Lost, default_workers, each_in_workers
from csasn.errors import BadInputError, CsasnError
from csasn.files import folder_made_whole, write_bytes
from csasn.phantom.anatomy import VIEWS
from csasn.phantom.attributes import LOAD
from csasn.phantom.contact_sheet import contact_sheet
from csasn.phantom.export import invented, write_objects
from csasn.phantom.looks import SIZE_OVERLAP, SUBTYPES
from csasn.phantom.patients import Mix, draw_patients
from csasn.phantom.rendering import Acquisition, acquisitions, write_picture
from csasn.phantom.scanner import draw_scanner
from csasn.phantom.workbook import workbook
from csasn.progress import CountProgress

SOURCE = "csasn phantom, version 2 (SIMULATED: no patient, never clinical evidence)"
FEW = 40  # pictures that one process has made before others have started
LIMIT_S = 120.0  # for one item, which takes a tenth of a second on an idle core

Job = TypeVar("Job")
Written = TypeVar("Written")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateResult:
    """What was written, and where."""

    folder: Path
    n_patients: int
    n_sites: int
    n_nodules: int
    n_images: int


def simulate(
    out: Path,
    *,
    n_patients: int,
    n_sites: int,
    seed: int,
    mix: Mix = "enriched",
    overlay_shortcut: float = 0.0,
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> SimulateResult:
    """Write a simulated cohort folder at `out`, whole or not at all; `progress(done, total)` counts pictures.

    `mix` is the share of the classes; `overlay_shortcut` the probability that a picture's calipers follow malignancy
    rather than chance. The same seed gives the same bytes, whatever the number of `workers` (None: one a processor).
    Raises BadInputError where the numbers make no cohort or `out` is in use, StorageError where the device refuses.
    """
    planned = _plan(n_patients, n_sites, seed, mix, overlay_shortcut)
    with folder_made_whole(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        jobs = [(folder, acquisition) for acquisition in planned]
        rows = pl.DataFrame(list(_each(write_picture, jobs, workers, progress)))
        write_bytes(folder / "attributes.csv", escaped_cells(attribute_table(planned)).write_csv().encode())
        sheet = BytesIO()
        contact_sheet(folder, rows).save(sheet, format="PNG")
        write_bytes(folder / "contact_sheet.png", sheet.getvalue())
        notes = _notes(planned, seed, mix, overlay_shortcut)
        facts = {"simulated": True, "source": SOURCE, "citation": None, "notes": notes}
        write_cohort(folder, rows, (), images_root=folder, facts=facts)
    return _result(out, n_patients, n_sites, rows.height)


def simulate_export(
    out: Path,
    *,
    n_patients: int,
    n_sites: int,
    seed: int,
    mix: Mix = "enriched",
    overlay_shortcut: float = 0.0,
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> SimulateResult:
    """Write a simulated PACS export at `out`: export/<site>/<patient>/<study>/*.dcm, labels and attributes.

    Names are invented. It is a source for `csasn ingest --layout dicom --labels OUT/labels.csv` and no cohort;
    labels.xlsx says the same as labels.csv, its diagnoses under `histology`. Arguments and errors as `simulate`.
    """
    planned = _plan(n_patients, n_sites, seed, mix, overlay_shortcut)
    patients = [acquisition.patient for acquisition in planned[:: len(VIEWS)]]
    with folder_made_whole(out) as folder:
        jobs = [(folder / "export", acquisition) for acquisition in planned]
        n_images = sum(_each(write_objects, jobs, workers, progress))
        labels = [
            (invented(each.number)[1], f"n{each.number + 1}", each.site, each.attributes.subtype) for each in patients
        ]
        columns = ("patient_id", "nodule_id", "site")
        write_bytes(folder / "labels.xlsx", workbook([(*columns, "histology"), *labels]))
        frame = pl.DataFrame(labels, schema=[*columns, "label"], orient="row")
        write_bytes(folder / "labels.csv", escaped_cells(frame).write_csv().encode())
        known = attribute_table(planned).with_columns(
            pl.Series("hospital_number", [invented(each.number)[1] for each in patients])
        )
        write_bytes(folder / "attributes.csv", escaped_cells(known).write_csv().encode())
    return _result(out, n_patients, n_sites, n_images)


def attribute_table(planned: Sequence[Acquisition]) -> pl.DataFrame:
    """The drawn attributes, one row a nodule, and which of its pictures have calipers."""
    rows: dict[str, dict[str, object]] = {}
    for acquisition in planned:
        patient = acquisition.patient
        row = rows.setdefault(
            patient.nodule_id,
            {"nodule_id": patient.nodule_id, "patient_id": patient.patient_id, "site": patient.site}
            | asdict(patient.attributes)
            | {name: round(length, 2) for name, length in asdict(patient.diameters).items()},
        )
        row[f"calipers_{acquisition.view}"] = acquisition.calipers
    return pl.DataFrame(list(rows.values()))


def _plan(n_patients: int, n_sites: int, seed: int, mix: Mix, overlay_shortcut: float) -> list[Acquisition]:
    """Every picture of a cohort before any is made."""
    if not 0 <= overlay_shortcut <= 1:
        raise BadInputError(
            "The probability that calipers follow malignancy lies between 0 and 1; "
            f"received --overlay-shortcut {overlay_shortcut}."
        )
    patients = draw_patients(n_patients=n_patients, n_sites=n_sites, seed=seed, mix=mix)
    scanners = [draw_scanner(number, seed) for number in range(n_sites)]
    return acquisitions(patients, scanners, seed=seed, overlay_shortcut=overlay_shortcut)


def _each(
    function: Callable[[Job], Written], jobs: Sequence[Job], workers: int | None, progress: CountProgress | None
) -> Iterator[Written]:
    """`function` of every job in order, in this process where they are few, else in worker processes."""
    n_workers = default_workers() if workers is None else workers
    if n_workers < 1:
        raise BadInputError(f"Pictures are made by at least 1 process; received --workers {n_workers}.")
    if n_workers == 1 or (workers is None and len(jobs) <= FEW):
        for done, job in enumerate(jobs, start=1):
            yield function(job)
            if progress is not None:
                progress(done, len(jobs))
        return
    for written in each_in_workers(function, jobs, workers=n_workers, limit_s=LIMIT_S, progress=progress):
        if isinstance(written, Lost):
            raise CsasnError(
                f"Every picture must be made; a worker process was lost over one: {written.reason}. "
                "Nothing was written: close other programs or give --workers 1, then run the same command again."
            )
        yield written


def _result(out: Path, n_patients: int, n_sites: int, n_images: int) -> SimulateResult:
    return SimulateResult(folder=out, n_patients=n_patients, n_sites=n_sites, n_nodules=n_patients, n_images=n_images)


def _notes(planned: Sequence[Acquisition], seed: int, mix: Mix, overlay_shortcut: float) -> tuple[str, ...]:
    drawn = [acquisition.patient.attributes.subtype for acquisition in planned[:: len(VIEWS)]]
    counts = ", ".join(f"{name} {drawn.count(name)}" for name in SUBTYPES)
    mixed = "near a surgical cohort's" if mix == "natural" else "enriched in rare classes and is no natural prevalence"
    overlays = (
        f"OVERLAY SHORTCUT PLANTED (--overlay-shortcut {overlay_shortcut:g}): with that probability a picture's "
        "calipers follow malignancy rather than chance. A model may read them; use this cohort only to test audits."
        if overlay_shortcut
        else "Overlays (ruler, text, calipers) are independent of the class."
    )
    return (
        f"SIMULATED by csasn simulate with --seed {seed}: every picture is computed, none shows a patient.",
        f"The class mix is {mixed}; patients: {counts}.",
        "Attributes keep their published frequencies in each class (read as abstracts or single tables) and go "
        f"together with correlation {LOAD**2:g}, so that a share of each class looks like another; log sizes are drawn "
        f"{SIZE_OVERLAP:.0%} of the way towards a common one, so that size alone tells little.",
        overlays,
    )
