"""A DICOM file as an item: its frames enter the cohort, its identity goes to the door."""

from csasn.cohort.items import Item, Reading, shot_of
from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import read_dicom


def read_dicom_item(item: Item) -> Reading:
    """The chosen frames of a DICOM file, and what it says of its patient and view."""
    picture = read_dicom(item.path, item.dicom or DicomSettings())
    shots = tuple(
        shot_of(item, frame.pixels, None, fixes=frame.fixes, sha256=None, frame=frame.number, mm=frame.pixel_spacing_mm)
        for frame in picture.frames
    )
    return Reading(
        shots=shots,
        refused=picture.refused_frames,
        identity=picture.identity,
        view=picture.view,
        laterality=picture.laterality,
        device=picture.device,
    )
