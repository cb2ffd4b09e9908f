"""A DICOM file is parsed within limits: never forced, never inflated without bound, never deeper than it needs."""

import io
import logging
import struct
import zlib
from pathlib import Path

import gdcm
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from csasn.cohort.ledger import RefusedPicture
from csasn.cohort.pictures import refuse_unopenable

MAX_FILE_BYTES = 600_000_000  # with the grey frames beside it, an item stays under 1 GiB
MAX_INFLATED_BYTES = 256_000_000
MAX_SEQUENCE_DEPTH = 32
PREAMBLE_BYTES = 128

# The parser's remarks quote values, and values may name a patient: what matters is checked here and in decoding.py.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
for _quiet in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
    _quiet()


def is_dicom(path: Path) -> bool:
    """Whether a regular file has the letters DICM after its preamble."""
    try:
        with path.open("rb") as stream:
            stream.seek(PREAMBLE_BYTES)
            return stream.read(4) == b"DICM"
    except (OSError, ValueError):
        return False


def open_dataset(path: Path) -> tuple[Dataset, bytes]:
    """The parsed file and its preamble.

    Raises RefusedPicture with not-a-regular-file, unreadable, empty-file, file-too-large, not-dicom, dicomdir,
    inflates-too-much, sequence-too-deep, truncated, corrupt-dicom.
    """
    refuse_unopenable(path)
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise RefusedPicture("file-too-large", f"{n_bytes} bytes; the cap is {MAX_FILE_BYTES}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error.strerror}") from error
    if content[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        raise RefusedPicture("not-dicom", "the letters DICM do not follow its first 128 bytes; it was not forced")
    try:
        dataset = _parsed(content)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise RefusedPicture("dicomdir", "an index of other files; the paths in it are not followed")
        _refuse_deep(dataset)
    except RefusedPicture:
        raise
    except RecursionError:
        raise RefusedPicture("sequence-too-deep", f"over {MAX_SEQUENCE_DEPTH} sequences within each other") from None
    except (EOFError, struct.error) as error:
        raise RefusedPicture("truncated", f"the file ends within an element ({type(error).__name__})") from None
    except Exception as error:
        raise RefusedPicture("corrupt-dicom", f"the parser gave up ({type(error).__name__})") from None
    return dataset, content[:PREAMBLE_BYTES]


def _parsed(content: bytes) -> Dataset:
    syntax, start = _transfer_syntax(content)
    if syntax != DeflatedExplicitVRLittleEndian:
        return pydicom.dcmread(io.BytesIO(content))
    dataset = read_dataset(io.BytesIO(_inflated(content[start:])), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _transfer_syntax(content: bytes) -> tuple[str, int]:
    """Transfer syntax of a file, and where its data set begins; group 2 is always explicit VR little endian."""
    place, syntax = PREAMBLE_BYTES + 4, ""
    while content[place : place + 2] == b"\x02\x00":
        element, vr = content[place + 2 : place + 4], content[place + 4 : place + 6]
        long = vr in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        head, form = (12, "<I") if long else (8, "<H")
        (n_bytes,) = struct.unpack_from(form, content, place + head - struct.calcsize(form))
        if element == b"\x10\x00":
            syntax = content[place + head : place + head + n_bytes].decode("ascii", "replace").strip("\0 ")
        place += head + n_bytes
    if not syntax:
        raise RefusedPicture("no-transfer-syntax", "without it the bytes have no certain meaning; it was not forced")
    return syntax, place


def _inflated(content: bytes) -> bytes:
    inflator = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        inflated = inflator.decompress(content, MAX_INFLATED_BYTES)
    except zlib.error:
        raise RefusedPicture("corrupt-dicom", "its deflated part does not inflate") from None
    if inflator.unconsumed_tail:
        raise RefusedPicture("inflates-too-much", f"its deflated part holds over {MAX_INFLATED_BYTES} bytes")
    if not inflator.eof:
        raise RefusedPicture("truncated", "its deflated part stops before its end")
    return inflated


def _refuse_deep(dataset: Dataset) -> None:
    """Walk every sequence without recursion; elements that are no sequences stay unparsed."""
    waiting = [(dataset, 0)]
    while waiting:
        each, depth = waiting.pop()
        if depth > MAX_SEQUENCE_DEPTH:
            raise RefusedPicture("sequence-too-deep", f"over {MAX_SEQUENCE_DEPTH} sequences within each other")
        for tag in list(each.keys()):
            if each.get_item(tag).VR in ("SQ", None):
                element = each[tag]
                if element.VR == "SQ":
                    waiting += [(item, depth + 1) for item in element.value or ()]
