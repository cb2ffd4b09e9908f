"""DICOM ultrasound becomes the right grey pixels, or is refused with a code; identifiers stay outside."""

import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
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

from csasn.cohort.dicom.decoding import decoded
from csasn.cohort.dicom.fragments import located_frames
from csasn.cohort.dicom.layout import layout_of
from csasn.cohort.dicom.opening import opened
from csasn.cohort.dicom.reading import chosen_frames, is_dicom, read_dicom
from csasn.cohort.dicom.tone import rgb
from csasn.cohort.ledger import FIXES, RefusedPicture
from csasn.config import DicomSettings
from dicom_objects import jpeg, region, ultrasound

WHOLE = DicomSettings(no_region="whole-image")
KEEP = DicomSettings(no_region="whole-image", colour_doppler="keep")
ENCODED = (RLELossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless)
SECRETS = ("MRN1", "Doe", "2.25.")
# Y 100, Cb 90, Cr 240: R = 100 + 1.402 * 112 = 257 -> 255, G = 100 + .344 * 38 - .714 * 112 = 33, B = 100 - 67 = 33.
YCBCR, RED_GREEN_BLUE = (100, 90, 240), (255, 33, 33)
GREY_OF_THAT = 99  # .299 * 255 + .587 * 33 + .114 * 33 = 99.4


@pytest.fixture
def grey() -> np.ndarray:
    """A smooth picture without anything like a letter."""
    rows, columns = np.mgrid[0:48, 0:64]
    return (rows * 3 + columns).astype(np.uint8)


def pixels(path: Path, settings: DicomSettings = WHOLE) -> np.ndarray:
    return read_dicom(path, settings).frames[0].pixels


def fixes(path: Path, settings: DicomSettings = WHOLE) -> tuple[str, ...]:
    return read_dicom(path, settings).frames[0].fixes


def code(path: Path, settings: DicomSettings = WHOLE) -> str:
    with pytest.raises(RefusedPicture) as refusal:
        read_dicom(path, settings)
    assert not any(secret in refusal.value.reason for secret in SECRETS)
    return refusal.value.code


def stored(path: Path, number: int = 0) -> np.ndarray:
    """A frame as decoded, before grey and crop: values, or red, green and blue."""
    with warnings.catch_warnings(), opened(path) as file:
        warnings.simplefilter("ignore")  # as read_dicom does
        layout = layout_of(file.dataset, file.syntax)
        frame = decoded(located_frames(file, layout).read(number), layout)
    return frame.values if frame.space == "L" else rgb(frame.values, frame.space)


# Syntaxes


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_syntaxes_come_as_stored(tmp_path, grey, syntax):
    assert (pixels(ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=syntax)) == grey).all()
    deep = (grey.astype(np.uint16) << 4) + 7
    assert (stored(ultrasound(tmp_path / "b", pixels=deep, transfer_syntax=syntax)) == deep).all()


@pytest.mark.parametrize("syntax", ENCODED)
def test_lossless_syntaxes_come_as_stored(tmp_path, syntax):
    drawn = np.random.default_rng(0).integers(0, 256, (3, 40, 51, 3)).astype(np.uint8)
    path = ultrasound(tmp_path / "a", pixels=drawn, transfer_syntax=syntax, photometric="RGB")
    for number in range(3):
        assert (stored(path, number) == drawn[number]).all()
    deep = np.random.default_rng(1).integers(0, 1 << 12, (40, 51)).astype(np.uint16)
    path = ultrasound(tmp_path / "b", pixels=deep, transfer_syntax=syntax, BitsStored=12, HighBit=11)
    assert (stored(path) == deep).all()


def test_jpeg_equals_pillow(tmp_path, grey):
    frame = jpeg(grey)
    path = ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=JPEGBaseline8Bit, frames=[frame])
    Path(tmp_path / "a.jpg").write_bytes(frame)
    assert (pixels(path) == np.asarray(Image.open(tmp_path / "a.jpg"))).all()


@pytest.mark.parametrize("words", [True, False])
def test_bytes_of_big_endian_words_are_swapped_back(tmp_path, words):
    """Three frames of 33 x 35 bytes: every second one begins in the middle of a word."""
    loop = np.random.default_rng(2).integers(0, 256, (3, 33, 35)).astype(np.uint8)
    path = ultrasound(tmp_path / "a", pixels=loop, transfer_syntax=ExplicitVRBigEndian)
    content = path.read_bytes()
    if words:
        place = content.rindex(b"OB", 0, content.index(loop.tobytes()))
        body = bytearray(content[place + 8 :])
        body[0::2], body[1::2] = bytes(body[1::2]), bytes(body[0::2])
        path.write_bytes(content[:place] + b"OW" + content[place + 2 : place + 8] + bytes(body))
    for number in range(3):
        assert (stored(path, number) == loop[number]).all()


# Meaning of the values


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


# Regions


def test_regions_crop_and_calibrate(tmp_path, grey):
    frame = read_dicom(
        ultrasound(tmp_path / "a", pixels=grey, regions=[region(10, 5, 49, 44)]), DicomSettings()
    ).frames[0]
    assert (frame.pixels == grey[5:45, 10:50]).all()
    assert frame.pixel_spacing_mm == pytest.approx(0.1)
    assert frame.fixes == ("cropped-to-region",)
    beside = [region(0, 0, 31, 46), region(32, 0, 63, 46), region(0, 0, 63, 47, kind=3), region(0, 0, 63, 47, shape=2)]
    path = ultrasound(tmp_path / "b", pixels=grey, regions=beside)
    assert (pixels(path, DicomSettings()) == grey[:47, :32]).all()
    assert fixes(path) == ("cropped-to-region", "one-of-several-regions")
    one_over = ultrasound(tmp_path / "c", pixels=grey, regions=[region(10, 5, 64, 48)])
    assert (pixels(one_over) == grey[5:, 10:]).all()


def test_spacing_falls_back_and_is_none_rather_than_wrong(tmp_path, grey):
    def spacing(name: str, *regions: Dataset, **tags) -> float | None:
        return (
            read_dicom(ultrasound(tmp_path / name, pixels=grey, regions=regions, **tags), WHOLE)
            .frames[0]
            .pixel_spacing_mm
        )

    none = region(0, 0, 63, 47, delta_cm=None)
    seconds = region(0, 0, 63, 47)
    seconds.PhysicalUnitsXDirection = 4
    negative = region(0, 0, 63, 47, delta_cm=-0.02)
    assert spacing("a", none) is None
    assert spacing("b", seconds) is None
    assert spacing("c", negative) == pytest.approx(0.2)
    assert spacing("d", none, PixelSpacing=[0.3, 0.3]) == pytest.approx(0.3)
    assert spacing("e", negative, PixelSpacing=[0.3, 0.3]) == pytest.approx(0.2)
    assert spacing("f", ImagerPixelSpacing=[0.4, 0.41]) == pytest.approx(0.405)
    assert spacing("g", PixelSpacing=[]) is None
    squeezed = region(0, 0, 63, 47)
    squeezed.PhysicalDeltaY = 0.02
    assert code(ultrasound(tmp_path / "h", pixels=grey, regions=[squeezed])) == "anisotropic-pixels"


@pytest.mark.parametrize("corners", [(10, 5, 66, 44), (10, 5, 49, 50), (49, 5, 10, 44), (10, 5, 4_000_000_000, 44)])
def test_regions_outside_the_image_are_refused(tmp_path, grey, corners):
    assert code(ultrasound(tmp_path / "a", pixels=grey, regions=[region(*corners)])) == "region-outside-image"


def test_what_is_no_region_of_tissue_is_not_used(tmp_path, grey):
    spectrum = ultrasound(tmp_path / "a", pixels=grey, regions=[region(0, 0, 63, 47, kind=3)])
    assert code(spectrum, DicomSettings()) == "no-ultrasound-region"
    assert code(ultrasound(tmp_path / "b", pixels=grey), DicomSettings()) == "no-ultrasound-region"
    small = ultrasound(tmp_path / "c", pixels=grey, regions=[region(0, 0, 20, 20)])
    assert code(small, DicomSettings()) == "too-small"
    empty = region(0, 0, 63, 47)
    empty.RegionLocationMaxX1 = None
    assert code(ultrasound(tmp_path / "d", pixels=grey, regions=[empty])) == "region-outside-image"


# Colour flow


def coloured(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey, grey, grey], axis=-1)


def test_flow_is_seen_in_regions_and_pixels(tmp_path, grey):
    overlapping = [region(0, 0, 63, 47), region(20, 20, 30, 30, kind=2)]
    path = ultrasound(tmp_path / "a", pixels=grey, regions=overlapping)
    assert code(path) == "colour-doppler"
    assert (pixels(path, KEEP) == grey).all()
    beside = [region(0, 0, 40, 47), region(41, 0, 63, 47, kind=2)]
    assert pixels(ultrasound(tmp_path / "b", pixels=grey, regions=beside)).shape == (48, 41)
    flow = coloured(grey)
    flow[10:30, 10:20], flow[10:30, 20:30] = (220, 20, 10), (20, 40, 230)
    power = coloured(grey)
    power[10:30, 10:30] = (230, 120, 10)
    for name, colours in (("flow", flow), ("power", power)):
        assert code(ultrasound(tmp_path / name, pixels=colours, photometric="RGB")) == "colour-doppler"


def test_a_tint_and_coloured_marks_are_no_flow(tmp_path):
    rows, columns = np.mgrid[0:256, 0:256]
    grey = ((rows + columns) // 2).astype(np.uint8)
    sepia = np.stack([grey, (grey * 0.7).astype(np.uint8), (grey * 0.3).astype(np.uint8)], axis=-1)
    blue = np.stack([(grey * 0.4).astype(np.uint8), (grey * 0.6).astype(np.uint8), grey], axis=-1)
    marked = coloured(grey)
    marked[40:42, 20:200] = marked[60:220:12, 100:102] = (250, 250, 0)
    for name, colours in (("sepia", sepia), ("blue", blue), ("marked", marked)):
        path = ultrasound(tmp_path / name, pixels=colours, photometric="RGB", UltrasoundColorDataPresent=1)
        assert pixels(path).shape == (256, 256), name


def test_a_flow_frame_among_others_is_refused_alone(tmp_path, grey):
    loop = np.stack([coloured(np.minimum(grey, 200) + step) for step in range(3)])
    loop[1, 10:40, 10:40] = (230, 20, 10)
    path = ultrasound(tmp_path / "a", pixels=loop, photometric="RGB")
    picture = read_dicom(path, DicomSettings(no_region="whole-image", frames="all"))
    assert [frame.number for frame in picture.frames] == [0, 2]
    assert [(number, word) for number, word, _ in picture.refused_frames] == [(1, "colour-doppler")]
    assert code(path) == "colour-doppler"  # the middle one alone


# Loops


@pytest.mark.parametrize(
    ("frames", "n_frames", "numbers"),
    [
        ("middle", 3, [3]),
        ("evenly-spaced", 3, [1, 3, 5]),
        ("evenly-spaced", 9, list(range(7))),
        ("all", 3, list(range(7))),
    ],
)
def test_frames_of_a_loop_are_chosen(tmp_path, grey, frames, n_frames, numbers):
    loop = np.stack([np.minimum(grey, 200) + step for step in range(7)])
    settings = DicomSettings(no_region="whole-image", frames=frames, n_frames=n_frames)
    for syntax in (ExplicitVRLittleEndian, RLELossless):
        picture = read_dicom(ultrasound(tmp_path / "a", pixels=loop, transfer_syntax=syntax), settings)
        assert [frame.number for frame in picture.frames] == numbers
        assert all((frame.pixels == loop[frame.number]).all() for frame in picture.frames)


def test_chosen_frames_are_distinct_and_inside():
    for n_frames in range(1, 40):
        for n_wanted in range(1, 12):
            chosen = chosen_frames(n_frames, DicomSettings(frames="evenly-spaced", n_frames=n_wanted))
            assert len(set(chosen)) == min(n_frames, n_wanted)
            assert min(chosen) >= 0
            assert max(chosen) < n_frames


def test_only_the_chosen_frame_of_a_long_loop_is_read(tmp_path):
    path = ultrasound(tmp_path / "a", pixels=np.zeros((40, 40), np.uint8), NumberOfFrames=1)
    n_frames, size = 400, 1000
    path = ultrasound(path, pixels=np.zeros((2, size, size), np.uint8), content=b"", NumberOfFrames=n_frames)
    content = path.read_bytes()
    with path.open("wb") as stream:
        stream.write(content[:-4] + struct.pack("<I", n_frames * size * size))
        stream.truncate(len(content) + n_frames * size * size)  # a hole: 400 MB that cost nothing
        stream.seek(len(content) + n_frames // 2 * size * size)
        stream.write(bytes(range(250)) * (4 * size))
    started = time.perf_counter()
    assert pixels(path).max() == 249
    assert time.perf_counter() - started < 2
    assert code(path, DicomSettings(no_region="whole-image", frames="all")) == "too-many-frames"


# What contradicts itself


def test_numbers_that_contradict_the_pixels_are_refused(tmp_path, grey):
    def made(name: str, **tags) -> str:
        return code(ultrasound(tmp_path / name, pixels=grey, **tags))

    assert made("rows", Rows=24) == "pixel-data-length"
    assert made("more", Rows=480) == "pixel-data-length"
    assert made("loop", NumberOfFrames=2) == "pixel-data-length"
    assert made("empty", content=b"") == "pixel-data-length"
    assert made("huge", Rows=60000, Columns=60000) == "too-many-pixels"
    assert made("frames", NumberOfFrames=2_000_000) == "too-many-frames"
    assert made("none", NumberOfFrames=0) == "too-many-frames"
    assert made("bits", BitsStored=12, HighBit=11) == "bits-contradict"
    assert made("deep", BitsAllocated=32, BitsStored=32, HighBit=31) == "bits-unsupported"
    assert made("cmyk", PhotometricInterpretation="CMYK") == "photometric-unknown"
    assert made("three", SamplesPerPixel=3) == "photometric-unknown"
    assert made("window", WindowCenter=3) == "window-unknown"
    assert made("palette", PhotometricInterpretation="PALETTE COLOR") == "palette-unreadable"
    assert made("columns", Columns=None) == "pixel-description"
    odd = ultrasound(tmp_path / "odd", pixels=np.zeros((33, 35), np.uint8) + np.arange(35, dtype=np.uint8))
    assert pixels(odd).shape == (33, 35)  # one byte of padding is allowed


@pytest.mark.parametrize("missing", ["", "   ", "\0\0", None])
def test_no_patient_is_refused(tmp_path, grey, missing):
    assert code(ultrasound(tmp_path / "a", pixels=grey, PatientID=missing)) == "no-patient-id"


def test_what_holds_no_picture_is_refused(tmp_path, grey):
    bare = dict.fromkeys(("PixelData", "Rows", "Columns", "BitsAllocated"))
    assert code(ultrasound(tmp_path / "report", pixels=grey, **bare)) == "not-an-image"
    assert code(ultrasound(tmp_path / "none", pixels=grey, PixelData=None)) == "no-pixels"
    floats = {"PixelData": None, "FloatPixelData": b"\0" * (4 * grey.size)}
    assert code(ultrasound(tmp_path / "float", pixels=grey, **floats)) == "no-pixels"
    assert code(ultrasound(tmp_path / "blank", pixels=np.full((40, 40), 7, np.uint8))) == "blank"
    assert code(ultrasound(tmp_path / "long", pixels=np.zeros((32, 400), np.uint8))) == "extreme-aspect"
    assert code(ultrasound(tmp_path / "small", pixels=np.zeros((31, 40), np.uint8))) == "too-small"


@pytest.mark.parametrize("syntax", [*ENCODED, JPEGBaseline8Bit])
def test_a_wrong_syntax_never_gives_pixels(tmp_path, grey, syntax):
    """Every pair of declared and real syntax, plain pixels among them."""
    right = ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=syntax).read_bytes()
    for declared in (ExplicitVRLittleEndian, *ENCODED, JPEGBaseline8Bit):
        if declared == syntax:
            continue
        old, new = (each.encode() + b"\0" * (len(each) % 2) for each in (syntax, declared))
        head = b"\x02\0\x10\0UI"
        wrong = right.replace(head + struct.pack("<H", len(old)) + old, head + struct.pack("<H", len(new)) + new)
        (tmp_path / "b").write_bytes(wrong)
        assert code(tmp_path / "b") == "wrong-transfer-syntax"
    plain = ultrasound(tmp_path / "c", pixels=grey, transfer_syntax=syntax, frames=[grey.tobytes()])
    assert code(plain) in ("wrong-transfer-syntax", "truncated")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.3", "nonsense"])
def test_syntaxes_without_decoder_are_refused(tmp_path, grey, syntax):
    path = ultrasound(tmp_path / "a", pixels=grey)
    old = ExplicitVRLittleEndian.encode()
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    head = b"\x02\0\x10\0UI"
    content = path.read_bytes().replace(
        head + struct.pack("<H", len(old) + 1) + old + b"\0", head + struct.pack("<H", len(new)) + new
    )
    path.write_bytes(content)
    assert code(path) == "no-decoder"


@pytest.mark.parametrize("syntax", [*ENCODED, JPEGBaseline8Bit])
def test_truncated_frames_give_no_pixels(tmp_path, syntax):
    drawn = np.random.default_rng(4).integers(0, 256, (48, 64)).astype(np.uint8)
    whole = ultrasound(tmp_path / "a", pixels=drawn, transfer_syntax=syntax)
    with opened(whole) as file:
        frame = located_frames(file, layout_of(file.dataset, file.syntax)).read(0).rstrip(b"\0")
    for n_kept in sorted({2, 10, 40, 64, 65, len(frame) // 2, len(frame) * 9 // 10, len(frame) - 3}):
        path = ultrasound(tmp_path / "b", pixels=drawn, transfer_syntax=syntax, frames=[frame[:n_kept]])
        assert code(path) in ("truncated", "wrong-transfer-syntax", "undecodable", "fragments-contradict"), n_kept
    content = whole.read_bytes()
    for n_kept in range(len(content) - 9, len(content) - len(frame) - 40, -97):
        (tmp_path / "c").write_bytes(content[:n_kept])
        assert code(tmp_path / "c") in ("truncated", "no-pixels"), n_kept


def test_a_gap_in_jpeg_2000_is_found(tmp_path):
    drawn = np.random.default_rng(4).integers(0, 256, (48, 64)).astype(np.uint8)
    path = ultrasound(tmp_path / "a", pixels=drawn, transfer_syntax=JPEG2000Lossless)
    with opened(path) as file:
        frame = located_frames(file, layout_of(file.dataset, file.syntax)).read(0).rstrip(b"\0")
    path = ultrasound(
        tmp_path / "b", pixels=drawn, transfer_syntax=JPEG2000Lossless, frames=[frame[:900] + frame[1400:]]
    )
    assert code(path) == "truncated"


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless])
def test_a_compressed_frame_of_another_size_is_refused(tmp_path, grey, syntax):
    path = ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=syntax, Rows=40)
    assert code(path) == "pixel-data-length"
    path = ultrasound(tmp_path / "b", pixels=grey, transfer_syntax=syntax, Columns=80)
    assert code(path) == "pixel-data-length"


def test_fragments_that_do_not_add_up_are_refused(tmp_path, grey):
    frame = jpeg(grey)
    frame += b"\0" * (len(frame) % 2)

    def made(content: bytes, n_frames: int = 1) -> Path:
        tags = {"content": content, "NumberOfFrames": n_frames}
        return ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=JPEGBaseline8Bit, **tags)

    expected = pixels(made(encapsulate([frame])))
    assert (pixels(made(encapsulate([frame], fragments_per_frame=4))) == expected).all()
    assert (pixels(made(encapsulate([frame, frame], fragments_per_frame=3), 2)) == expected).all()
    assert (pixels(made(encapsulate([frame, frame], has_bot=False), 2)) == expected).all()
    assert code(made(encapsulate([frame, frame]), 3)) == "fragments-contradict"
    assert code(made(encapsulate([frame, frame, frame], has_bot=False), 2)) == "fragments-contradict"
    table = bytearray(encapsulate([frame, frame]))
    for offset in (2, 0, 4_000_000_000):
        table[12:16] = struct.pack("<I", offset)
        assert code(made(bytes(table), 2)) == "fragments-contradict"


# Files


def test_what_is_not_dicom_is_never_forced(tmp_path, grey):
    path = tmp_path / "a"
    path.write_bytes(b"\0" * 400)
    assert not is_dicom(path)
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "absent")
    assert code(path) == "not-dicom"
    path.write_bytes(ultrasound(tmp_path / "b", pixels=grey).read_bytes()[132:])
    assert code(path) == "not-dicom"


def test_every_truncation_is_refused(tmp_path, grey):
    content = ultrasound(tmp_path / "a", pixels=grey, regions=[region(0, 0, 63, 47)]).read_bytes()
    for n_kept in [*range(1, len(content) - grey.size, 7), *range(len(content) - grey.size, len(content), 301)]:
        (tmp_path / "b").write_bytes(content[:n_kept])
        assert code(tmp_path / "b")


def test_flipped_bytes_of_the_header_never_escape(tmp_path, grey):
    content = ultrasound(tmp_path / "a", pixels=grey, regions=[region(0, 0, 63, 47)]).read_bytes()
    draw = np.random.default_rng(5)
    n_read, reasons = 0, ""
    for _ in range(400):
        damaged = bytearray(content)
        for place in draw.integers(128, len(content) - grey.size, size=3):
            damaged[place] = draw.integers(256)
        (tmp_path / "b").write_bytes(damaged)
        try:
            n_read += len(read_dicom(tmp_path / "b", WHOLE).frames)
        except RefusedPicture as refusal:
            reasons += refusal.reason
    assert n_read > 20
    assert not any(secret in reasons for secret in SECRETS)


def test_a_deflate_bomb_is_refused_before_it_grows(tmp_path, grey):
    path = ultrasound(tmp_path / "a", pixels=grey, transfer_syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = content.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    start += start % 2
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(b"\0" * 10_000_000) for _ in range(30)) + squeeze.flush()
    path.write_bytes(content[:start] + bomb)
    assert code(path) == "inflates-too-much"
    path.write_bytes(content[: len(content) - 40])
    assert code(path) == "truncated"
    path.write_bytes(content[:start] + b"\xff" * 100)
    assert code(path) == "corrupt-dicom"


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("depth", [40, 300, 5000])
def test_deep_sequences_are_refused(tmp_path, grey, depth, defined):
    content = ultrasound(tmp_path / "a", pixels=grey).read_bytes()
    sequence, item = struct.pack("<HH2sH", 0x0040, 0xA730, b"SQ", 0), struct.pack("<HH", 0xFFFE, 0xE000)
    if defined:
        nested = b""
        for _ in range(depth):
            nested = item + struct.pack("<I", len(nested)) + nested
            nested = sequence + struct.pack("<I", len(nested)) + nested
    else:
        nested = (sequence + b"\xff" * 4 + item + b"\xff" * 4) * depth
        nested += (struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)) * depth
    place = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
    (tmp_path / "a").write_bytes(content[:place] + nested + content[place:])
    started = time.perf_counter()
    assert code(tmp_path / "a") == "sequence-too-deep"
    assert time.perf_counter() - started < 5


def test_dicomdir_is_refused(tmp_path, grey):
    path = ultrasound(tmp_path / "a", pixels=grey)
    path.write_bytes(
        path.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.6.1\0", b"1.2.840.10008.1.3.10\0\0\0\0\0\0\0\0", 1)
    )
    assert code(path) == "dicomdir"


def test_what_is_left_behind_is_named(tmp_path, grey):
    path = ultrasound(tmp_path / "a", pixels=grey, preamble=b"MZ" + b"\0" * 126)
    ds = pydicom.dcmread(path)
    ds.add_new(0x60000010, "US", 48)
    ds.add_new(0x60003000, "OW", b"\xff" * 384)
    block = ds.private_block(0x0011, "Doe", create=True)
    nested = Dataset()
    nested.private_block(0x0013, "Doe", create=True).add_new(1, "LO", "Doe")
    block.add_new(2, "SQ", [nested])
    ds.save_as(path)
    assert fixes(path) == ("preamble-dropped", "private-tags-dropped", "overlay-dropped")
    assert (pixels(path) == grey).all()


# Words


def test_identity_view_and_side(tmp_path, grey):
    view, side = Dataset(), Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "G-A117", "SRT", "anything"
    side.CodeValue, side.CodingSchemeDesignator, side.CodeMeaning = "40867004", "SCT", "anything"
    tags = {
        "IssuerOfPatientID": " H1 ",
        "AccessionNumber": "A\\B",
        "Manufacturer": "Maker",
        "ManufacturerModelName": "M1 ",
        "ViewCodeSequence": [view],
        "AnatomicRegionSequence": [side],
    }
    picture = read_dicom(ultrasound(tmp_path / "a", pixels=grey, patient_id=" MRN1\0", **tags), WHOLE)
    identity = picture.identity
    assert (identity.patient_id, identity.issuer, identity.accession_number) == ("MRN1", "H1", "A\\B")
    assert (identity.study_instance_uid, identity.series_instance_uid) == ("2.25.2", "2.25.3")
    assert (picture.view, picture.laterality, picture.device) == ("transverse", "isthmus", "Maker M1")


@pytest.mark.parametrize(
    ("tags", "view", "side"),
    [
        ({"SeriesDescription": "Thyroid LEFT lobe, trans."}, "transverse", "left"),
        ({"ProtocolName": "right_long"}, "longitudinal", "right"),
        ({"ImageComments": "sagittal isthmus"}, "longitudinal", "isthmus"),
        ({"SeriesDescription": "left and right, trans + long"}, None, None),
        ({"SeriesDescription": "Longfellow, Transfer, Wright"}, None, None),
        ({"SeriesDescription": "left", "ImageLaterality": "R"}, None, "right"),
        ({"Laterality": "B"}, None, None),
        ({}, None, None),
    ],
)
def test_only_our_words_are_said(tmp_path, grey, tags, view, side):
    picture = read_dicom(ultrasound(tmp_path / "a", pixels=grey, **tags), WHOLE)
    assert (picture.view, picture.laterality) == (view, side)


def test_bad_character_sets_keep_patients_apart(tmp_path, grey):
    found = set()
    for letter in (b"\xd0", b"\xd1"):
        for charset in (b"ISO_IR 999", b"ISO_IR 192", b"\xff\xfe nonsen"):
            path = ultrasound(tmp_path / "a", pixels=grey, SpecificCharacterSet="ISO_IR 100", patient_id="MRNx")
            content = path.read_bytes().replace(b"MRNx", b"MRN" + letter)
            content = content.replace(b"CS\x0a\0ISO_IR 100", b"CS" + struct.pack("<H", len(charset)) + charset)
            path.write_bytes(content)
            picture = read_dicom(path, WHOLE)
            found.add(picture.identity.patient_id)
            assert ("charset-unknown" in picture.frames[0].fixes) == (charset != b"ISO_IR 192")
    assert found == {"MRNÐ", "MRNÑ"}
    named = ultrasound(tmp_path / "b", pixels=grey, SpecificCharacterSet="ISO_IR 144", patient_id="Иван")
    assert read_dicom(named, WHOLE).identity.patient_id == "Иван"


# Real files


def real(name: str) -> Path:
    path = get_testdata_file(name)
    if path is None:
        pytest.skip(f"{name} is not on this disk")
    return Path(path)


@pytest.mark.parametrize(
    ("name", "twin", "number"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb.dcm", 0),
        ("SC_rgb_rle.dcm", "SC_rgb.dcm", 0),
        ("SC_rgb_rle_2frame.dcm", "SC_rgb_2frame.dcm", 1),
        ("SC_rgb_expb_2frame.dcm", "SC_rgb_2frame.dcm", 1),
        ("US1_J2KR.dcm", "US1_UNCR.dcm", 0),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
        ("MR_small_RLE.dcm", "MR_small.dcm", 0),
        ("MR_small_bigendian.dcm", "MR_small.dcm", 0),
        ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm", 7),
        ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm", 1),
        ("OBXXXX1A_expb_2frame.dcm", "OBXXXX1A_2frame.dcm", 1),
        ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm", 0),
    ],
)
def test_a_picture_stored_in_two_syntaxes_is_one(name, twin, number):
    plain = pydicom.dcmread(real(twin))
    expected = plain.pixel_array[number] if int(plain.get("NumberOfFrames") or 1) > 1 else plain.pixel_array
    assert (stored(real(name), number) == expected).all()
    assert (stored(real(twin), number) == expected).all()


def test_palettes_of_both_byte_orders_give_one_picture():
    little, big = (
        read_dicom(real(name), KEEP).frames[0] for name in ("gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm")
    )
    assert (little.pixels == big.pixels).all()
    assert little.pixels.shape == (392, 304)


@pytest.mark.parametrize(
    ("name", "plugin", "largest"),
    [
        ("examples_ybr_color.dcm", "gdcm", 2),
        ("color3d_jpeg_baseline.dcm", "gdcm", 2),
        ("examples_jpeg2k.dcm", "gdcm", 0),
        ("US1_J2KI.dcm", "gdcm", 1),
        ("US1_J2KR.dcm", "pillow", 0),
        ("examples_rgb_color.dcm", "", 0),
        ("ExplVR_BigEnd.dcm", "", 0),
        ("color-pl.dcm", "", 0),
        ("color-px.dcm", "", 0),
        ("OBXXXX1A_rle.dcm", "pydicom", 0),
    ],
)
def test_real_ultrasound_agrees_with_a_second_decoder(name, plugin, largest):
    path = real(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on an old syntax
        expected = pydicom.pixels.pixel_array(path, index=0, decoding_plugin=plugin)
    assert np.abs(stored(path).astype(int) - expected).max() <= largest


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("examples_rgb_color.dcm", "no-ultrasound-region"),
        ("examples_palette.dcm", "region-outside-image"),
        ("examples_ybr_color.dcm", "region-outside-image"),
        ("ExplVR_BigEnd.dcm", "no-patient-id"),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", "no-patient-id"),
        ("JPGExtended.dcm", "no-decoder"),
        ("MR_truncated.dcm", "truncated"),
        ("reportsi.dcm", "not-an-image"),
        ("waveform_ecg.dcm", "not-an-image"),
        ("DICOMDIR", "dicomdir"),
        ("rtdose.dcm", "bits-unsupported"),
        ("no_meta.dcm", "not-dicom"),
        ("meta_missing_tsyntax.dcm", "no-transfer-syntax"),
    ],
)
def test_real_files_are_refused_with_their_reason(name, word):
    assert code(real(name), KEEP if word == "no-decoder" else DicomSettings()) == word


def test_real_flow_is_told_from_real_marks():
    for name in ("US1_UNCI.dcm", "US1_J2KI.dcm", "examples_rgb_color.dcm"):
        assert code(real(name)) == "colour-doppler"
    for name in ("OBXXXX1A.dcm", "gdcm-US-ALOKA-16.dcm", "color3d_jpeg_baseline.dcm"):
        assert read_dicom(real(name), DicomSettings()).frames


def test_every_file_of_pydicom_is_read_or_refused_in_silence(capfd):
    folders = {real("CT_small.dcm").parent, real("examples_overlay.dcm").parent}
    data = pydicom.data.get_testdata_file("US1_UNCR.dcm")
    folders |= {Path(data).parent} if data else set()
    n_used = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
            if path.name.startswith(("RG", "MR2")):
                continue  # large plates, a second each
            try:
                picture = read_dicom(path, KEEP)
            except RefusedPicture:
                continue
            n_used += 1
            assert all(set(frame.fixes) <= set(FIXES) for frame in picture.frames)
    assert n_used > 40
    assert capfd.readouterr() == ("", "")
