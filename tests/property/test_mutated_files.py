"""Files with flipped, cut, inserted and overwritten bytes are refused with a known code or read, never a crash."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from csasn.cohort.dicom_items import read_dicom_item
from csasn.cohort.items import Item, Reading, read_item, read_picture_item
from tests.faults.encoders import DEFLATE, bmp, png, tiff
from tests.faults.objects import named
from tests.faults.pictures import COLOUR, DEEP, JPEG_GREY, PROGRESSIVE
from tests.faults.sources import GREY, HEIGHT, WHOLE, WIDTH
from tests.support.dicom_objects import ultrasound

LEDGER = Path(__file__).parents[2] / "docs/reference/ledger.md"
LIMIT_MS = 10_000
PICTURES = {
    "png": png(GREY),
    "png-16-bit": png(DEEP, depth=16),
    "jpeg": JPEG_GREY,
    "jpeg-progressive": PROGRESSIVE,
    "tiff": tiff(DEEP),
    "tiff-deflate": tiff(GREY, order=">", compression=DEFLATE),
    "bmp": bmp(COLOUR, WIDTH, HEIGHT),
}
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "jpeg": JPEGBaseline8Bit,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
    "run-length": RLELossless,
}
# Syntaxes that hold what another one's encoder writes, too.
WIDER = {
    "jpeg-lossless-any": (JPEGLossless, JPEGLosslessSV1),
    "jpeg-ls-near": (JPEGLSNearLossless, JPEGLSLossless),
    "jpeg-2000-lossy": (JPEG2000, JPEG2000Lossless),
}

Change = Callable[[bytes], bytes]
share = st.floats(0, 1, exclude_max=True)
beginning = st.floats(0, 0.3)  # where the headers are


def flip(place: float, bit: int) -> Change:
    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :] if content else content

    return change


def cut(place: float, n: int) -> Change:
    """Without `n` bytes from a place on; 0 is all the rest."""

    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + (content[at + n :] if n else b"")

    return change


def insert(place: float, more: bytes, over: int) -> Change:
    """With bytes inserted, over as many others as asked."""

    def change(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + more + content[at + over :]

    return change


place = share | beginning
words = st.binary(min_size=1, max_size=8) | st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x80\0"])
changes = st.lists(
    st.builds(flip, place, st.integers(0, 7))
    | st.builds(cut, place, st.integers(0, 300))
    | st.builds(insert, place, words, st.just(0))
    | words.flatmap(lambda more: st.builds(insert, place, st.just(more), st.just(len(more)))),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def known_codes() -> set[str]:
    return set(re.findall(r"`([a-z0-9-]+)`", LEDGER.read_text(encoding="utf-8").split("## Fixed")[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated")


def changed(content: bytes, by: list[Change]) -> bytes:
    for change in by:
        content = change(content)
    return content


def refused_or_read(reading: Reading, known_codes: set[str]) -> None:
    assert reading.shots or reading.refused
    for _, code, reason in reading.refused:
        assert code in known_codes
        assert reason
    for shot in reading.shots:
        assert min(shot.width_px, shot.height_px) >= 32
        assert len(shot.pixel_sha256) == 64


def check_pictures(kind: str, n: int, folder: Path, known_codes: set[str]) -> None:
    sound, path = PICTURES[kind], folder / f"{kind}.bin"
    path.write_bytes(sound)
    item = Item(path=path, kind="picture", reader=read_picture_item, declared_sha256=hashlib.sha256(sound).hexdigest())
    assert read_item(item).shots

    @settings(max_examples=n, deadline=LIMIT_MS, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(by=changes)
    def holds(by: list[Change]) -> None:
        content = changed(sound, by)
        path.write_bytes(content)
        refused_or_read(read_item(replace(item, declared_sha256=None)), known_codes)
        assert bool(read_item(item).shots) == (content == sound)

    holds()


def check_objects(kind: str, n: int, folder: Path, known_codes: set[str]) -> None:
    path, cohort = folder / f"{kind}.dcm", folder / f"{kind}-cohort"
    cohort.mkdir(exist_ok=True)
    if kind in SYNTAXES:
        ultrasound(path, pixels=GREY, transfer_syntax=SYNTAXES[kind])
    else:
        named(*WIDER[kind])(path)
    sound = path.read_bytes()
    item = Item(path=path, kind="dicom", reader=read_dicom_item, cohort=cohort, kept="images/x", dicom=WHOLE.dicom)
    assert read_item(item).shots

    @settings(max_examples=n, deadline=LIMIT_MS, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(by=changes)
    def holds(by: list[Change]) -> None:
        path.write_bytes(changed(sound, by))
        refused_or_read(read_item(item), known_codes)

    holds()


@pytest.mark.parametrize("kind", PICTURES)
def test_mutated_pictures(kind: str, folder: Path, known_codes: set[str]) -> None:
    check_pictures(kind, 60, folder, known_codes)


@pytest.mark.parametrize("kind", [*SYNTAXES, *WIDER])
def test_mutated_objects(kind: str, folder: Path, known_codes: set[str]) -> None:
    check_objects(kind, 60, folder, known_codes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PICTURES)
def test_many_mutated_pictures(kind: str, folder: Path, known_codes: set[str]) -> None:
    check_pictures(kind, 2000, folder, known_codes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SYNTAXES, *WIDER])
def test_many_mutated_objects(kind: str, folder: Path, known_codes: set[str]) -> None:
    check_objects(kind, 2000, folder, known_codes)
