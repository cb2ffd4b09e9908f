"""A simulated picture as a hospital would export it: a DICOM ultrasound object with an invented patient's name."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from csasn.phantom.rendering import Acquisition

BANNER_PX = 32  # above the picture, with the name, as scanners burn it in
N_CINE = 5
CINE_EVERY, INSIDE_EVERY, INVERTED_EVERY = 3, 5, 11  # patients: with a loop, with text in the picture, MONOCHROME1
JPEG_QUALITY = 90
FRAME_MS = 40
FAMILY = ("INVENTED", "FICTIVE", "MADEUP", "PHANTOM", "NOBODY", "SIMULATED", "UNREAL")
GIVEN = ("ALMA", "BORIS", "CELIA", "DARIO", "EDNA", "FELIX", "GRETA", "HUGO", "IDA", "JONAS", "KLARA")
BANNER_COLOUR, GREY = (235, 220, 90), 220


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How an object's pixels are written."""

    syntax: UID
    photometric: str

    @property
    def n_samples(self) -> int:
        """Samples a pixel."""
        return 1 if self.photometric.startswith("MONOCHROME") else 3


CODINGS = (
    Coding(syntax=ExplicitVRLittleEndian, photometric="RGB"),
    Coding(syntax=RLELossless, photometric="RGB"),
    Coding(syntax=JPEGBaseline8Bit, photometric="YBR_FULL_422"),
    Coding(syntax=DeflatedExplicitVRLittleEndian, photometric="MONOCHROME2"),
)
INVERTED = Coding(syntax=ImplicitVRLittleEndian, photometric="MONOCHROME1")


def invented(number: int) -> tuple[str, str]:
    """Name and hospital number of a patient who does not exist."""
    return f"{FAMILY[number % len(FAMILY)]}^{GIVEN[number // len(FAMILY) % len(GIVEN)]}", f"MRN{700_000 + 37 * number}"


def coding_of(acquisition: Acquisition) -> Coding:
    """Sites mix codings, as archives do that were filled by several scanners."""
    number = acquisition.patient.number
    if number % INVERTED_EVERY == INVERTED_EVERY - 1:
        return INVERTED
    return CODINGS[(acquisition.patient.site_number + number) % len(CODINGS)]


def write_objects(job: tuple[Path, Acquisition]) -> int:
    """Compute a picture and write it as <site>/<patient>/<study>/<view>.dcm below a folder; the number of objects.

    The longitudinal view of some patients is a cine loop. The same acquisition gives the same bytes.
    """
    folder, acquisition = job
    patient = acquisition.patient
    number, view = patient.number, acquisition.view
    is_cine = view == "longitudinal" and number % CINE_EVERY == 0
    pictures = acquisition.pictures(N_CINE if is_cine else 1)
    coding = coding_of(acquisition)
    screens = np.stack([_screen(picture.pixels, coding, number) for picture in pictures])
    dataset = _identified(acquisition)
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage if is_cine else UltrasoundImageStorage
    dataset.SOPInstanceUID = _uid(acquisition.seed, number, view)
    if is_cine:
        dataset.NumberOfFrames, dataset.FrameTime = len(screens), FRAME_MS
        dataset.FrameIncrementPointer = 0x00181063
    dataset.SequenceOfUltrasoundRegions = [_region(pictures[0].pixels.shape, acquisition.scanner.pixel_spacing_mm)]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if coding.syntax == RLELossless else coding.syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    _add_pixels(dataset, screens, coding)
    patient_folder = f"{number:04d}_{invented(number)[0]}"
    path = folder / patient.site / patient_folder / f"ACC{number:06d}" / f"{view}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return 1


def _dates(number: int) -> tuple[str, str]:
    """Days of birth and of the examination, both invented."""
    return f"{1935 + number * 7 % 60}{1 + number % 12:02d}{1 + number % 28:02d}", f"2020{1 + number % 12:02d}15"


def _screen(pixels: NDArray[np.uint8], coding: Coding, number: int) -> NDArray[np.uint8]:
    """Picture (H, W) under a banner with the invented name and dates, of some patients inside it too; (H', W[, 3])."""
    colour = coding.n_samples == 3
    screen = Image.fromarray(np.pad(pixels, ((BANNER_PX, 0), (0, 0)))).convert("RGB" if colour else "L")
    draw, font = ImageDraw.Draw(screen), ImageFont.load_default_imagefont()
    born, examined = _dates(number)
    name, hospital_number = invented(number)
    name = name.replace("^", ", ")
    fill = BANNER_COLOUR if colour else GREY
    draw.text((4, 4), f"{name} {hospital_number} {born[:4]}-{born[4:6]}-{born[6:]}", fill=fill, font=font)
    draw.text((4, 18), f"SIMULATED {examined[6:]}.{examined[4:6]}.{examined[:4]}", fill=fill, font=font)
    if number % INSIDE_EVERY == INSIDE_EVERY - 1:
        draw.text((8, BANNER_PX + 20), f"{name} {examined}", fill=(GREY,) * 3 if colour else GREY, font=font)
    return np.asarray(screen)


def _identified(acquisition: Acquisition) -> Dataset:
    """What an object says of patient, study and scanner, all of it invented."""
    patient, scanner = acquisition.patient, acquisition.scanner
    number = patient.number
    born, examined = _dates(number)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Modality, dataset.BodyPartExamined = "US", "THYROID"
    dataset.PatientName, dataset.PatientID = invented(number)
    dataset.PatientBirthDate, dataset.PatientSex = born, "F" if patient.attributes.female else "M"
    dataset.AccessionNumber, dataset.StudyID = f"ACC{number:06d}", f"S{number}"
    dataset.StudyDate, dataset.StudyTime = examined, f"{8 + number % 9:02d}{number % 60:02d}00"
    dataset.ReferringPhysicianName = "NOBODY^DR"
    dataset.InstitutionName = f"Invented hospital {patient.site}"
    dataset.Manufacturer, dataset.ManufacturerModelName = "CSASN", scanner.name
    dataset.StudyDescription = "US THYROID"
    dataset.SeriesDescription = f"THYROID {acquisition.view.upper()}"
    dataset.ImageLaterality = "L" if number % 2 else "R"
    dataset.ImageComments = "SIMULATED: never clinical evidence"
    dataset.DerivationDescription = "SIMULATED by csasn: no patient was examined"
    dataset.BurnedInAnnotation = "YES"
    dataset.StudyInstanceUID = _uid(acquisition.seed, number, "study")
    dataset.SeriesInstanceUID = _uid(acquisition.seed, number, "series")
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1 if acquisition.view == "transverse" else 2
    return dataset


def _add_pixels(dataset: Dataset, screens: NDArray[np.uint8], coding: Coding) -> None:
    """Frames (N, H, W) or (N, H, W, 3) in their coding."""
    dataset.Rows, dataset.Columns = screens.shape[1:3]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = coding.n_samples, coding.photometric
    if coding.n_samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if coding.photometric == "MONOCHROME1":
        screens = 255 - screens
    if coding.syntax == JPEGBaseline8Bit:
        dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
        dataset.PixelData = encapsulate([_jpeg(screen) for screen in screens])
    else:
        content = screens.tobytes()
        dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if coding.syntax == ImplicitVRLittleEndian else "OB"
    if coding.syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)


def _jpeg(screen: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(screen).save(stream, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    return stream.getvalue()


def _region(shape: tuple[int, ...], spacing_mm: float) -> Dataset:
    """The calibrated B-mode region: everything below the banner."""
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
