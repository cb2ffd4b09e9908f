"""DICOM files as a whole: what is none, what is hidden or too deep in them, and the words that are read."""

import struct
import time
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from csasn.decoding.dicom.frames import is_dicom, read_dicom
from csasn.decoding.refused import RefusedPicture
from tests.support.dicom_objects import region, ultrasound
from tests.support.dicom_reading import (
    SECRETS,
    WHOLE,
    code,
    fixes,
    pixels,
)

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
    path = ultrasound(tmp_path / "a", pixels=grey, patient_id=" MRN1\0", **tags)
    picture, written = read_dicom(path, WHOLE), pydicom.dcmread(path)
    identity = picture.identity
    assert (identity.patient_id, identity.issuer, identity.accession_number) == ("MRN1", "H1", "A\\B")
    assert (identity.study_instance_uid, identity.series_instance_uid) == (
        written.StudyInstanceUID,
        written.SeriesInstanceUID,
    )
    assert identity.study_instance_uid.startswith("2.25.")
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
