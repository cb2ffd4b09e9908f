"""What the stored values of a DICOM file mean: inversion, palettes, colours, bits, windows and tables."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import read_dicom
from tests.support.dicom_objects import jpeg, ultrasound
from tests.support.dicom_reading import (
    GREY_OF_THAT,
    KEEP,
    RED_GREEN_BLUE,
    YCBCR,
    code,
    fixes,
    pixels,
    stored,
)


def test_monochrome1_is_inverted_once(tmp_path, grey):
    path = ultrasound(tmp_path / "a", pixels=grey, photometric="MONOCHROME1")
    assert (pixels(path) == 255 - grey).all()
    assert fixes(path) == ("monochrome1-inverted",)
    deep = ultrasound(tmp_path / "b", pixels=grey.astype(np.uint16) * 16, photometric="MONOCHROME1")
    low, high = int(grey.min()), int(grey.max())
    assert (pixels(deep) == 255 - np.rint((grey.astype(float) - low) / (high - low) * 255)).all()


def palette(entries: list[tuple[int, int, int]], bits: int, form: str, *, first: int = 0) -> dict[str, object]:
    tags: dict[str, object] = {}
    for name, channel in zip(("Red", "Green", "Blue"), zip(*entries, strict=True), strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries), first, bits]
        tags[f"{name}PaletteColorLookupTableData"] = struct.pack(form.format(len(entries)), *channel)
    return tags


@pytest.mark.parametrize(
    ("bits", "form", "scale", "syntax"),
    [
        (16, "<{}H", 257, ExplicitVRLittleEndian),
        (16, "<{}H", 256, ExplicitVRLittleEndian),
        (16, "<{}H", 1, ExplicitVRLittleEndian),  # 8 bits of the 16 are used
        (8, "<{}B", 1, ExplicitVRLittleEndian),
        (8, "<{}H", 1, ExplicitVRLittleEndian),
        (16, ">{}H", 257, ExplicitVRBigEndian),
    ],
)
def test_palette_gives_colours_not_indices(tmp_path, bits, form, scale, syntax):
    indices = np.repeat(np.arange(8, dtype=np.uint8), 6)[:, None].repeat(64, axis=1)
    colours = [(0, 0, 0), (200, 10, 30), (10, 220, 40), (90, 90, 90)]
    tags = palette([tuple(scale * each for each in colour) for colour in colours], bits, form, first=2)
    path = ultrasound(tmp_path / "a", pixels=indices, photometric="PALETTE COLOR", transfer_syntax=syntax, **tags)
    # (299 R + 587 G + 114 B) / 1000: 0, 69.1, 136.7, 90; below the first index and above the last the ends go on.
    assert (pixels(path, KEEP) == np.array([0, 0, 0, 69, 137, 90, 90, 90], dtype=np.uint8)[indices]).all()
    assert fixes(path, KEEP) == ("palette-applied",)


@pytest.mark.parametrize(
    ("bits", "form", "segments", "expected"),
    [
        # one entry 0, then a line of 8 up to 248
        (8, "<{}B", (0, 1, 0, 1, 8, 248), [0, 31, 62, 93, 124, 155, 186, 217, 248]),
        (16, "<{}H", (0, 1, 0, 1, 8, 248 * 257), [0, 31, 62, 93, 124, 155, 186, 217, 248]),
        # three entries, a line of 2, and both segments again from word 0
        (16, "<{}H", (0, 2, 257, 514, 1, 2, 1028, 2, 2, 0, 0, 0, 1, 2570), [1, 2, 3, 4, 1, 2, 3, 4, 10]),
    ],
)
def test_segmented_palette(tmp_path, bits, form, segments, expected):
    indices = np.repeat(np.arange(9, dtype=np.uint8), 4)[:, None].repeat(40, axis=1)
    tags: dict[str, object] = {}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [9, 0, bits]
        tags[f"Segmented{name}PaletteColorLookupTableData"] = struct.pack(form.format(len(segments)), *segments)
    path = ultrasound(tmp_path / "a", pixels=indices, photometric="PALETTE COLOR", **tags)
    assert (pixels(path, KEEP) == np.array(expected, dtype=np.uint8)[indices]).all()
    tags["SegmentedRedPaletteColorLookupTableData"] = struct.pack("<4H", 2, 9, 0, 0)
    assert code(ultrasound(tmp_path / "b", pixels=indices, photometric="PALETTE COLOR", **tags)) == "palette-unreadable"


def ycbcr() -> np.ndarray:
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:] = YCBCR
    picture[:, 32:] = (60, 128, 128)
    return picture


def test_ybr_is_converted_once(tmp_path):
    pairs = ycbcr().reshape(48, 32, 2, 3)
    halves = np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], axis=-1)
    paths = [
        ultrasound(tmp_path / "full", pixels=ycbcr(), photometric="YBR_FULL"),
        ultrasound(tmp_path / "half", pixels=ycbcr(), photometric="YBR_FULL_422", PixelData=halves.tobytes()),
        ultrasound(tmp_path / "rle", pixels=ycbcr(), photometric="YBR_FULL", transfer_syntax=RLELossless),
    ]
    for name in ("YBR_FULL", "YBR_FULL_422", "RGB"):  # RGB here is a lie that JFIF's mark gives away
        frame = jpeg(ycbcr(), "YCbCr", quality=100, subsampling=0)
        path = tmp_path / f"jpeg-{name}"
        paths.append(
            ultrasound(path, pixels=ycbcr(), photometric=name, transfer_syntax=JPEGBaseline8Bit, frames=[frame])
        )
    for path in paths:
        colours, found = stored(path), pixels(path, KEEP)
        assert np.abs(colours[:, :31].astype(int) - RED_GREEN_BLUE).max() <= 2, path
        assert np.abs(found[:, :31].astype(int) - GREY_OF_THAT).max() <= 1, path
        assert np.abs(found[:, 33:].astype(int) - 60).max() <= (0 if "jpeg" not in path.name else 1), path


def test_jpeg_of_rgb_is_not_converted(tmp_path):
    colours = np.zeros((48, 64, 3), dtype=np.uint8)
    colours[:] = (255, 33, 33)
    frame = jpeg(colours, quality=100, subsampling=0, keep_rgb=True)
    path = ultrasound(
        tmp_path / "a", pixels=colours, photometric="RGB", transfer_syntax=JPEGBaseline8Bit, frames=[frame]
    )
    assert np.abs(stored(path).astype(int) - colours).max() <= 1


def test_planes_and_pixels_interleave_the_same(tmp_path):
    colours = np.random.default_rng(3).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    planes = np.moveaxis(colours, -1, 0).tobytes()
    path = ultrasound(tmp_path / "a", pixels=colours, photometric="RGB", PlanarConfiguration=1, PixelData=planes)
    assert (stored(path) == colours).all()


def test_without_a_window_the_range_in_use_becomes_grey(tmp_path, grey):
    wide = grey.astype(np.uint16) * 16
    low, high = int(wide.min()), int(wide.max())
    expected = np.rint((wide.astype(float) - low) / (high - low) * 255)
    twelve = {"BitsStored": 12, "HighBit": 11}
    assert (pixels(ultrasound(tmp_path / "a", pixels=wide, **twelve)) == expected).all()
    assert (pixels(ultrasound(tmp_path / "b", pixels=wide.astype(np.int16) - 1000)) == expected).all()
    scaled = ultrasound(tmp_path / "c", pixels=wide, RescaleSlope="2", RescaleIntercept="-7", **twelve)
    assert (pixels(scaled) == expected).all()
    loop = np.stack([wide, wide // 2])  # one range for the file, not one for each frame
    frames = read_dicom(
        ultrasound(tmp_path / "d", pixels=loop), DicomSettings(no_region="whole-image", frames="all")
    ).frames
    assert frames[1].pixels.max() < 130


def test_only_stored_bits_count(tmp_path, grey):
    wide = grey.astype(np.uint16) * 16
    twelve = {"BitsStored": 12, "HighBit": 11}
    clean = pixels(ultrasound(tmp_path / "clean", pixels=wide, **twelve))
    for name, dirty, bits in (
        ("above", wide | 0xF000, twelve),  # an old overlay in the upper bits
        ("below", wide << 4 | 0xF, {"BitsStored": 12, "HighBit": 15}),
    ):
        for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless):
            path = ultrasound(tmp_path / name, pixels=dirty, transfer_syntax=syntax, **bits)
            assert (pixels(path) == clean).all()
    negative = np.full((40, 40), -5, dtype=np.int16)
    negative[:, 20:] = 5
    path = ultrasound(tmp_path / "signed", pixels=negative & 0x0FFF, **twelve)  # the sign is bit 11
    assert (stored(path) == negative).all()
    few = ultrasound(tmp_path / "few", pixels=grey | 0x80, BitsStored=7, HighBit=6)
    assert (stored(few) == (grey & 0x7F)).all()


def test_signed_bytes_keep_their_order(tmp_path, grey):
    signed = (grey.astype(np.int16) - 128).astype(np.int8)
    assert (pixels(ultrasound(tmp_path / "a", pixels=signed)) == grey).all()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: ((x - 1999.5) / 99 + .5) * 255
        ({"WindowCenter": 2000, "WindowWidth": 100}, [0, 0, 129, 255, 255]),
        ({"WindowCenter": 2000, "WindowWidth": 1}, [0, 0, 255, 255, 255]),
        # C.11.2.1.3.2: ((x - 2000) / 100 + .5) * 255
        ({"WindowCenter": 2000, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}, [0, 0, 128, 255, 255]),
        # C.11.2.1.3.1: 255 / (1 + exp(-4 (x - 2000) / 1000)): 4.58, 104.3 (1900: .4013), 127.5, 152.7, 250.4
        ({"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}, [5, 102, 128, 153, 250]),
        # first of several windows; 2 x - 2000 = 2000 at x = 2000
        (
            {"WindowCenter": [2000, 1], "WindowWidth": [100, 2], "RescaleSlope": 2, "RescaleIntercept": -2000},
            [0, 0, 129, 255, 255],
        ),
    ],
)
def test_windows_by_the_standard(tmp_path, tags, expected):
    values = np.array([1000, 1900, 2000, 2100, 3000], dtype=np.uint16).repeat(8)[None].repeat(33, axis=0)
    found = pixels(ultrasound(tmp_path / "a", pixels=values, BitsStored=12, HighBit=11, **tags))[0, ::8]
    assert found.tolist() == expected


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_tables_of_modality_and_interest(tmp_path, syntax):
    values = np.array([0, 10, 11, 12, 40], dtype=np.uint8).repeat(8)[None].repeat(33, axis=0)
    modality, interest = Dataset(), Dataset()
    for item, descriptor, entries in ((modality, [3, 10, 16], [100, 300, 200]), (interest, [2, 250, 8], [51, 255])):
        item.add_new("LUTDescriptor", "US", descriptor)
        item.add_new("LUTData", "US", entries)
    path = ultrasound(tmp_path / "a", pixels=values, transfer_syntax=syntax, ModalityLUTSequence=[modality])
    assert pixels(path)[0, ::8].tolist() == [0, 0, 255, 128, 128]  # 100..300 over 0..255: 200 is 127.5
    tables = {"ModalityLUTSequence": [modality], "VOILUTSequence": [interest]}
    path = ultrasound(tmp_path / "b", pixels=values, transfer_syntax=syntax, **tables)
    assert pixels(path)[0, ::8].tolist() == [51, 51, 255, 51, 51]
