"""Every ultrasound file that pydicom brings: what the reader makes of it, beside a second decoder, and its time.

    python benchmarks/dicom_files.py

A file counts where its modality is US or it has ultrasound regions. `done` is what the default policy makes of it;
files without a patient are read under a made-up one as well, so that their pixels are checked. The difference is the
largest one of any value of the middle frame, before grey and crop, from a decoder that took no part in reading. Times
are the fastest of ten from open to grey, text masking (its own benchmark) apart, beside
`pydicom.dcmread(path).pixel_array` and beside the same made grey by pydicom's palette and Pillow, which for plain
pixels is most of the work. Bar: at most 1.25 times the last.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import data_store
import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from csasn.config import DicomSettings
from csasn.decoding.dicom import reading
from csasn.decoding.dicom.fragments import located_frames
from csasn.decoding.dicom.frames import chosen_frames, is_dicom, read_dicom
from csasn.decoding.dicom.layout import PALETTE, layout_of
from csasn.decoding.dicom.opening import opened
from csasn.decoding.dicom.tone import rgb, tone_of
from csasn.decoding.dicom.values import decoded
from csasn.decoding.refused import RefusedPicture

OPEN = DicomSettings(no_region="whole-image", colour_doppler="keep")
OTHERS = {JPEGBaseline8Bit: "gdcm", JPEG2000: "gdcm", JPEG2000Lossless: "gdcm", RLELossless: "pydicom"}
REPEATS = 10


def main() -> None:
    """Print one line a file."""
    warnings.simplefilter("ignore")
    print("file | syntax | photometric | frames | done | second decoder | difference | ms (pydicom, to grey) | ratio")
    for path in ultrasound_files():
        print(" | ".join(described(path)))


def ultrasound_files() -> list[Path]:
    """The files of pydicom and pydicom-data that are ultrasound."""
    folders = (Path(pydicom.__file__).parent / "data", *(Path(each) / "data" for each in data_store.__path__))
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*") if is_dicom(path)):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        if ds.get("Modality") == "US" or "SequenceOfUltrasoundRegions" in ds:
            found.append(path)
    return found


def described(path: Path) -> list[str]:
    """The cells of a file's line."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    number = chosen_frames(int(ds.get("NumberOfFrames") or 1), OPEN)[0]
    name, expected = second(path, number)
    difference = np.abs(ours(path, number).astype(np.int64) - expected).max() if expected is not None else "-"
    ours_ms, plain_ms, grey_ms = times(path)
    return [
        path.name,
        ds.file_meta.TransferSyntaxUID.name.split(",")[0],
        str(ds.PhotometricInterpretation),
        str(ds.get("NumberOfFrames") or 1),
        done(path),
        name,
        str(difference),
        f"{ours_ms:.1f} ({plain_ms:.1f}, {grey_ms:.1f})",
        f"{ours_ms / grey_ms:.2f}",
    ]


def done(path: Path) -> str:
    """What the default policy makes of a file."""
    try:
        frame = read_dicom(path, DicomSettings()).frames[0]
    except RefusedPicture as refusal:
        return f"refused: {refusal.code}"
    height, width = frame.pixels.shape
    return f"used: {width} x {height} px, {frame.pixel_spacing_mm or 0:.3f} mm; {', '.join(frame.fixes)}"


def ours(path: Path, number: int) -> NDArray[np.generic]:
    """A frame as this project decodes it: values, or colours."""
    with opened(path) as file:
        layout = layout_of(file.dataset, file.syntax)
        frame = decoded(located_frames(file, layout).read(number), layout)
        if layout.photometric == PALETTE:
            colours = tone_of(file.dataset, layout).colour(frame.values)
            return frame.values if colours is None else colours
    return frame.values if frame.space == "L" else rgb(frame.values, frame.space)


def second(path: Path, number: int) -> tuple[str, NDArray[np.generic] | None]:
    """The same frame by another decoder, and its name."""
    ds = pydicom.dcmread(path)
    if ds.file_meta.TransferSyntaxUID in OTHERS or not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        plugin = OTHERS.get(ds.file_meta.TransferSyntaxUID, "")
        values = pydicom.pixels.pixel_array(path, index=number, decoding_plugin=plugin)
        if ds.PhotometricInterpretation != PALETTE:
            return plugin or "pydicom", values
        if ds.original_encoding[1]:
            colours = apply_color_lut(values, ds)[..., :3]
            return plugin or "pydicom", colours >> 8 if colours.max() > 255 else colours
        return by_gdcm(path, number)
    return jpeg_lossless(ds)


def by_gdcm(path: Path, number: int) -> tuple[str, NDArray[np.generic]]:
    """A palette picture of the other byte order, which pydicom looks up wrongly, read and looked up by gdcm."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    reader.Read()
    lookup = gdcm.ImageApplyLookupTable()
    lookup.SetInput(reader.GetImage())
    lookup.Apply()
    image = lookup.GetOutput()
    width, height = image.GetDimension(0), image.GetDimension(1)
    depth = image.GetPixelFormat().GetBitsAllocated() // 8
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype=f"<u{depth}")
    values = values.reshape(-1, height, width, 3)[number]
    return "gdcm", values >> 8 if values.max() > 255 else values


def jpeg_lossless(ds: pydicom.Dataset) -> tuple[str, NDArray[np.generic] | None]:
    """Lossless JPEG by imagecodecs, where it is installed: nothing else here has a decoder but gdcm."""
    if find_spec("imagecodecs") is None:
        return "none", None
    frame = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
    return "imagecodecs", import_module("imagecodecs").ljpeg_decode(frame)


def times(path: Path) -> tuple[float, float, float]:
    """Milliseconds of our reading without text masking, of pydicom's pixels, and of these made grey."""
    with tempfile.TemporaryDirectory() as folder:
        ds = pydicom.dcmread(path)
        if not ds.get("PatientID"):
            ds.PatientID = "made-up"
        if "SequenceOfUltrasoundRegions" in ds and path.name.startswith("examples_"):
            del ds.SequenceOfUltrasoundRegions  # pydicom made these pictures smaller and left the regions
        same = Path(folder) / "same.dcm"
        ds.save_as(same)
        with patch.object(reading, "find_text", lambda pixels: np.zeros(pixels.shape, np.bool_)):
            ours_ms = fastest(lambda: read_dicom(same, OPEN))
        return ours_ms, fastest(lambda: pydicom.dcmread(same).pixel_array), fastest(lambda: grey_by_pydicom(same))


def grey_by_pydicom(path: Path) -> NDArray[np.uint8]:
    """The frames of a file in grey, as a few lines with pydicom make them."""
    ds = pydicom.dcmread(path)
    values = ds.pixel_array
    if ds.PhotometricInterpretation == PALETTE:
        colours = apply_color_lut(values, ds)[..., :3]
        values = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
    if values.shape[-1] != 3:
        return values
    frames = values if values.ndim == 4 else values[None]
    return np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])


def fastest(read: Callable[[], object]) -> float:
    """The fastest of some runs, in milliseconds."""
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        read()
        found.append(time.perf_counter() - started)
    return min(found) * 1000


if __name__ == "__main__":
    main()
