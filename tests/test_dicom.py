"""DICOM ultrasound becomes the right grey pixels, or is refused with a code; identifiers stay outside."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from csasn.cohort.dicom.opening import is_dicom
from csasn.cohort.dicom.reading import read_dicom
from csasn.cohort.ledger import FIXES, RefusedPicture
from csasn.config import DicomSettings

WHOLE = DicomSettings(no_region="whole-image")
KEEP = DicomSettings(no_region="whole-image", colour_doppler="keep")


def region(x0: int, y0: int, x1: int, y1: int, *, kind: int = 1, delta: float = 0.01) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, kind, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = delta
    return item


def ultrasound(path: Path, values: np.ndarray, *, syntax=ExplicitVRLittleEndian, n_frames: int = 1, **tags) -> Path:
    """A DICOM object of stored values (..., H, W) or (..., H, W, 3); `tags` override any element, None removes it."""
    colour = values.shape[-1] == 3
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "2.25.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID, ds.Modality = "2.25.2", "2.25.3", "MRN1", "US"
    shape = values.shape[-3:-1] if colour else values.shape[-2:]
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * values.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    if n_frames > 1:
        ds.NumberOfFrames = n_frames
    big = syntax == ExplicitVRBigEndian
    content = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()
    ds.PixelData = tags.pop("PixelData", content + b"\0" * (len(content) % 2))
    for name, value in tags.items():
        if value is None:
            del ds[name]
        else:
            setattr(ds, name, value)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 or not isinstance(values, np.ndarray) else "OW"
    ds.save_as(
        path,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=not big,
        enforce_file_format=True,
    )
    return path


@pytest.fixture
def grey() -> np.ndarray:
    """A smooth picture without anything like a letter."""
    rows, columns = np.mgrid[0:48, 0:64]
    return (rows * 3 + columns).astype(np.uint8)


def pixels(path: Path, settings: DicomSettings = WHOLE) -> np.ndarray:
    return read_dicom(path, settings).frames[0].pixels


def code(path: Path, settings: DicomSettings = WHOLE) -> str:
    with pytest.raises(RefusedPicture) as refusal:
        read_dicom(path, settings)
    assert "MRN1" not in refusal.value.reason
    return refusal.value.code


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_native_syntaxes_come_as_stored(tmp_path, grey, syntax):
    assert (pixels(ultrasound(tmp_path / "a.dcm", grey, syntax=syntax)) == grey).all()


def test_run_length_and_jpeg(tmp_path, grey):
    ds = pydicom.dcmread(ultrasound(tmp_path / "a.dcm", grey))
    ds.compress(RLELossless, encoding_plugin="pylibjpeg")
    ds.save_as(tmp_path / "rle.dcm")
    assert (pixels(tmp_path / "rle.dcm") == grey).all()
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=100)
    frame = (tmp_path / "a.jpg").read_bytes()
    path = ultrasound(tmp_path / "j.dcm", grey, syntax=JPEGBaseline8Bit, PixelData=encapsulate([frame]))
    assert (pixels(path) == np.asarray(Image.open(tmp_path / "a.jpg"))).all()
    for name, cut in (("half", frame[: len(frame) // 2]), ("end", frame[:-2])):
        path = ultrasound(tmp_path / f"{name}.dcm", grey, syntax=JPEGBaseline8Bit, PixelData=encapsulate([cut]))
        assert code(path) == "truncated"


def test_monochrome1_is_inverted_once(tmp_path, grey):
    path = ultrasound(tmp_path / "a.dcm", grey, PhotometricInterpretation="MONOCHROME1")
    assert (pixels(path) == 255 - grey).all()
    assert "monochrome1-inverted" in read_dicom(path, WHOLE).frames[0].fixes


def test_palette_gives_colours_not_indices(tmp_path):
    indices = np.repeat(np.arange(4, dtype=np.uint8), 12)[:, None].repeat(64, axis=1)
    red, green, blue = ([0, 200, 10, 90], [0, 10, 220, 90], [0, 30, 40, 90])
    tables = {}
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = struct.pack("<4H", *(each * 257 for each in entries))
    path = ultrasound(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **tables)
    # ITU-R 601 as Pillow rounds it: (299 R + 587 G + 114 B) / 1000
    expected = np.array([0, 69, 137, 90], dtype=np.uint8)[indices]
    assert np.abs(pixels(path, KEEP).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_is_converted_once(tmp_path, photometric):
    """Y 100, Cb 90, Cr 240: R = 100 + 1.402 * 112 = 257 -> 255, G = 100 + .344 * 38 - .714 * 112 = 33, B = 33."""
    ybr = np.zeros((48, 64, 3), dtype=np.uint8)
    ybr[:] = (100, 90, 240)
    ybr[:, 32:] = (60, 128, 128)
    extra = {}
    if photometric == "YBR_FULL_422":
        halves = ybr.reshape(48, 32, 2, 3)
        packed = np.stack([halves[:, :, 0, 0], halves[:, :, 1, 0], halves[:, :, 0, 1], halves[:, :, 0, 2]], axis=-1)
        extra["PixelData"] = packed.tobytes()
    path = ultrasound(tmp_path / "a.dcm", ybr, PhotometricInterpretation=photometric, **extra)
    found = pixels(path, KEEP)
    assert abs(int(found[0, 0]) - round(0.299 * 255 + 0.587 * 33 + 0.114 * 33)) <= 1
    assert (found[:, 32:] == 60).all()


def test_planes_and_pixels_interleave_the_same(tmp_path, grey):
    colour = np.stack([grey, grey, grey], axis=-1)
    planes = np.moveaxis(colour, -1, 0).tobytes()
    path = ultrasound(tmp_path / "a.dcm", colour, PlanarConfiguration=1, PixelData=planes)
    assert (pixels(path) == grey).all()


def test_more_than_8_bits_are_windowed(tmp_path, grey):
    wide = grey.astype(np.uint16) * 16
    least, most = int(wide.min()), int(wide.max())
    expected = np.rint((wide.astype(float) - least) / (most - least) * 255)
    stored = {"BitsStored": 12, "HighBit": 11}
    assert (pixels(ultrasound(tmp_path / "a.dcm", wide, **stored)) == expected).all()
    window = {"WindowCenter": 2048, "WindowWidth": 1024}
    share = np.clip((wide.astype(float) - 2047.5) / 1023 + 0.5, 0, 1)
    assert (pixels(ultrasound(tmp_path / "b.dcm", wide, **stored, **window)) == np.rint(share * 255)).all()
    signed = wide.astype(np.int16) - 1000
    assert (pixels(ultrasound(tmp_path / "c.dcm", signed)) == expected).all()
    dirty = wide | 0xF000  # an old overlay in the upper bits
    assert (pixels(ultrasound(tmp_path / "d.dcm", dirty, **stored)) == expected).all()


def test_regions_crop_and_calibrate(tmp_path, grey):
    path = ultrasound(tmp_path / "a.dcm", grey, SequenceOfUltrasoundRegions=[region(10, 5, 49, 44)])
    frame = read_dicom(path, DicomSettings()).frames[0]
    assert (frame.pixels == grey[5:45, 10:50]).all()
    assert frame.pixel_spacing_mm == pytest.approx(0.1)
    beside = [region(0, 0, 31, 47), region(32, 0, 63, 46), region(0, 0, 60, 46, kind=3)]
    path = ultrasound(tmp_path / "b.dcm", grey, SequenceOfUltrasoundRegions=beside)
    assert (pixels(path, DicomSettings()) == grey[:, :32]).all()
    path = ultrasound(tmp_path / "c.dcm", grey, SequenceOfUltrasoundRegions=[region(10, 5, 90, 44)])
    assert code(path) == "region-outside-image"
    flow = [region(0, 0, 63, 47), region(20, 20, 30, 30, kind=2)]
    assert code(ultrasound(tmp_path / "d.dcm", grey, SequenceOfUltrasoundRegions=flow)) == "colour-doppler"
    squeezed = region(0, 0, 63, 47)
    squeezed.PhysicalDeltaY = 0.02
    path = ultrasound(tmp_path / "e.dcm", grey, SequenceOfUltrasoundRegions=[squeezed])
    assert code(path) == "anisotropic-pixels"
    assert code(ultrasound(tmp_path / "f.dcm", grey), DicomSettings()) == "no-ultrasound-region"


def test_flow_is_seen_in_the_pixels_and_a_tint_is_not(tmp_path, grey):
    colour = np.stack([grey, grey, grey], axis=-1)
    flow = colour.copy()
    flow[10:30, 10:20], flow[10:30, 20:30] = (220, 20, 10), (20, 40, 230)
    assert code(ultrasound(tmp_path / "a.dcm", flow)) == "colour-doppler"
    tinted = np.stack([grey, (grey * 0.7).astype(np.uint8), (grey * 0.3).astype(np.uint8)], axis=-1)
    assert pixels(ultrasound(tmp_path / "b.dcm", tinted)).shape == grey.shape


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        (DicomSettings(no_region="whole-image"), [3]),
        (DicomSettings(no_region="whole-image", frames="evenly-spaced", n_frames=3), [1, 3, 5]),
        (DicomSettings(no_region="whole-image", frames="all"), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_frames_of_a_loop_are_chosen(tmp_path, grey, settings, numbers):
    loop = np.stack([np.minimum(grey, 200) + step for step in range(7)])
    picture = read_dicom(ultrasound(tmp_path / "a.dcm", loop, n_frames=7), settings)
    assert [frame.number for frame in picture.frames] == numbers
    assert all((frame.pixels == loop[frame.number]).all() for frame in picture.frames)


def test_what_contradicts_itself_is_refused(tmp_path, grey):
    def made(name: str, **tags) -> Path:
        return ultrasound(tmp_path / f"{name}.dcm", grey, **tags)

    assert code(made("rows", Rows=24)) == "pixel-data-length"
    assert code(made("more", Rows=480)) == "pixel-data-length"
    assert code(made("huge", Rows=60000, Columns=60000)) == "too-many-pixels"
    assert code(made("frames", NumberOfFrames=2_000_000)) == "too-many-frames"
    assert code(made("bits", BitsStored=12, HighBit=11)) == "bits-contradict"
    assert code(made("none", PatientID="")) == "no-patient-id"
    assert code(made("blank", PatientID="   ")) == "no-patient-id"
    assert code(made("text", PhotometricInterpretation="CMYK")) == "photometric-unknown"
    path = ultrasound(tmp_path / "native.dcm", grey, syntax=JPEGBaseline8Bit, PixelData=encapsulate([grey.tobytes()]))
    assert code(path) == "wrong-transfer-syntax"
    mpeg = pydicom.uid.MPEG2MPML
    path = ultrasound(tmp_path / "mpeg.dcm", grey, syntax=mpeg, PixelData=encapsulate([b"\0\0\1\xb3" * 8]))
    assert code(path) == "no-decoder"


def test_what_is_not_dicom_is_never_forced(tmp_path, grey):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"\0" * 400)
    assert not is_dicom(path)
    assert code(path) == "not-dicom"
    content = ultrasound(tmp_path / "b.dcm", grey).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert code(path) in ("truncated", "pixel-data-length", "corrupt-dicom")
    path.write_bytes(b"MZ" + content[2:])
    assert "preamble-dropped" in read_dicom(path, WHOLE).frames[0].fixes


def test_a_deflate_bomb_is_refused_before_it_grows(tmp_path, grey):
    path = ultrasound(tmp_path / "a.dcm", grey, syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    place = content.index(DeflatedExplicitVRLittleEndian.encode())
    start = place + len(DeflatedExplicitVRLittleEndian)
    start += start % 2
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeeze.compress(b"\0" * 10_000_000) for _ in range(30)) + squeeze.flush()
    path.write_bytes(content[:start] + bomb)
    assert code(path) in ("inflates-too-much", "corrupt-dicom")


@pytest.mark.parametrize("depth", [40, 300, 1500])
def test_deep_sequences_are_refused(tmp_path, grey, depth):
    content = ultrasound(tmp_path / "a.dcm", grey).read_bytes()
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    nested = (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth
    nested += (struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)) * depth
    place = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
    (tmp_path / "a.dcm").write_bytes(content[:place] + nested + content[place:])
    assert code(tmp_path / "a.dcm") == "sequence-too-deep"


def test_every_file_of_pydicom_is_read_or_refused_in_silence(capfd):
    folder = Path(get_testdata_file("CT_small.dcm")).parent
    settings = DicomSettings(no_region="whole-image", colour_doppler="keep")
    n_used = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                picture = read_dicom(path, settings)
            except RefusedPicture:
                continue
            n_used += 1
            assert all(set(frame.fixes) <= set(FIXES) for frame in picture.frames)
    assert n_used > 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["examples_rgb_color.dcm", "examples_jpeg2k.dcm", "US1_UNCR.dcm"])
def test_real_ultrasound_agrees_with_a_second_decoder(name):
    path = get_testdata_file(name)
    if path is None:
        pytest.skip(f"{name} is not on this disk")
    frame = read_dicom(Path(path), KEEP).frames[0]
    plain = pydicom.dcmread(path)
    if name == "examples_jpeg2k.dcm":
        plain.pixel_array_options(decoding_plugin="gdcm")
    expected = np.asarray(Image.fromarray(plain.pixel_array).convert("L"))
    same = frame.pixels == expected
    assert same.mean() > 0.4, "only masked text may differ; its boxes cover half of this small screen"
    assert frame.pixels[~same].std() < 30
