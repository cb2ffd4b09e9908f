"""One DICOM ultrasound file becomes grey frames of its B-mode region; its identifiers stay beside them, not in them."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from csasn.cohort.burned_in import find_text, without_text
from csasn.cohort.dicom.decoding import (
    MAX_CINE_BYTES,
    PALETTE,
    Layout,
    decoded_frames,
    grey_frames,
    layout_of,
    refuse_wrong_length,
)
from csasn.cohort.dicom.identity import Identity
from csasn.cohort.dicom.opening import is_dicom, open_dataset
from csasn.cohort.dicom.regions import (
    Region,
    b_mode_region,
    flow_region,
    number_of,
    shows_flow,
    spacing_without_region,
)
from csasn.cohort.ledger import RefusedPicture
from csasn.cohort.pictures import MAX_ASPECT, MIN_SIDE_PX
from csasn.config import DicomSettings

__all__ = ["DicomPicture", "Frame", "Identity", "is_dicom", "read_dicom"]

VIEW_WORDS = {
    "transverse": ("transverse", "trans", "trv", "axial"),
    "longitudinal": ("longitudinal", "long", "lon", "sagittal", "sag"),
}
SIDE_WORDS = {"left": ("left", "lt", "l"), "right": ("right", "rt", "r"), "isthmus": ("isthmus",)}
SPOKEN = ("SeriesDescription", "ProtocolName", "ImageComments", "ViewName")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One frame: grey `pixels` (H, W) of the region, mm per pixel, and the codes of what was done."""

    number: int
    pixels: NDArray[np.uint8]
    pixel_spacing_mm: float | None
    fixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomPicture:
    """The frames of a file; `refused_frames` are (number, code, reason). `device` is free text and identifies."""

    identity: Identity
    frames: tuple[Frame, ...]
    refused_frames: tuple[tuple[int, str, str], ...]
    view: str | None
    laterality: str | None
    device: str | None


def read_dicom(path: Path, settings: DicomSettings) -> DicomPicture:
    """Grey frames of a DICOM ultrasound file, chosen and treated by the declared policies.

    Raises RefusedPicture, whose reason never quotes the file, with a code of docs/reference/ledger.md.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parser's warnings quote values
        dataset, preamble = open_dataset(path)
        try:
            return _read(dataset, preamble, settings)
        except (RefusedPicture, MemoryError):
            raise
        except Exception as error:
            raise RefusedPicture("corrupt-dicom", f"an element cannot be read ({type(error).__name__})") from None


def _read(dataset: Dataset, preamble: bytes, settings: DicomSettings) -> DicomPicture:
    layout = layout_of(dataset)
    identity = _identity(dataset)
    refuse_wrong_length(dataset, layout)
    region = b_mode_region(dataset, (layout.rows, layout.columns))
    if region is None and settings.no_region == "refuse":
        raise RefusedPicture("no-ultrasound-region", "no region says where the picture ends and the banner begins")
    fixes = _file_fixes(dataset, preamble, layout)
    place = region or Region(
        top=0, bottom=layout.rows, left=0, right=layout.columns, pixel_spacing_mm=spacing_without_region(dataset)
    )
    _refuse_shape(place)
    numbers = chosen_frames(layout.n_frames, settings)
    if place.area * len(numbers) > MAX_CINE_BYTES:
        raise RefusedPicture("too-many-frames", f"{len(numbers)} frames of {place.area} pixels; choose fewer")
    if region is not None:
        fixes += ("cropped-to-region",) + (("one-of-several-regions",) if region.n_alike > 1 else ())
    coloured = flow_region(dataset, place)
    frames, refused = _frames(dataset, layout, place, numbers, settings, fixes, coloured=coloured)
    if not frames:
        raise RefusedPicture(*refused[0][1:])
    return DicomPicture(
        identity=identity,
        frames=tuple(frames),
        refused_frames=tuple(refused),
        view=_spoken(dataset, VIEW_WORDS, ("ViewPosition",)),
        laterality=_spoken(dataset, SIDE_WORDS, ("ImageLaterality", "Laterality")),
        device=" ".join(_text(dataset, name) for name in ("Manufacturer", "ManufacturerModelName")).strip() or None,
    )


def chosen_frames(n_frames: int, settings: DicomSettings) -> list[int]:
    """Numbers of the frames that the policy takes from a loop of n_frames."""
    if settings.frames == "all":
        return list(range(n_frames))
    n_wanted = 1 if settings.frames == "middle" else min(settings.n_frames, n_frames)
    return [(2 * place + 1) * n_frames // (2 * n_wanted) for place in range(n_wanted)]


def _frames(
    dataset: Dataset,
    layout: Layout,
    place: Region,
    numbers: list[int],
    settings: DicomSettings,
    fixes: tuple[str, ...],
    *,
    coloured: bool,
) -> tuple[list[Frame], list[tuple[int, str, str]]]:
    """The usable frames, and the refused ones with code and reason."""
    cut = (slice(place.top, place.bottom), slice(place.left, place.right))
    taken: list[tuple[int, NDArray[Any]]] = []
    refused: list[tuple[int, str, str]] = []
    for number in numbers:
        picture = np.ascontiguousarray(decoded_frames(dataset, layout, [number])[0][cut])
        if settings.colour_doppler == "refuse" and (coloured or (picture.ndim == 3 and shows_flow(picture))):
            refused.append((number, "colour-doppler", "colour flow lies over the tissue"))
        else:
            taken.append((number, picture))
    if not taken:
        return [], refused
    frames = []
    for (number, _), grey in zip(taken, grey_frames([each for _, each in taken], dataset, layout), strict=True):
        if grey.min() == grey.max():
            refused.append((number, "blank", f"every pixel has the value {int(grey[0, 0])}"))
            continue
        text = find_text(grey)
        if text.any() and settings.burned_in_text == "refuse":
            refused.append((number, "burned-in-text", "letters lie inside the picture"))
            continue
        frames.append(
            Frame(
                number=number,
                pixels=without_text(grey, text) if text.any() else grey,
                pixel_spacing_mm=place.pixel_spacing_mm,
                fixes=(*fixes, "text-masked") if text.any() else fixes,
            )
        )
    return frames, refused


def _identity(dataset: Dataset) -> Identity:
    patient_id = _text(dataset, "PatientID")
    if not patient_id:
        raise RefusedPicture("no-patient-id", "files without a patient are never put under one shared blank patient")
    return Identity(
        patient_id=patient_id,
        issuer=_text(dataset, "IssuerOfPatientID"),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        accession_number=_text(dataset, "AccessionNumber"),
    )


def _text(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name) or "").strip().strip("\0").strip()


def _file_fixes(dataset: Dataset, preamble: bytes, layout: Layout) -> tuple[str, ...]:
    tags = list(dataset.keys())
    stored = layout.bits_stored < layout.bits_allocated
    windowed = layout.channels == 1 and layout.photometric != PALETTE
    windowed = windowed and (layout.bits_stored != 8 or number_of(dataset, "WindowWidth") is not None)
    fixes = {
        "preamble-dropped": any(preamble),
        "private-tags-dropped": any(tag.is_private for tag in tags),
        "overlay-dropped": any(0x6000 <= tag.group <= 0x60FF for tag in tags),
        "upper-bits-dropped": stored and not layout.syntax.is_encapsulated,
        "palette-applied": layout.photometric == PALETTE,
        "monochrome1-inverted": layout.photometric == "MONOCHROME1",
        "windowed": windowed,
        "colour-to-grey": layout.channels == 3,
    }
    return tuple(code for code, applies in fixes.items() if applies)


def _refuse_shape(place: Region) -> None:
    height, width = place.bottom - place.top, place.right - place.left
    if min(height, width) < MIN_SIDE_PX:
        raise RefusedPicture("too-small", f"{width} x {height} px; each side needs {MIN_SIDE_PX} px")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise RefusedPicture("extreme-aspect", f"{width} x {height} px; one side is over {MAX_ASPECT} times the other")


def _spoken(dataset: Dataset, words: dict[str, tuple[str, ...]], coded: tuple[str, ...]) -> str | None:
    """The one word of ours that coded elements, or else descriptions, speak of; None where none or several do."""
    for names in (coded, SPOKEN):
        said = {word for name in names for word in re.findall(r"[a-z]+", _text(dataset, name).lower())}
        least = 1 if names is coded else 2  # single letters count in a coded element alone
        found = [ours for ours, theirs in words.items() if said & {word for word in theirs if len(word) >= least}]
        if found:
            return found[0] if len(found) == 1 else None
    return None
