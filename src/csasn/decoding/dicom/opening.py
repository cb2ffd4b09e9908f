"""A DICOM file is parsed within limits: never forced, never inflated without bound, never deeper than it needs."""

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import gdcm
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from csasn.decoding.dicom.layout import NATIVE, PLUGINS
from csasn.decoding.dicom.preamble import PREAMBLE_BYTES
from csasn.decoding.pictures import refuse_unopenable
from csasn.decoding.refused import RefusedPicture

MAX_HEAD_BYTES = 1 << 20  # of the elements before the data set
MAX_INFLATED_BYTES = 256_000_000
MAX_SEQUENCE_DEPTH = 32
DEFERRED_BYTES = 1 << 20  # longer values, which are never pictures here, stay on the disk
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")

# The parser's remarks quote values, and values may name a patient: what matters is checked here and in decoding.py.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
for _quiet in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
    _quiet()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The elements before the pixels, the file's preamble and syntax, and its stream, which stands at the pixels."""

    dataset: Dataset
    preamble: bytes
    syntax: UID
    stream: BinaryIO
    private_tags: bool
    """Whether private elements stand in it, in a sequence or not."""


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A DICOM file parsed up to its pixels, which stay on the disk.

    Raises RefusedPicture with not-a-regular-file, unreadable, empty-file, file-too-large, not-dicom, dicomdir,
    no-transfer-syntax, wrong-transfer-syntax, inflates-too-much, sequence-too-deep, truncated, corrupt-dicom.
    """
    refuse_unopenable(path)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error.strerror}") from None
    with stream:
        yield _opened(stream)


def _opened(stream: BinaryIO) -> Opened:
    try:
        head = stream.read(MAX_HEAD_BYTES)
        if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
            raise RefusedPicture("not-dicom", "the letters DICM do not follow its first 128 bytes; it was not forced")
        kind, syntax, start = _file_meta(head)
        if kind == MediaStorageDirectoryStorage:
            raise RefusedPicture("dicomdir", "an index of other files; the paths in it are not followed")
        stream.seek(start)
        if syntax in (*NATIVE, *PLUGINS):
            _refuse_other_order(stream, UID(syntax))
        if syntax == DeflatedExplicitVRLittleEndian:
            stream.seek(start)
            stream = _inflated(stream)
            dataset = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixels)
        else:
            stream.seek(0)
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, defer_size=DEFERRED_BYTES)
        private = _walked(dataset)
        return Opened(
            dataset=dataset, preamble=head[:PREAMBLE_BYTES], syntax=UID(syntax), stream=stream, private_tags=private
        )
    except (RefusedPicture, MemoryError):
        raise
    except RecursionError:
        raise RefusedPicture("sequence-too-deep", f"over {MAX_SEQUENCE_DEPTH} sequences within each other") from None
    except (EOFError, struct.error) as error:
        raise RefusedPicture("truncated", f"the file ends within an element ({type(error).__name__})") from None
    except Exception as error:  # hostile bytes make the parser raise nearly anything
        raise RefusedPicture("corrupt-dicom", f"the parser gave up ({type(error).__name__})") from None


def _file_meta(head: bytes) -> tuple[str, str, int]:
    """SOP class, transfer syntax and place of the data set; group 2 is always explicit VR little endian."""
    place, found = PREAMBLE_BYTES + 4, {b"\x02\x00": "", b"\x10\x00": ""}
    while head[place : place + 2] == b"\x02\x00":
        element, vr = head[place + 2 : place + 4], head[place + 4 : place + 6]
        size, form = (12, "<I") if vr in LONG_VRS else (8, "<H")
        (n_bytes,) = struct.unpack_from(form, head, place + size - struct.calcsize(form))
        if element in found:
            found[element] = head[place + size : place + size + n_bytes].decode("ascii", "replace").strip("\0 ")
        place += size + n_bytes
    kind, syntax = found.values()
    if not syntax:
        raise RefusedPicture("no-transfer-syntax", "without it the bytes have no certain meaning; it was not forced")
    return kind, syntax, place


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 - pydicom's signature
    return tag in PIXELS


def _inflated(stream: BinaryIO) -> BinaryIO:
    inflator, inflated = zlib.decompressobj(wbits=-zlib.MAX_WBITS), bytearray()
    try:
        while not inflator.eof and (piece := inflator.unconsumed_tail or stream.read(1 << 20)):
            inflated += inflator.decompress(piece, MAX_INFLATED_BYTES + 1 - len(inflated))
            if len(inflated) > MAX_INFLATED_BYTES:
                raise RefusedPicture("inflates-too-much", f"its deflated part holds over {MAX_INFLATED_BYTES} bytes")
    except zlib.error:
        raise RefusedPicture("corrupt-dicom", "its deflated part does not inflate") from None
    if not inflator.eof:
        raise RefusedPicture("truncated", "its deflated part stops before its end")
    return io.BytesIO(inflated)


def _refuse_other_order(stream: BinaryIO, syntax: UID) -> None:
    """Tell by its first element, which belongs to group 8 in any picture, that a data set is coded as it says."""
    first = stream.read(4096)
    little, big, deflated = first.startswith(b"\x08\0"), first.startswith(b"\0\x08"), False
    if not little and not big and syntax != DeflatedExplicitVRLittleEndian:
        try:
            deflated = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(first, 2) == b"\x08\0"
        except zlib.error:
            deflated = False
    if syntax == DeflatedExplicitVRLittleEndian:
        wrong = little or big
    else:
        explicit = first[4:6].isalpha() and first[4:6].isupper()  # where implicit ones have the length, never so large
        wrong = deflated or (little if syntax == ExplicitVRBigEndian else big)
        wrong |= (little or big) and explicit == (syntax == ImplicitVRLittleEndian)
    if wrong:
        raise RefusedPicture("wrong-transfer-syntax", f"its first element is not coded by transfer syntax {syntax}")


def _walked(dataset: Dataset) -> bool:
    """Walk every sequence without recursion, elements that are no sequences unparsed: whether any tag is private."""
    private = False
    waiting = [(dataset, 0)]
    while waiting:
        each, depth = waiting.pop()
        if depth > MAX_SEQUENCE_DEPTH:
            raise RefusedPicture("sequence-too-deep", f"over {MAX_SEQUENCE_DEPTH} sequences within each other")
        for tag in list(each.keys()):
            private |= tag.is_private
            vr = each.get_item(tag, keep_deferred=True).VR
            if vr is None and dictionary_has_tag(tag):
                vr = dictionary_VR(tag)
            if vr == "SQ":
                waiting += [(item, depth + 1) for item in each[tag].value or ()]
    return private
