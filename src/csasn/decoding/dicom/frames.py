"""One DICOM ultrasound file becomes grey frames of its B-mode region; its identifiers stay beside them, not in them."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from csasn.config import DicomSettings
from csasn.decoding.burned_in import find_text, without_text
from csasn.decoding.dicom.fragments import Frames, located_frames
from csasn.decoding.dicom.identity import Identity, charset_unknown, identity_of, text_of
from csasn.decoding.dicom.layout import Layout, layout_of
from csasn.decoding.dicom.opening import Opened, opened
from csasn.decoding.dicom.plane import laterality_of, view_of
from csasn.decoding.dicom.preamble import is_dicom
from csasn.decoding.dicom.regions import (
    COLOUR_STEP,
    Region,
    b_mode_region,
    flow_region,
    number_of,
    shows_flow,
    spacing_of_groups,
    spacing_without_region,
)
from csasn.decoding.dicom.tone import Tone, grey_of_colours, rgb, tone_of
from csasn.decoding.dicom.values import Space, Stored, decoded
from csasn.decoding.pictures import MAX_ASPECT, MIN_SIDE_PX
from csasn.decoding.refused import RefusedPicture

__all__ = ["DicomPicture", "Frame", "Identity", "is_dicom", "read_dicom"]

MAX_LOOP_BYTES = 256_000_000  # of the regions of all chosen frames together
# Shares of a region that looks like text. Real ultrasound reaches 0.29 (BUS-BRA), the simulated cohort 0.22; a frame
# that is masked nearly whole shows no tissue. What lies between the two is used, and said.
MUCH_TEXT, MOST_TEXT = 0.2, 0.4

Refused = tuple[int, str, str]


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
    refused_frames: tuple[Refused, ...]
    view: str | None
    laterality: str | None
    device: str | None


def read_dicom(path: Path, settings: DicomSettings) -> DicomPicture:
    """Grey frames of a DICOM ultrasound file, chosen and treated by the declared policies.

    Only the chosen frames are read from the disk and decoded, one at a time. Where none can be used, the first one's
    refusal is raised.

    Raises RefusedPicture, whose reason never quotes the file: the codes of `opened`, `layout_of`, `identity_of`,
    `located_frames`, `b_mode_region`, `tone_of` and `decoded`, and no-ultrasound-region, too-small, extreme-aspect,
    too-many-frames, colour-doppler, burned-in-text, text-covers-picture, blank, corrupt-dicom.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parser's warnings quote values
        with opened(path) as file:
            try:
                return _read(file, settings)
            except (RefusedPicture, MemoryError):
                raise
            except Exception as error:  # hostile elements make their readers raise nearly anything
                reason = f"an element cannot be read ({type(error).__name__})"
                raise RefusedPicture("corrupt-dicom", reason) from None


def chosen_frames(n_frames: int, settings: DicomSettings) -> list[int]:
    """Numbers of the frames that the policy takes from a loop of n_frames."""
    if settings.frames == "all":
        return list(range(n_frames))
    n_wanted = 1 if settings.frames == "middle" else min(settings.n_frames, n_frames)
    return [(2 * place + 1) * n_frames // (2 * n_wanted) for place in range(n_wanted)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taking:
    """What is the same for every frame of a file."""

    layout: Layout
    tone: Tone
    region: Region
    settings: DicomSettings
    fixes: tuple[str, ...]
    flow_overlaps: bool
    flow_declared: bool


def _read(file: Opened, settings: DicomSettings) -> DicomPicture:
    dataset = file.dataset
    layout = layout_of(dataset, file.syntax)
    identity = identity_of(dataset)
    frames = located_frames(file, layout)
    found = b_mode_region(dataset, (layout.rows, layout.columns))
    if found is None and settings.no_region == "refuse":
        raise RefusedPicture("no-ultrasound-region", "no region says where the picture ends and the banner begins")
    region = found or Region(top=0, bottom=layout.rows, left=0, right=layout.columns, pixel_spacing_mm=None)
    _refuse_shape(region)
    numbers = chosen_frames(layout.n_frames, settings)
    if (n_bytes := region.area * layout.bits_allocated // 8 * len(numbers)) > MAX_LOOP_BYTES:
        reason = f"{len(numbers)} frames of {region.area} pixels are {n_bytes} bytes; the cap is {MAX_LOOP_BYTES}"
        raise RefusedPicture("too-many-frames", reason)
    tone = Tone(least=0, fixes=("colour-to-grey",)) if layout.channels == 3 else tone_of(dataset, layout)
    spacing_mm = region.pixel_spacing_mm or spacing_without_region(dataset)
    of_groups_mm = None if spacing_mm else spacing_of_groups(dataset)
    of_groups = () if of_groups_mm is None else ("spacing-from-groups",)
    taking = _Taking(
        layout=layout,
        tone=tone,
        region=region,
        settings=settings,
        fixes=(*_file_fixes(file, layout, frames), *tone.fixes, *_region_fixes(found), *of_groups),
        flow_overlaps=flow_region(dataset, region),
        flow_declared=number_of(dataset, "UltrasoundColorDataPresent") == 1,
    )
    used, refused = _frames(frames, numbers, taking, spacing_mm or of_groups_mm)
    if not used:
        raise RefusedPicture(*refused[0][1:])
    return DicomPicture(
        identity=identity,
        frames=tuple(used),
        refused_frames=tuple(sorted(refused)),
        view=view_of(dataset),
        laterality=laterality_of(dataset),
        device=_device(dataset),
    )


def _frames(
    frames: Frames, numbers: list[int], taking: _Taking, spacing_mm: float | None
) -> tuple[list[Frame], list[Refused]]:
    """The usable frames, and the refused ones with code and reason."""
    taken: list[tuple[int, NDArray[Any]]] = []
    refused: list[Refused] = []
    done: dict[int, tuple[str, ...]] = {}
    for number in numbers:
        try:
            stored = decoded(frames.read(number), taking.layout)
            taken.append((number, _region_of(stored, taking)))
            done[number] = stored.fixes
        except RefusedPicture as refusal:
            refused.append((number, refusal.code, refusal.reason))
    if taking.layout.channels == 1 and taken:
        tone = taking.tone.over([values for _, values in taken])
        taken = [(number, tone.grey(values)) for number, values in taken]
    used = []
    for number, grey in taken:
        try:
            frame = _frame(number, grey, taking, spacing_mm)
            used.append(replace(frame, fixes=(*frame.fixes, *done[number])))
        except RefusedPicture as refusal:
            refused.append((number, refusal.code, refusal.reason))
    return used, refused


def _region_of(stored: Stored, taking: _Taking) -> NDArray[Any]:
    """The region of a frame: grey already (H, W) where it was coloured, else values as stored; no colour flow."""
    region = taking.region
    values = stored.values[region.top : region.bottom, region.left : region.right]
    if taking.settings.colour_doppler == "refuse":
        sampled = _colours(values[::COLOUR_STEP, ::COLOUR_STEP], stored.space, taking.tone)
        if taking.flow_overlaps or (sampled is not None and shows_flow(sampled, declared=taking.flow_declared)):
            raise RefusedPicture("colour-doppler", "colour flow lies over the tissue")
    if stored.space != "L":
        return grey_of_colours(values, stored.space)
    return values if values.size == stored.values.size else values.copy()  # lets go of the rest


def _colours(values: NDArray[Any], space: Space, tone: Tone) -> NDArray[np.uint8] | None:
    return tone.colour(values) if space == "L" else rgb(values, space)


def _frame(number: int, grey: NDArray[np.uint8], taking: _Taking, spacing_mm: float | None) -> Frame:
    if grey.min() == grey.max():
        raise RefusedPicture("blank", f"every pixel has the value {int(grey[0, 0])}")
    fixes = taking.fixes
    text = find_text(grey)
    if (share := float(text.mean())) > MOST_TEXT:
        reason = f"what looks like text covers {share:.0%} of the picture; at most {MOST_TEXT:.0%} is masked"
        raise RefusedPicture("text-covers-picture", reason)
    if text.any():
        if taking.settings.burned_in_text == "refuse":
            raise RefusedPicture("burned-in-text", "letters lie inside the picture")
        grey = without_text(grey, text)
        fixes = (*fixes, "text-masked", *(("much-text-masked",) if share > MUCH_TEXT else ()))
        if grey.min() == grey.max():
            raise RefusedPicture("blank", "nothing but masked letters lies in the picture")
    return Frame(number=number, pixels=grey, pixel_spacing_mm=spacing_mm, fixes=fixes)


def _device(dataset: Dataset) -> str | None:
    return (
        " ".join(filter(None, (text_of(dataset, name) for name in ("Manufacturer", "ManufacturerModelName")))) or None
    )


def _file_fixes(file: Opened, layout: Layout, frames: Frames) -> tuple[str, ...]:
    tags = list(file.dataset.keys())
    fixes = {
        "preamble-dropped": any(file.preamble),
        "private-tags-dropped": file.private_tags,
        "overlay-dropped": any(0x6000 <= tag.group <= 0x60FF for tag in tags),
        "charset-unknown": charset_unknown(file.dataset),
        "loop-frames": layout.n_frames > 1,
        "frames-found-by-end": frames.found_by_end,
    }
    return tuple(code for code, applies in fixes.items() if applies)


def _region_fixes(found: Region | None) -> tuple[str, ...]:
    if found is None:
        return ()
    return ("cropped-to-region", "one-of-several-regions") if found.n_alike > 1 else ("cropped-to-region",)


def _refuse_shape(region: Region) -> None:
    height, width = region.bottom - region.top, region.right - region.left
    if min(height, width) < MIN_SIDE_PX:
        raise RefusedPicture("too-small", f"{width} x {height} px; each side needs {MIN_SIDE_PX} px")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise RefusedPicture("extreme-aspect", f"{width} x {height} px; one side is over {MAX_ASPECT} times the other")
