"""Whose picture a DICOM file is: what no cohort may hold, kept apart so that it is seen where it goes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Identifiers of a file, stripped, empty where absent; they leave ingest only as keyed hashes."""

    patient_id: str
    issuer: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    accession_number: str
