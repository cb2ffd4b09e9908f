"""Layouts of public data sets, with the citation and licence that go into the certificate."""

from pathlib import Path

BUSI_TABLE = "labels.csv"
BUSI_SITE = "busi"
BUSI_COLUMNS = {"image_path": "image", "mask_path": "mask", "label": "label", "patient_id": "dup_group"}
BUSI_CITATION = (
    "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in Brief 28 (2020) 104863, "
    "doi 10.1016/j.dib.2019.104863. Licence as MedMNIST (BreastMNIST) and MedIMeta record it: CC BY 4.0."
)
BUSI_NOTES = (
    "Breast, not thyroid: it shows that the pipeline learns from real speckle, not that it knows thyroid.",
    "There are no patient ids: dup_group joins near-duplicate images and stands in for the patient and the nodule.",
    "Changed from the published set: grey, resized, renamed, masks of one image merged, contradicting copies dropped.",
)


def is_busi(folder: Path) -> bool:
    """Whether a folder holds labels.csv with the columns image, mask, label and dup_group."""
    table = folder / BUSI_TABLE
    if not table.is_file():
        return False
    with table.open(encoding="utf-8-sig", errors="replace") as stream:
        header = [name.strip() for name in stream.readline().split(",")]
    return set(BUSI_COLUMNS.values()) <= set(header)
