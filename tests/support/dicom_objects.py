"""Small synthetic DICOM ultrasound objects, written by pydicom from given values."""

import io
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
GDCM_SYNTAXES = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
}


def region(
    left: int, top: int, right: int, bottom: int, *, kind: int = 1, shape: int = 1, delta_cm: float | None = 0.01
) -> Dataset:
    """One ultrasound region, corners inclusive: kind 1 tissue, 2 colour flow, 3 spectrum; shape 1 two-dimensional."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = shape, kind, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    if delta_cm is not None:
        item.PhysicalDeltaX = item.PhysicalDeltaY = delta_cm
    return item


def ultrasound(
    path: Path,
    *,
    pixels: np.ndarray,
    transfer_syntax: str = ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    regions: Sequence[Dataset] = (),
    patient_id: str = "MRN1",
    content: bytes | None = None,
    frames: Sequence[bytes] | None = None,
    preamble: bytes = b"\0" * 128,
    **tags: object,
) -> Path:
    """Write an object of stored values and return its path.

    `pixels` is (H, W), (N, H, W) or, where `photometric` is a colour, (H, W, 3), (N, H, W, 3). Compressed syntaxes
    (run length, JPEG baseline, lossless and LS, JPEG 2000 lossless) are encoded here. `content` replaces the value of
    Pixel Data, `frames` its compressed frames; `tags` set any other element by keyword, None removes it.
    """
    channels = 3 if photometric in COLOURS else 1
    loop = pixels if pixels.ndim == (4 if channels == 3 else 3) else pixels[None]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.preamble = preamble
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ULTRASOUND
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "2.25.1"
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    person = zlib.crc32(f"{tags.get('IssuerOfPatientID', '')}|{tags.get('PatientID', patient_id)}".encode())
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.2{person}", f"2.25.3{person}"  # of one patient alone
    ds.PatientID, ds.Modality = patient_id, "US"
    ds.Rows, ds.Columns = loop.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = channels, photometric
    if channels == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * loop.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(loop.dtype.kind == "i")
    if len(loop) > 1:
        ds.NumberOfFrames = len(loop)
    if regions:
        ds.SequenceOfUltrasoundRegions = list(regions)
    big = transfer_syntax == ExplicitVRBigEndian
    if transfer_syntax in (*GDCM_SYNTAXES, RLELossless, JPEG2000Lossless, JPEGBaseline8Bit) and content is None:
        content = encapsulate(list(frames or (_compressed(frame, ds, transfer_syntax) for frame in loop)))
    if content is None:
        content = loop.astype(loop.dtype.newbyteorder(">" if big else "<")).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    for name, value in tags.items():
        if value is not None:
            setattr(ds, name, value)
        elif name in ds:
            del ds[name]
    if "PixelData" in ds:
        ds["PixelData"].VR = "OW" if loop.dtype.itemsize == 2 else "OB"
        ds["PixelData"].is_undefined_length = ds.file_meta.TransferSyntaxUID.is_encapsulated
    ds.save_as(
        path,
        implicit_vr=transfer_syntax == ImplicitVRLittleEndian,
        little_endian=not big,
        enforce_file_format=True,
    )
    return path


def jpeg(frame: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    """A baseline JPEG of a frame; options are Pillow's."""
    stream = io.BytesIO()
    picture = Image.fromarray(frame) if mode is None else Image.frombytes(mode, frame.shape[1::-1], frame.tobytes())
    picture.save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def _compressed(frame: np.ndarray, ds: Dataset, syntax: str) -> bytes:
    if syntax == JPEGBaseline8Bit:
        return jpeg(frame, "YCbCr" if ds.PhotometricInterpretation.startswith("YBR") else None)
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = ULTRASOUND, "2.25.1"
    for element in ds:
        if element.tag.group == 0x0028 and element.keyword != "NumberOfFrames":
            setattr(one, element.keyword, element.value)
    one.PixelData = frame.tobytes() + b"\0" * (frame.nbytes % 2)
    one["PixelData"].VR = "OW" if ds.BitsAllocated == 16 else "OB"
    if syntax in GDCM_SYNTAXES:
        one = _by_gdcm(one, syntax)
    else:
        one.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return next(generate_frames(one.PixelData, number_of_frames=1))


def _by_gdcm(one: Dataset, syntax: str) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.dcm"
        one.save_as(path, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(GDCM_SYNTAXES[syntax]))
        if not reader.Read():
            raise ValueError("gdcm does not read what pydicom wrote")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"gdcm does not encode {syntax}")
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        if not writer.Write():
            raise ValueError("gdcm does not write")
        return pydicom.dcmread(path)
