"""A DICOM file as an item: its frames enter the cohort, its identity goes to the door."""

from csasn.cohort.items import Item, Reading, Shot, shot_of
from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import read_dicom
from csasn.decoding.refused import RefusedPicture


def read_dicom_item(item: Item) -> Reading:
    """The chosen frames of a DICOM file, and what it says of its patient and view."""
    picture = read_dicom(item.path, item.dicom or DicomSettings())
    shots: list[Shot] = []
    refused: list[tuple[int | None, str, str]] = list(picture.refused_frames)
    for frame in picture.frames:
        number, mm = frame.number, frame.pixel_spacing_mm
        try:
            shots.append(shot_of(item, frame.pixels, None, fixes=frame.fixes, sha256=None, frame=number, mm=mm))
        except RefusedPicture as refusal:
            refused.append((number, refusal.code, refusal.reason))
    if not shots:
        raise RefusedPicture(*refused[-1][1:])
    return Reading(
        shots=tuple(shots),
        refused=tuple(refused),
        identity=picture.identity,
        view=picture.view,
        laterality=picture.laterality,
        device=picture.device,
    )
