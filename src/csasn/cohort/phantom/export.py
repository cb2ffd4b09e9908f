"""A simulated cohort as a hospital would export it: DICOM ultrasound with invented names, and a table of diagnoses."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

BANNER_PX = 32  # above the picture, with the name, as scanners burn it in
N_CINE = 5
FAMILY = ("INVENTED", "FICTIVE", "MADEUP", "PHANTOM", "NOBODY", "SIMULATED")
GIVEN = ("ALMA", "BORIS", "CELIA", "DARIO", "EDNA", "FELIX", "GRETA", "HUGO")


def invented(number: int) -> tuple[str, str]:
    """Name and hospital number of a patient who does not exist."""
    return f"{FAMILY[number % len(FAMILY)]}^{GIVEN[number // len(FAMILY) % len(GIVEN)]}", f"MRN{700_000 + 37 * number}"


def write_object(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    number: int,
    spacing_mm: float,
    view: str,
    seed: int,
    cine: bool,
) -> None:
    """Write one DICOM ultrasound object of a grey picture (H, W): banner, calibrated region, invented identifiers.

    Every second patient is RGB, the others grey; cine loops are run-length encoded. The same arguments give the same
    bytes.
    """
    name, hospital_number = invented(number)
    screen = _screen(pixels, f"{name.replace('^', ', ')} {hospital_number} 1970-01-{1 + number % 28:02d}")
    uid = _uid(seed, number, view)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage if cine else UltrasoundImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = _uid(seed, number, "study")
    dataset.SeriesInstanceUID = _uid(seed, number, "series")
    dataset.Modality = "US"
    dataset.PatientName, dataset.PatientID = name, hospital_number
    dataset.PatientBirthDate = f"197001{1 + number % 28:02d}"
    dataset.AccessionNumber = f"ACC{number:06d}"
    dataset.StudyDate = "20200101"
    dataset.Manufacturer, dataset.ManufacturerModelName = "CSASN", "phantom"
    dataset.SeriesDescription = f"THYROID {view.upper()}"
    dataset.ImageComments = "SIMULATED: never clinical evidence"
    dataset.BurnedInAnnotation = "YES"
    _describe_pixels(dataset, screen, colour=number % 2 == 0, cine=cine)
    dataset.SequenceOfUltrasoundRegions = [_region(pixels.shape, spacing_mm)]
    if cine:
        dataset.compress(RLELossless, encoding_plugin="pylibjpeg")
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _screen(pixels: NDArray[np.uint8], banner: str) -> NDArray[np.uint8]:
    screen = Image.fromarray(np.pad(pixels, ((BANNER_PX, 0), (0, 0))))
    ImageDraw.Draw(screen).text((4, 10), banner, fill=220, font=ImageFont.load_default_imagefont())
    return np.asarray(screen)


def _describe_pixels(dataset: Dataset, screen: NDArray[np.uint8], *, colour: bool, cine: bool) -> None:
    frames = np.stack([screen] * N_CINE) if cine else screen[None]
    if cine:  # the middle frame is the picture; the others are as if the probe had moved by a pixel each
        frames = np.stack([np.roll(screen, step - N_CINE // 2, axis=1) for step in range(N_CINE)])
        dataset.NumberOfFrames = N_CINE
    if colour:
        frames = np.repeat(frames[..., None], 3, axis=-1)
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = screen.shape
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    content = frames.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB"


def _region(shape: tuple[int, ...], spacing_mm: float) -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = 0, shape[1] - 1
    region.RegionLocationMinY0, region.RegionLocationMaxY1 = BANNER_PX, BANNER_PX + shape[0] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # centimetres
    region.PhysicalDeltaX = region.PhysicalDeltaY = spacing_mm / 10
    return region


def _uid(*words: object) -> UID:
    """A UID below 2.25 from the arguments, the same for the same ones."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()[:15]
    return UID(f"2.25.{int.from_bytes(digest, 'big')}")
