"""A whole simulated cohort, written as a cohort folder: patients dealt to sites, two pictures a nodule, the truth."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from csasn.cohort.cohort_folder import write_cohort
from csasn.cohort.fingerprints import perceptual_hash
from csasn.cohort.phantom.anatomy import VIEWS, View, draw_tissue
from csasn.cohort.phantom.attributes import ATYPICAL, SUBTYPES, Attributes, Subtype, draw_attributes
from csasn.cohort.phantom.export import invented, write_object
from csasn.cohort.phantom.nodule import Diameters, draw_diameters
from csasn.cohort.phantom.scanner import Picture, Scanner, draw_scanner, take_picture
from csasn.cohort.pictures import pixel_sha256
from csasn.errors import BadInputError
from csasn.files import folder_made_whole, write_bytes

# Enriched in the rare classes; among carcinomas treated by surgery PTC makes about .90, FTC .045, MTC .016, ATC < .02.
CLASS_MIX: dict[Subtype, float] = {"benign": 0.40, "PTC": 0.24, "FTC": 0.14, "MTC": 0.12, "ATC": 0.10}
MIX_SPREAD = 0.25  # SD of the log by which a site's mix differs from the whole
LEAST_A_CLASS = 2  # patients, at every site that has enough of them
MOST_SITES = 26
PNG_COMPRESSION = 3
SOURCE = "csasn phantom, version 1 (SIMULATED: no patient, never clinical evidence)"
_DEALING, _PATIENTS = 9_002, 9_003  # streams of the seed

Progress = Callable[[int, int], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """One simulated patient with one nodule; `number` counts from 0 and fixes, with the seed, every draw."""

    number: int
    patient_id: str
    nodule_id: str
    site_number: int
    attributes: Attributes
    diameters: Diameters

    @property
    def site(self) -> str:
        """The site's name: site-a, site-b, ..."""
        return f"site-{chr(ord('a') + self.site_number)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateResult:
    """What was written, and where."""

    folder: Path
    n_patients: int
    n_sites: int
    n_nodules: int
    n_images: int


def simulate(
    out: Path, *, n_patients: int, n_sites: int, seed: int, progress: Progress | None = None
) -> SimulateResult:
    """Write a simulated cohort folder at `out`, whole or not at all; `progress(done, total)` counts pictures.

    The same seed gives the same bytes. Raises BadInputError where the numbers make no cohort or `out` is in use,
    StorageError where the device refuses.
    """
    patients = draw_patients(n_patients=n_patients, n_sites=n_sites, seed=seed)
    scanners = [draw_scanner(number, seed) for number in range(n_sites)]
    n_images = len(patients) * len(VIEWS)
    with folder_made_whole(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        rows = []
        for patient in patients:
            for view in VIEWS:
                rows.append(_write_picture(folder, patient, view, scanners[patient.site_number], seed))
                if progress is not None:
                    progress(len(rows), n_images)
        write_bytes(folder / "attributes.csv", attribute_table(patients).write_csv().encode())
        facts = {"simulated": True, "source": SOURCE, "citation": None, "notes": _notes(patients, seed)}
        write_cohort(folder, pl.DataFrame(rows), (), images_root=folder, facts=facts)
    return SimulateResult(
        folder=out, n_patients=len(patients), n_sites=n_sites, n_nodules=len(patients), n_images=n_images
    )


def simulate_export(
    out: Path, *, n_patients: int, n_sites: int, seed: int, progress: Progress | None = None
) -> SimulateResult:
    """Write a simulated PACS export at `out`: export/<site>/<patient>/*.dcm, labels.csv and attributes.csv.

    Names are invented; transverse pictures are stills, longitudinal ones cine loops. It is a source for
    `csasn ingest --layout dicom`, not a cohort. Errors as `simulate`.
    """
    patients = draw_patients(n_patients=n_patients, n_sites=n_sites, seed=seed)
    scanners = [draw_scanner(number, seed) for number in range(n_sites)]
    n_images = len(patients) * len(VIEWS)
    with folder_made_whole(out) as folder:
        for place, (patient, view) in enumerate(product(patients, VIEWS), start=1):
            scanner = scanners[patient.site_number]
            picture = _picture(patient, view, scanner, seed)
            name, _ = invented(patient.number)
            write_object(
                folder / "export" / patient.site / f"{patient.number:04d}_{name}" / f"{view}.dcm",
                picture.pixels,
                number=patient.number,
                spacing_mm=scanner.grid.spacing_mm,
                view=view,
                seed=seed,
                cine=view == "longitudinal",
            )
            if progress is not None:
                progress(place, n_images)
        labels = pl.DataFrame(
            [
                {"patient_id": invented(each.number)[1], "site": each.site, "label": each.attributes.subtype}
                for each in patients
            ]
        )
        write_bytes(folder / "labels.csv", labels.write_csv().encode())
        write_bytes(folder / "attributes.csv", attribute_table(patients).write_csv().encode())
    return SimulateResult(
        folder=out, n_patients=len(patients), n_sites=n_sites, n_nodules=len(patients), n_images=n_images
    )


def draw_patients(*, n_patients: int, n_sites: int, seed: int) -> list[Patient]:
    """The patients of a cohort with everything that is drawn of them before any picture is made."""
    _refuse_impossible(n_patients, n_sites, seed)
    dealt = deal_classes(n_patients=n_patients, n_sites=n_sites, seed=seed)
    patients = []
    for number, (site_number, subtype) in enumerate(dealt):
        rng = np.random.default_rng(np.random.SeedSequence([seed, _PATIENTS, number]))
        pseudonym = "sim-" + hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:12]
        attributes = draw_attributes(subtype, rng)
        patients.append(
            Patient(
                number=number,
                patient_id=pseudonym,
                nodule_id=f"{pseudonym}-n1",
                site_number=site_number,
                attributes=attributes,
                diameters=draw_diameters(attributes, rng),
            )
        )
    return patients


def deal_classes(*, n_patients: int, n_sites: int, seed: int) -> list[tuple[int, Subtype]]:
    """Site number and class of every patient, site by site, in random order within a site.

    A site of 10 patients or more has a mix of its own about CLASS_MIX and at least 2 patients of each class.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, _DEALING]))
    dealt: list[tuple[int, Subtype]] = []
    for site in range(n_sites):
        n_here = n_patients // n_sites + (site < n_patients % n_sites)
        mix = np.array([CLASS_MIX[name] for name in SUBTYPES])
        least = LEAST_A_CLASS if n_here >= LEAST_A_CLASS * len(SUBTYPES) else 0
        if least:
            mix *= np.exp(rng.normal(0, MIX_SPREAD, len(SUBTYPES)))
        wanted = np.maximum(n_here * mix / mix.sum() - least, 0)
        counts = least + _apportion(n_here - least * len(SUBTYPES), wanted)
        names = [name for name, count in zip(SUBTYPES, counts, strict=True) for _ in range(count)]
        dealt += [(site, names[at]) for at in rng.permutation(n_here)]
    return dealt


def attribute_table(patients: Sequence[Patient]) -> pl.DataFrame:
    """The drawn attributes, one row a nodule."""
    return pl.DataFrame(
        [
            {"nodule_id": patient.nodule_id, "patient_id": patient.patient_id, "site": patient.site}
            | asdict(patient.attributes)
            | asdict(patient.diameters)
            for patient in patients
        ]
    ).with_columns(pl.col("depth_mm", "width_mm", "length_mm").round(2))


def _refuse_impossible(n_patients: int, n_sites: int, seed: int) -> None:
    if n_patients < 1 or not 1 <= n_sites <= MOST_SITES or seed < 0:
        raise BadInputError(
            f"A simulated cohort has at least 1 patient, 1 to {MOST_SITES} sites and a seed of 0 or more; "
            f"received --patients {n_patients} --sites {n_sites} --seed {seed}."
        )
    if n_patients < 2 * n_sites:
        raise BadInputError(
            "Every site needs a benign and a malignant patient; "
            f"received {n_patients} patients for {n_sites} {'site' if n_sites == 1 else 'sites'}. "
            f"Give {LEAST_A_CLASS * len(SUBTYPES) * n_sites} or more, so that each class has two at each site."
        )


def _apportion(n: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """n whole patients in proportion to the weights, by largest remainder."""
    if n == 0:
        return np.zeros(len(weights), dtype=np.int64)
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]] += 1
    return np.asarray(counts, dtype=np.int64)


def _picture(patient: Patient, view: View, scanner: Scanner, seed: int) -> Picture:
    rng = np.random.default_rng(np.random.SeedSequence([seed, _PATIENTS, patient.number, 1 + VIEWS.index(view)]))
    tissue = draw_tissue(patient.attributes, patient.diameters, view, scanner.grid, rng)
    return take_picture(scanner, tissue, view, rng)


def _write_picture(folder: Path, patient: Patient, view: View, scanner: Scanner, seed: int) -> dict[str, object]:
    """Simulate, write and describe one picture: its row of the manifest."""
    picture = _picture(patient, view, scanner, seed)
    name = f"{patient.nodule_id}-{view}.png"
    content = _png(picture.pixels)
    (folder / "images" / name).write_bytes(content)
    mask = _png(picture.mask)
    (folder / "masks" / name).write_bytes(mask)
    return {
        "image_path": f"images/{name}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "site": patient.site,
        "patient_id": patient.patient_id,
        "nodule_id": patient.nodule_id,
        "view": view,
        "malignant": patient.attributes.subtype != "benign",
        "subtype": patient.attributes.subtype,
        "mask_path": f"masks/{name}",
        "pixel_spacing_mm": scanner.grid.spacing_mm,
        "width_px": picture.pixels.shape[1],
        "height_px": picture.pixels.shape[0],
        "frame": 0,
        "device": scanner.name,
        "pixel_sha256": pixel_sha256(picture.pixels),
        "perceptual_hash": perceptual_hash(picture.pixels),
        "mask_sha256": hashlib.sha256(mask).hexdigest(),
    }


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=PNG_COMPRESSION)
    return stream.getvalue()


def _notes(patients: Sequence[Patient], seed: int) -> tuple[str, ...]:
    counts = {name: sum(patient.attributes.subtype == name for patient in patients) for name in SUBTYPES}
    return (
        f"SIMULATED by csasn simulate with --seed {seed}: every picture is computed, none shows a patient.",
        "The class mix is enriched in rare classes and is no natural prevalence; patients: "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
        + ".",
        "Attributes follow published frequencies (read as abstracts or single tables); class sizes are drawn halfway "
        "towards a common one, so that size alone tells little. "
        + "; ".join(f"{share:.0%} of {name} look like {other}" for name, (other, share) in ATYPICAL.items())
        + ".",
        "Overlays (ruler, text, calipers) are independent of the class.",
    )
