"""Which part and which frames of a DICOM file are taken: regions, spacing, colour flow, loops."""

import struct
import time

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    RLELossless,
)

from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import chosen_frames, read_dicom
from tests.support.dicom_objects import region, ultrasound
from tests.support.dicom_reading import (
    KEEP,
    WHOLE,
    code,
    fixes,
    pixels,
)

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
