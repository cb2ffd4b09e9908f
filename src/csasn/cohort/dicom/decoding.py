"""Stored values become grey or colour, once and only once, after their length and syntax were checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_rescale, apply_voi
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from csasn.cohort.dicom.regions import number_of
from csasn.cohort.ledger import RefusedPicture
from csasn.cohort.pictures import MAX_PIXELS

# The fastest decoder for each syntax that may be used beside any licence; measured in ../shared/DEPENDENCIES.md.
PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "gdcm",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "gdcm",
    JPEGLSNearLossless: "gdcm",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pylibjpeg",
}
JPEG_STARTS = {syntax: b"\xff\xd8" for syntax in PLUGINS if syntax != RLELossless} | {
    JPEG2000Lossless: b"\xff\x4f",
    JPEG2000: b"\xff\x4f",
}
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
GREYS = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
MAX_FRAMES = 20_000
MAX_CINE_BYTES = 400_000_000  # grey pixels of all chosen frames together


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How the stored values lie: checked numbers of a file."""

    rows: int
    columns: int
    channels: int
    n_frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    syntax: UID


def layout_of(dataset: Dataset) -> Layout:
    """The layout of a file's pixels; RefusedPicture where it has none, or its numbers contradict each other."""
    if "PixelData" not in dataset:
        code = "no-pixels" if dataset.get("Rows") is None else "no-pixel-data"
        raise RefusedPicture(code, "it holds no Pixel Data: a report, a waveform or a document")
    numbers = {name: _whole(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")}
    stored = _whole(dataset, "BitsStored", numbers["BitsAllocated"])
    layout = Layout(
        rows=numbers["Rows"],
        columns=numbers["Columns"],
        channels=numbers["SamplesPerPixel"],
        n_frames=_whole(dataset, "NumberOfFrames", 1),
        bits_allocated=numbers["BitsAllocated"],
        bits_stored=stored,
        high_bit=_whole(dataset, "HighBit", stored - 1),
        signed=number_of(dataset, "PixelRepresentation") == 1,
        photometric=str(dataset.get("PhotometricInterpretation") or ""),
        syntax=dataset.file_meta.TransferSyntaxUID,
    )
    _refuse_contradictions(layout)
    return layout


def _whole(dataset: Dataset, name: str, default: int | None = None) -> int:
    number = number_of(dataset, name)
    if number is None and default is not None and dataset.get(name) in (None, ""):
        return default
    if number is None or number < 0 or number != int(number):
        raise RefusedPicture("pixel-description", f"{name} is no whole number")
    return int(number)


def _refuse_contradictions(layout: Layout) -> None:
    if layout.rows * layout.columns > MAX_PIXELS:
        raise RefusedPicture("too-many-pixels", f"{layout.columns} x {layout.rows} px; the cap is {MAX_PIXELS} pixels")
    if not 1 <= layout.n_frames <= MAX_FRAMES:
        raise RefusedPicture("too-many-frames", f"{layout.n_frames} frames; 1 to {MAX_FRAMES} are read")
    if not (
        layout.bits_allocated in (8, 16)
        and 1 <= layout.bits_stored <= layout.bits_allocated
        and layout.bits_stored - 1 <= layout.high_bit < layout.bits_allocated
    ):
        raise RefusedPicture(
            "bits-contradict",
            f"{layout.bits_allocated} bits allocated, {layout.bits_stored} stored, high bit {layout.high_bit}",
        )
    wanted = 3 if layout.photometric in COLOURS else 1
    if layout.photometric not in (*COLOURS, *GREYS, PALETTE) or layout.channels != wanted:
        raise RefusedPicture("photometric-unknown", f"not read with {layout.channels} samples a pixel")
    if wanted == 3 and layout.bits_allocated != 8:
        raise RefusedPicture("bits-contradict", "colour of more than 8 bits a sample")


def refuse_wrong_length(dataset: Dataset, layout: Layout) -> None:
    """Raise RefusedPicture where Pixel Data is not as long, or not of as many frames, as the layout says."""
    content = dataset.PixelData
    if not layout.syntax.is_encapsulated:
        per_pixel = 2 if layout.photometric == "YBR_FULL_422" else layout.channels
        expected = layout.rows * layout.columns * per_pixel * layout.bits_allocated // 8 * layout.n_frames
        if len(content) not in (expected, expected + expected % 2):
            raise RefusedPicture("pixel-data-length", f"{len(content)} bytes; its numbers say {expected}")
        return
    if layout.syntax not in PLUGINS:
        raise RefusedPicture("no-decoder", f"transfer syntax {layout.syntax}")
    offsets = parse_basic_offsets(content)
    frames = list(generate_frames(content, number_of_frames=layout.n_frames))
    if len(frames) != layout.n_frames or len(offsets) not in (0, layout.n_frames):
        raise RefusedPicture("fragments-contradict", f"{len(frames)} frames; its numbers say {layout.n_frames}")
    start = JPEG_STARTS.get(layout.syntax)
    for frame in frames if start else ():
        if not frame.startswith(start or b""):
            raise RefusedPicture("wrong-transfer-syntax", f"its frames are not of transfer syntax {layout.syntax}")
        if b"\xff\xd9" not in frame[-4:]:
            raise RefusedPicture("truncated", "a compressed frame stops before its end mark")


def decoded_frames(dataset: Dataset, layout: Layout, numbers: Sequence[int]) -> list[NDArray[Any]]:
    """The chosen frames: (H, W, 3) uint8 colour, or (H, W) grey values after rescaling; RefusedPicture if they fail."""
    plugin = PLUGINS.get(layout.syntax, "") if layout.syntax.is_encapsulated else ""
    decoder = get_decoder(layout.syntax)
    frames = []
    for number in numbers:
        try:
            values, _ = decoder.as_array(dataset, index=number, decoding_plugin=plugin)
        except MemoryError:
            raise
        except Exception as error:
            raise RefusedPicture(
                "undecodable", f"frame {number}: its decoder gave up ({type(error).__name__})"
            ) from None
        if values.shape[:2] != (layout.rows, layout.columns):
            raise RefusedPicture(
                "pixel-data-length", f"frame {number} decodes to {values.shape[1]} x {values.shape[0]}"
            )
        frames.append(_meant(values, dataset, layout))
    return frames


def _meant(values: NDArray[Any], dataset: Dataset, layout: Layout) -> NDArray[Any]:
    if layout.photometric in COLOURS:
        return np.asarray(values, dtype=np.uint8)
    values = _stored_bits(values, layout)
    if layout.photometric == PALETTE:
        colours = apply_color_lut(values, dataset)[..., :3]
        return colours if colours.dtype == np.uint8 else (colours >> (8 if colours.max() > 255 else 0)).astype(np.uint8)
    return apply_rescale(values, dataset)


def _stored_bits(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Only the stored bits, in place of whatever lies beside them (old overlays, say), with their sign."""
    if layout.bits_stored == layout.bits_allocated:
        return values
    kind = np.int16 if layout.bits_allocated == 16 else np.int8
    spare = layout.bits_allocated - layout.bits_stored
    if layout.syntax.is_encapsulated:
        return values
    shifted = values.view(kind if layout.signed else kind.__name__.replace("int", "uint"))
    shifted = shifted << (layout.bits_allocated - 1 - layout.high_bit)
    return shifted >> spare


def grey_frames(frames: Sequence[NDArray[Any]], dataset: Dataset, layout: Layout) -> list[NDArray[np.uint8]]:
    """Grey (H, W) uint8 of decoded frames: colour by ITU-R 601, more than 8 bits by VOI or from least to largest."""
    if frames[0].ndim == 3:
        return [np.asarray(Image.fromarray(frame).convert("L")) for frame in frames]
    windowed = any(dataset.get(name) not in (None, "") for name in ("WindowWidth", "VOILUTSequence"))
    plain = frames[0].dtype == np.uint8 and layout.bits_stored == 8 and not windowed
    grey = list(frames) if plain else _by_window(frames, dataset) if windowed else _by_range(frames)
    return [255 - frame if layout.photometric == "MONOCHROME1" else frame for frame in grey]


def _by_range(frames: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    low, high = (float(bound) for bound in (min(f.min() for f in frames), max(f.max() for f in frames)))
    width = max(high - low, np.finfo(np.float64).tiny)
    return [np.rint((frame.astype(np.float64) - low) / width * 255).astype(np.uint8) for frame in frames]


def _by_window(frames: Sequence[NDArray[Any]], dataset: Dataset) -> list[NDArray[np.uint8]]:
    """VOI LUT, or window by PS3.3 C.11.2.1.2 (LINEAR, LINEAR_EXACT, SIGMOID)."""
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        looked = [apply_voi(frame, dataset).astype(np.float64) for frame in frames]
        return [np.rint(frame / (2**bits - 1) * 255).astype(np.uint8) for frame in looked]
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if centre is None or width is None or width < 1 or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise RefusedPicture("window-unknown", "its VOI window is incomplete or of an unknown kind")
    grey = []
    for frame in frames:
        values = frame.astype(np.float64)
        if function == "SIGMOID":
            share = 1 / (1 + np.exp(-4 * (values - centre) / width))
        elif function == "LINEAR_EXACT":
            share = (values - centre) / width + 0.5
        else:
            share = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
        grey.append(np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8))
    return grey
