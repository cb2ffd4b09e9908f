"""How the stored values of a file lie: numbers that were checked against each other before anything is decoded."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from csasn.decoding.dicom.regions import number_of
from csasn.decoding.pictures import MAX_PIXELS
from csasn.decoding.refused import RefusedPicture

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
# The fastest decoder for each syntax that may be used beside any licence, as benchmarks/dicom_files.py shows.
PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "gdcm",
    JPEGLSNearLossless: "gdcm",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pylibjpeg",
}
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
GREYS = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
MAX_FRAMES = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The checked numbers of a file's pixels."""

    rows: int
    columns: int
    channels: int
    planar: bool
    n_frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    syntax: UID

    @property
    def native(self) -> bool:
        """Whether the pixels are not compressed."""
        return self.syntax in NATIVE

    @property
    def big_endian(self) -> bool:
        """Whether the bytes of a value come in the order of reading."""
        return self.syntax == ExplicitVRBigEndian

    @property
    def halved_chroma(self) -> bool:
        """Whether two pixels share their colour: four bytes hold Y Y Cb Cr."""
        return self.native and self.photometric == "YBR_FULL_422"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame that is not compressed."""
        per_pixel = 2 if self.halved_chroma else self.channels
        return self.rows * self.columns * per_pixel * self.bits_allocated // 8


def layout_of(dataset: Dataset, syntax: UID) -> Layout:
    """The layout of a file's pixels.

    Raises RefusedPicture with not-an-image, no-decoder, pixel-description, too-many-pixels, too-many-frames,
    bits-contradict, bits-unsupported, photometric-unknown, presentation-contradicts.
    """
    if not any(name in dataset for name in ("Rows", "Columns", "BitsAllocated")):
        raise RefusedPicture("not-an-image", "it has no rows and columns: a report, a waveform or a document")
    if syntax not in (*NATIVE, *PLUGINS):
        raise RefusedPicture("no-decoder", f"transfer syntax {syntax if syntax.is_valid else 'not a UID'}")
    numbers = {name: _whole(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")}
    stored = _whole(dataset, "BitsStored", numbers["BitsAllocated"])
    layout = Layout(
        rows=numbers["Rows"],
        columns=numbers["Columns"],
        channels=numbers["SamplesPerPixel"],
        planar=_whole(dataset, "PlanarConfiguration", 0) == 1,
        n_frames=_whole(dataset, "NumberOfFrames", 1),
        bits_allocated=numbers["BitsAllocated"],
        bits_stored=stored,
        high_bit=_whole(dataset, "HighBit", stored - 1),
        signed=_whole(dataset, "PixelRepresentation", 0) == 1,
        photometric=str(dataset.get("PhotometricInterpretation") or "").strip("\0 "),
        syntax=syntax,
    )
    _refuse_contradictions(layout)
    _refuse_unclear_shade(dataset, layout)
    return layout


def _whole(dataset: Dataset, name: str, default: int | None = None) -> int:
    number = number_of(dataset, name)
    if number is None and default is not None and (name not in dataset or dataset.get(name) in (None, "")):
        return default
    if number is None or number < 0 or number != int(number):
        raise RefusedPicture("pixel-description", f"{name} is no whole number")
    return int(number)


def _refuse_contradictions(layout: Layout) -> None:
    rows, columns, bits = layout.rows, layout.columns, layout.bits_allocated
    if rows * columns > MAX_PIXELS:
        raise RefusedPicture("too-many-pixels", f"{columns} x {rows} px; the cap is {MAX_PIXELS} pixels")
    if not 1 <= layout.n_frames <= MAX_FRAMES:
        raise RefusedPicture("too-many-frames", f"{layout.n_frames} frames; 1 to {MAX_FRAMES} are read")
    if not rows * columns:
        raise RefusedPicture("too-small", f"{columns} x {rows} px")
    if not (1 <= layout.bits_stored <= bits and layout.bits_stored - 1 <= layout.high_bit < bits):
        raise RefusedPicture(
            "bits-contradict", f"{bits} bits allocated, {layout.bits_stored} stored, high bit {layout.high_bit}"
        )
    colour = layout.photometric in COLOURS
    if layout.photometric not in (*COLOURS, *GREYS, PALETTE) or layout.channels != (3 if colour else 1):
        raise RefusedPicture("photometric-unknown", f"it is not read with {layout.channels} samples a pixel")
    if bits not in (8, 16) or (colour and layout.bits_stored != 8) or (colour and bits != 8):
        raise RefusedPicture("bits-unsupported", f"{bits} bits allocated a sample, {layout.channels} samples a pixel")
    if layout.signed and layout.photometric not in GREYS:
        raise RefusedPicture("pixel-description", "colours cannot be negative")
    if layout.halved_chroma and (columns % 2 or layout.planar):
        raise RefusedPicture("pixel-description", "colours halved across need an even width, by pixel")


def _refuse_unclear_shade(dataset: Dataset, layout: Layout) -> None:
    """An image says INVERSE only where it is MONOCHROME1 (PS3.3 C.7.6.1); else which of the two is wrong is open."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip("\0 ")
    expected = "INVERSE" if layout.photometric == "MONOCHROME1" else "IDENTITY"
    if shape not in ("", expected):
        raise RefusedPicture(
            "presentation-contradicts",
            f"{layout.photometric} has Presentation LUT Shape {expected} or none; its is not",
        )
