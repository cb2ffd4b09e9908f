"""DICOM of every transfer syntax becomes the right grey pixels, or is refused where it contradicts itself."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
)

from csasn.decoding.dicom.fragments import located_frames
from csasn.decoding.dicom.layout import layout_of
from csasn.decoding.dicom.opening import opened
from tests.support.dicom_objects import jpeg, ultrasound
from tests.support.dicom_reading import (
    ENCODED,
    code,
    pixels,
    stored,
)

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
