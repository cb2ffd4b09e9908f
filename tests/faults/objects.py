"""Faults 24 to 37: DICOM files that hold no picture, or whose pixels are not what a reader would think."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from csasn.config import DicomSettings, IngestSettings
from tests.faults.encoders import png
from tests.faults.fault import Fault
from tests.faults.pictures import COLOUR, DEEP, LUMA, encoded, flipped
from tests.faults.sources import GREY, HEIGHT, WHOLE, WIDTH, one_object, windowed
from tests.support.dicom_objects import jpeg, ultrasound

Make = Callable[[Path], object]
ALL_FRAMES = IngestSettings(dicom=DicomSettings(no_region="whole-image", frames="all"))
BARE = dict.fromkeys(("PixelData", "Rows", "Columns", "BitsAllocated"))
LOOP = np.stack([np.minimum(GREY, 200) + step for step in range(5)]).astype(np.uint8)
TWELVE = {"BitsStored": 12, "HighBit": 11}
INDICES = np.repeat(np.arange(4, dtype=np.uint8), HEIGHT // 4)[:, None].repeat(WIDTH, axis=1)
PALETTE_GREYS = np.array([0, 69, 137, 90], dtype=np.uint8)[INDICES]  # 299 R + 587 G + 114 B, thousandths
PALETTE = ((0, 200, 10, 90), (0, 10, 220, 90), (0, 30, 40, 90))  # red, green and blue of four indices


def made(**options: object) -> Make:
    """An object of GREY, or of other `pixels`."""
    return lambda path: ultrasound(path, **{"pixels": GREY, **options})  # type: ignore[arg-type]


def changed(change: Callable[[bytes], bytes], **options: object) -> Make:
    """An object whose bytes are changed after it was written."""

    def make(path: Path) -> None:
        made(**options)(path)
        path.write_bytes(change(path.read_bytes()))

    return make


def frame_of(path: Path, **options: object) -> bytes:
    """The first compressed frame of an object, without padding."""
    made(**options)(path)
    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)).rstrip(b"\0")


def cut_frame(share: float, **options: object) -> Make:
    """An object whose only compressed frame was cut to a share of its bytes."""

    def make(path: Path) -> None:
        frame = frame_of(path, **options)
        made(frames=[frame[: int(share * len(frame))]], **options)(path)

    return make


def named(syntax: str, real: str, **options: object) -> Make:
    """An object of a `real` transfer syntax that says another one."""

    def change(content: bytes) -> bytes:
        old, new = (each.encode() + b"\0" * (len(each) % 2) for each in (real, syntax))
        head = b"\x02\0\x10\0UI"
        assert content.count(head) == 1
        return content.replace(head + struct.pack("<H", len(old)) + old, head + struct.pack("<H", len(new)) + new)

    return changed(change, transfer_syntax=real, **options)


def palette(bits: int, form: str, scale: int) -> dict[str, object]:
    tags: dict[str, object] = {}
    for name, entries in zip(("Red", "Green", "Blue"), PALETTE, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        tags[f"{name}PaletteColorLookupTableData"] = struct.pack(form, *(scale * each for each in entries))
    return tags


def ycbcr() -> NDArray[np.uint8]:
    """COLOUR as luma and chroma, ITU-T T.871, each pair of neighbours of one colour."""
    red, green, blue = (COLOUR[..., channel].astype(np.float64) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.rint(np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=-1)).astype(np.uint8)


def halved() -> bytes:
    """Y Y Cb Cr of each pair, all of one luma pattern."""
    pairs = ycbcr().reshape(HEIGHT, WIDTH // 2, 2, 3)
    return np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], axis=-1).tobytes()


def bomb(n_bytes: int, filling: bytes) -> Make:
    """A deflated object whose deflated part grows to n_bytes."""

    def change(content: bytes) -> bytes:
        start = content.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian) + 1
        start -= start % 2
        squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
        head = struct.pack("<HH2sHI", 8, 9, b"OB", 0, n_bytes)
        return content[:start] + squeeze.compress(head) + squeeze.compress(filling * n_bytes) + squeeze.flush()

    return changed(change, transfer_syntax=DeflatedExplicitVRLittleEndian)


FRAME = jpeg(GREY)
FRAME += b"\0" * (len(FRAME) % 2)


def fragments(content: bytes, n_frames: int = 2) -> Make:
    return made(transfer_syntax=JPEGBaseline8Bit, content=content, NumberOfFrames=n_frames)


def table(offset: int) -> bytes:
    """Two frames whose second offset is wrong."""
    content = bytearray(encapsulate([FRAME, FRAME]))
    content[12:16] = struct.pack("<I", offset)
    return bytes(content)


def loop(name: str, settings: IngestSettings, **options: object) -> Fault:
    number = 2 if settings is WHOLE else 0
    return one_object(
        32, name, made(pixels=LOOP, **options), settings=settings, pixels=LOOP[number], fixed=("loop-frames",)
    )


DEEP_12 = {"pixels": DEEP, **TWELVE}
MONO1 = {"photometric": "MONOCHROME1"}
INVERTED = ("monochrome1-inverted",)
SHADE = "presentation-contradicts"

FAULTS = (
    one_object(24, "zeros", b"\0" * 400, refused="not-dicom"),
    one_object(24, "without-preamble", changed(lambda content: content[132:]), refused="not-dicom"),
    one_object(24, "png", png(GREY), refused="not-dicom"),
    one_object(24, "gzipped", changed(lambda content: gzip.compress(content, mtime=0)), refused="not-dicom"),
    one_object(
        24, "letters-flipped", changed(lambda content: flipped(content, 129 / len(content))), refused="not-dicom"
    ),
    one_object(25, "absent", made(PixelData=None), refused="no-pixels"),
    one_object(25, "empty", made(content=b""), refused="pixel-data-length"),
    one_object(25, "floats", made(PixelData=None, FloatPixelData=b"\0" * (4 * GREY.size)), refused="no-pixels"),
    one_object(
        25,
        "no-fragments",
        made(transfer_syntax=JPEGBaseline8Bit, content=b"\xfe\xff\x00\xe0\0\0\0\0"),
        refused="fragments-contradict",
    ),
    one_object(
        26, "report", made(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", **BARE), refused="not-an-image"
    ),
    one_object(26, "pdf", made(EncapsulatedDocument=b"%PDF-1.7 ", Modality="DOC", **BARE), refused="not-an-image"),
    one_object(
        26,
        "waveform",
        made(SOPClassUID="1.2.840.10008.5.1.4.1.1.9.1.1", Modality="ECG", **BARE),
        refused="not-an-image",
    ),
    one_object(27, "8-bit", made(**MONO1), pixels=255 - GREY, fixed=INVERTED),
    one_object(27, "12-bit", made(**DEEP_12, **MONO1), pixels=255 - windowed(DEEP), fixed=(*INVERTED, "windowed")),
    one_object(27, "run-length", made(transfer_syntax=RLELossless, **MONO1), pixels=255 - GREY, fixed=INVERTED),
    one_object(27, "jpeg-2000", made(transfer_syntax=JPEG2000Lossless, **MONO1), pixels=255 - GREY, fixed=INVERTED),
    one_object(27, "said-twice", made(PresentationLUTShape="INVERSE", **MONO1), pixels=255 - GREY, fixed=INVERTED),
    *(
        one_object(27, f"{name}-said-to-be-{shape.lower()}", made(PresentationLUTShape=shape, **tags), refused=SHADE)
        for name, shape, tags in (
            ("monochrome2", "INVERSE", {}),
            ("monochrome1", "IDENTITY", MONO1),
            ("monochrome2", "LIN OD", {}),
            ("rgb", "INVERSE", {"pixels": COLOUR, "photometric": "RGB"}),
        )
    ),
    one_object(27, "monochrome2-said-twice", made(PresentationLUTShape="IDENTITY"), pixels=GREY),
    one_object(
        28,
        "words",
        made(pixels=INDICES, photometric="PALETTE COLOR", **palette(16, "<4H", 257)),
        pixels=PALETTE_GREYS,
        fixed=("palette-applied",),
    ),
    one_object(
        28,
        "bytes-in-words",
        made(pixels=INDICES, photometric="PALETTE COLOR", **palette(16, "<4H", 1)),
        pixels=PALETTE_GREYS,
        fixed=("palette-applied",),
    ),
    one_object(
        28,
        "bytes",
        made(pixels=INDICES, photometric="PALETTE COLOR", **palette(8, "<4B", 1)),
        pixels=PALETTE_GREYS,
        fixed=("palette-applied",),
    ),
    one_object(
        28,
        "big-endian",
        made(
            pixels=INDICES, photometric="PALETTE COLOR", **palette(16, ">4H", 257), transfer_syntax=ExplicitVRBigEndian
        ),
        pixels=PALETTE_GREYS,
        fixed=("palette-applied",),
    ),
    one_object(28, "absent", made(photometric="PALETTE COLOR"), refused="palette-unreadable"),
    one_object(
        29, "full", made(pixels=ycbcr(), photometric="YBR_FULL"), pixels=LUMA, tolerance=1, fixed=("colour-to-grey",)
    ),
    one_object(
        29,
        "halved",
        made(pixels=ycbcr(), photometric="YBR_FULL_422", PixelData=halved()),
        pixels=LUMA,
        tolerance=2,
        fixed=("colour-to-grey",),
    ),
    one_object(
        29,
        "run-length",
        made(pixels=ycbcr(), photometric="YBR_FULL", transfer_syntax=RLELossless),
        pixels=LUMA,
        tolerance=1,
        fixed=("colour-to-grey",),
    ),
    one_object(
        29,
        "jpeg",
        made(
            pixels=COLOUR,
            photometric="YBR_FULL_422",
            transfer_syntax=JPEGBaseline8Bit,
            frames=[jpeg(COLOUR, quality=100, subsampling=0)],
        ),
        pixels=LUMA,
        tolerance=2,
        fixed=("colour-to-grey",),
    ),
    one_object(
        29,
        "jpeg-called-rgb",
        made(
            pixels=COLOUR,
            photometric="RGB",
            transfer_syntax=JPEGBaseline8Bit,
            frames=[jpeg(COLOUR, quality=100, subsampling=0)],
        ),
        pixels=LUMA,
        tolerance=2,
        fixed=("colour-to-grey",),
    ),
    one_object(
        29,
        "jpeg-2000-reversible",
        made(pixels=COLOUR, photometric="YBR_RCT", transfer_syntax=JPEG2000Lossless),
        pixels=LUMA,
        fixed=("colour-to-grey",),
    ),
    one_object(
        29,
        "jpeg-2000-transformed-and-called-full",
        made(
            pixels=COLOUR,
            photometric="YBR_FULL",
            transfer_syntax=JPEG2000Lossless,
            frames=[encoded(COLOUR, "JPEG2000", no_jp2=True, mct=1)],
        ),
        refused="colour-contradicts",
    ),
    one_object(30, "htj2k", named("1.2.840.10008.1.2.4.201", ExplicitVRLittleEndian), refused="no-decoder"),
    one_object(30, "mpeg-4", named("1.2.840.10008.1.2.4.102", JPEGBaseline8Bit), refused="no-decoder"),
    one_object(30, "private", named("1.2.840.113619.5.2", ImplicitVRLittleEndian), refused="no-decoder"),
    *(
        one_object(31, f"{name}-{share}", cut_frame(share, transfer_syntax=RLELossless, **options), refused="truncated")
        for name, options in (("8-bit", {}), ("12-bit", DEEP_12), ("colour", {"pixels": COLOUR, "photometric": "RGB"}))
        for share in (0.98, 0.9)
    ),
    loop("middle", WHOLE),
    loop("all", ALL_FRAMES),
    loop("run-length", WHOLE, transfer_syntax=RLELossless),
    loop("jpeg-2000", WHOLE, transfer_syntax=JPEG2000Lossless),
    one_object(33, "plain", made(Rows=HEIGHT - 8), refused="pixel-data-length"),
    one_object(33, "run-length", made(transfer_syntax=RLELossless, Rows=HEIGHT - 8), refused="pixel-data-length"),
    one_object(33, "jpeg-ls", made(transfer_syntax=JPEGLSLossless, Rows=HEIGHT - 8), refused="pixel-data-length"),
    one_object(33, "loop-without-number", made(pixels=LOOP, NumberOfFrames=None), refused="pixel-data-length"),
    one_object(34, "rows-and-columns", made(Rows=60_000, Columns=60_000), refused="too-many-pixels"),
    one_object(34, "frames", made(NumberOfFrames=2_000_000_000), refused="too-many-frames"),
    one_object(
        34, "compressed", made(transfer_syntax=JPEG2000Lossless, Rows=65_535, Columns=65_535), refused="too-many-pixels"
    ),
    *(
        one_object(
            35,
            f"{real.name.lower().replace(' ', '-')[:20]}-as-{said.name.lower().replace(' ', '-')[:20]}",
            named(said, real),
            refused="wrong-transfer-syntax",
        )
        for real, said in (
            (ExplicitVRLittleEndian, ExplicitVRBigEndian),
            (ExplicitVRBigEndian, ImplicitVRLittleEndian),
            (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
            (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
            (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian),
            (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
            (ExplicitVRLittleEndian, RLELossless),
            (JPEGLosslessSV1, JPEGBaseline8Bit),
            (RLELossless, JPEG2000Lossless),
            (JPEG2000Lossless, ExplicitVRLittleEndian),
        )
    ),
    one_object(36, "zeros", bomb(300_000_000, b"\0"), refused="inflates-too-much", heavy=True),
    one_object(36, "spaces", bomb(260_000_000, b" "), refused="inflates-too-much", heavy=True),
    one_object(36, "just-over", bomb(256_000_000, b"\xff"), refused="inflates-too-much", heavy=True),
    one_object(37, "too-few-offsets", fragments(encapsulate([FRAME, FRAME]), 3), refused="fragments-contradict"),
    one_object(
        37,
        "more-fragments-than-frames",
        fragments(encapsulate([FRAME] * 3, has_bot=False)),
        refused="fragments-contradict",
    ),
    *(
        one_object(37, f"offset-{offset}", fragments(table(offset)), refused="fragments-contradict")
        for offset in (0, 2, 4_000_000_000)
    ),
    one_object(
        37,
        "file-ends-in-a-fragment",
        changed(lambda content: content[:-200], transfer_syntax=JPEGBaseline8Bit),
        refused="truncated",
    ),
    one_object(37, "jpeg-ends-early", cut_frame(0.7, transfer_syntax=JPEGBaseline8Bit), refused="truncated"),
)
