"""The files of pydicom's test data: equal to a second decoder, or refused with their reason."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from csasn.cohort.ledger import FIXES
from csasn.config import DicomSettings
from csasn.decoding.dicom.frames import read_dicom
from csasn.decoding.refused import RefusedPicture
from tests.support.dicom_reading import KEEP, code, stored


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
