"""One picture of one patient: what is acquired, computed from the seed alone, and written as PNG with its mask."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csasn.cohort.fingerprints import fingerprint
from csasn.decoding.pictures import pixel_sha256
from csasn.phantom.anatomy import VIEWS, View, draw_tissue
from csasn.phantom.patients import Patient, stream
from csasn.phantom.scanner import Picture, Scanner, take_picture
from csasn.phantom.tirads import tirads_level

PNG_COMPRESSION = 1
_TISSUE, _PICTURE, _OVERLAY = 10, 20, 30  # parts of a patient's stream, one a view


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """A view of a patient's nodule on a site's scanner, with calipers or without."""

    patient: Patient
    view: View
    scanner: Scanner
    calipers: bool
    seed: int

    @property
    def name(self) -> str:
        """The name of its files, which tells nothing of the class."""
        return f"{self.patient.nodule_id}-{self.view}"

    def pictures(self, n_frames: int = 1) -> list[Picture]:
        """The picture, or the frames of a cine loop: the same neck under a probe that slides by a pixel a frame."""
        part = VIEWS.index(self.view)
        number, scanner = self.patient.number, self.scanner
        tissue = draw_tissue(
            self.patient.attributes,
            self.patient.diameters,
            self.view,
            scanner.grid,
            stream(self.seed, number, _TISSUE + part),
        )
        frames = []
        for frame in range(n_frames):
            rng = stream(self.seed, number, _PICTURE + part)  # the same settings for every frame, other speckle
            moved = tissue.moved(frame - n_frames // 2)
            frames.append(take_picture(scanner, moved, self.view, rng, calipers=self.calipers, frame=frame))
        return frames


def acquisitions(
    patients: Sequence[Patient], scanners: Sequence[Scanner], *, seed: int, overlay_shortcut: float
) -> list[Acquisition]:
    """Every view of every patient. Calipers come by chance; with probability `overlay_shortcut` by malignancy."""
    planned = []
    for patient in patients:
        scanner = scanners[patient.site_number]
        for part, view in enumerate(VIEWS):
            follows, chance = stream(seed, patient.number, _OVERLAY + part).random(2)
            malignant = patient.attributes.subtype != "benign"
            calipers = malignant if follows < overlay_shortcut else bool(chance < scanner.caliper_share)
            planned.append(Acquisition(patient=patient, view=view, scanner=scanner, calipers=calipers, seed=seed))
    return planned


def write_picture(job: tuple[Path, Acquisition]) -> dict[str, object]:
    """Compute and write one picture below a cohort folder: its row of manifest and fingerprints."""
    folder, acquisition = job
    patient = acquisition.patient
    picture = acquisition.pictures()[0]
    found = fingerprint(picture.pixels)
    content, mask = _png(picture.pixels), _png(picture.mask)
    image_path, mask_path = f"images/{acquisition.name}.png", f"masks/{acquisition.name}.png"
    (folder / image_path).write_bytes(content)
    (folder / mask_path).write_bytes(mask)
    return {
        "image_path": image_path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "site": patient.site,
        "patient_id": patient.patient_id,
        "nodule_id": patient.nodule_id,
        "view": acquisition.view,
        "malignant": patient.attributes.subtype != "benign",
        "subtype": patient.attributes.subtype,
        "mask_path": mask_path,
        "pixel_spacing_mm": acquisition.scanner.pixel_spacing_mm,
        "width_px": picture.pixels.shape[1],
        "height_px": picture.pixels.shape[0],
        "frame": 0,
        "device": acquisition.scanner.name,
        "age_years": float(patient.attributes.age),
        "sex": "female" if patient.attributes.female else "male",
        "nodule_size_mm": patient.attributes.size_mm,
        "tirads_level": tirads_level(patient.attributes),
        "pixel_sha256": pixel_sha256(picture.pixels),
        "perceptual_hash": found.hash,
        "thumbnail": found.thumbnail,
        "mask_sha256": hashlib.sha256(mask).hexdigest(),
    }


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream_of_bytes = BytesIO()
    Image.fromarray(pixels).save(stream_of_bytes, format="PNG", compress_level=PNG_COMPRESSION)
    return stream_of_bytes.getvalue()
