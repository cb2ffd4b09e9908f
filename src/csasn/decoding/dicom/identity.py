"""Whose picture a DICOM file is: what no cohort may hold, kept apart so that it is seen where it goes."""

import unicodedata
import warnings
from dataclasses import dataclass
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from csasn.decoding.refused import RefusedPicture

LINE_ENDS = {0x0A, 0x0C, 0x0D}  # each returns to the first character set, PS3.5 6.1.2.5.3
BYTE_BY_BYTE = "latin-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Identifiers of a file, stripped, empty where absent; they leave ingest only as keyed hashes."""

    patient_id: str
    issuer: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    accession_number: str
    birth_date: str = ""
    sex: str = ""


def identity_of(dataset: Dataset) -> Identity:
    """The identifiers of a file; RefusedPicture with no-patient-id where its patient has none."""
    patient_id = unicodedata.normalize("NFC", text_of(dataset, "PatientID"))
    if not any(map(str.isalnum, patient_id)):  # blank, or signs alone that stand for nothing
        raise RefusedPicture("no-patient-id", "files without a patient are never put under one shared blank patient")
    return Identity(
        patient_id=patient_id,
        issuer=text_of(dataset, "IssuerOfPatientID"),
        study_instance_uid=text_of(dataset, "StudyInstanceUID"),
        series_instance_uid=text_of(dataset, "SeriesInstanceUID"),
        sop_instance_uid=text_of(dataset, "SOPInstanceUID"),
        accession_number=text_of(dataset, "AccessionNumber"),
        birth_date=text_of(dataset, "PatientBirthDate"),
        sex=text_of(dataset, "PatientSex"),
    )


def text_of(dataset: Dataset, name: str) -> str:
    """A text element by keyword, stripped; empty where absent.

    What its character set cannot decode is read byte by byte: a sign of replacement would make two patients one.
    """
    if name not in dataset:
        return ""
    value = dataset.get_item(name).value
    if not isinstance(value, bytes):  # parsed already, by whoever asked before
        value = value if isinstance(value, str) else "\\".join(map(str, value or ()))
        return value.strip("\0 \t\r\n")
    encodings = _encodings(dataset)
    return _decoded(value, encodings or (BYTE_BY_BYTE,)).strip("\0 \t\r\n")


def charset_unknown(dataset: Dataset) -> bool:
    """Whether the file names a character set that does not exist."""
    return _encodings(dataset) is None


def _encodings(dataset: Dataset) -> tuple[str, ...] | None:
    named = dataset.get("SpecificCharacterSet")
    return _python_names((named,) if named is None or isinstance(named, str) else tuple(map(str, named)))


@lru_cache(maxsize=64)
def _python_names(charsets: tuple[str | None, ...]) -> tuple[str, ...] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom would warn and read it as another one
        try:
            return tuple(convert_encodings([each or "" for each in charsets]))
        except Exception:
            return None


def _decoded(value: bytes, encodings: tuple[str, ...]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return decode_bytes(value, encodings, LINE_ENDS)
        except Exception:
            return value.decode(BYTE_BY_BYTE)
