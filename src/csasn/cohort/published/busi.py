"""BUSI, breast ultrasound: as distributed (three class folders, masks beside the images), and as stored here.

Distributed: Dataset_BUSI_with_GT/{benign,malignant,normal}/{benign (1).png, benign (1)_mask.png,
benign (1)_mask_1.png}. Known from the loaders of many public repositories; not checked against the distribution.
Stored (shared/data/README.md): labels.csv with image, mask, label and dup_group; read from the real files.
"""

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

import polars as pl

from csasn.cohort.labels import Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import gathered, home_of, required_home, tree_of, visible
from csasn.cohort.source import Source
from csasn.cohort.tables import table_rows

BUSI_TABLE = "labels.csv"
BUSI_SITE = "busi"
BUSI_COLUMNS = {"image_path": "image", "mask_path": "mask", "label": "label", "patient_id": "dup_group"}
BUSI_CITATION = (
    "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A. Dataset of breast ultrasound images. Data in Brief 28 (2020) 104863, "
    "doi 10.1016/j.dib.2019.104863. Licence as MedMNIST (BreastMNIST) and MedIMeta record it: CC BY 4.0."
)
BREAST_NOTE = "Breast, not thyroid: it shows that the pipeline learns from real speckle, not that it knows thyroid."
BUSI_NOTES = (
    BREAST_NOTE,
    "There are no patient ids: dup_group joins near-duplicate images and stands in for the patient and the nodule.",
    "Changed from the published set: grey, resized, renamed, masks of one image merged, contradicting copies dropped.",
)
DISTRIBUTED_NOTES = (
    BREAST_NOTE,
    "There are no patient ids: each image was taken for a patient of its own. The set holds near-duplicates, some with "
    "contradicting labels, so patients may be shared between partitions unless near-duplicates are dealt together.",
)
CLASSES = ("benign", "malignant", "normal")
NAME = re.compile(r"(?P<image>(?P<label>benign|malignant|normal) \(\d+\))(?P<mask>_mask(_(?P<number>\d+))?)?\.png")


def is_busi(folder: Path) -> bool:
    """Whether a folder holds labels.csv with the columns image, mask, label and dup_group."""
    table = folder / BUSI_TABLE
    if not table.is_file():
        return False
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as stream:
            header = [name.strip() for name in stream.readline(10_000).split(",")]
    except OSError:
        return False
    return set(BUSI_COLUMNS.values()) <= set(header)


def _is_distributed(folder: Path) -> bool:
    names = {label: visible(folder / label) for label in CLASSES if (folder / label).is_dir()}
    return len(names) == len(CLASSES) and any(NAME.fullmatch(entry.name) for entry in names["benign"])


def _looks(folder: Path) -> bool:
    return is_busi(folder) or _is_distributed(folder)


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _source(folder: Path, words: Vocabulary) -> Source:
    home = required_home(folder, _looks, BUSI)
    if is_busi(home):
        table = table_rows(home / BUSI_TABLE, BUSI_COLUMNS, words)
        return Source(
            rows=table.rows.with_columns(site=pl.lit(BUSI_SITE)),
            root=home,
            layout=BUSI.name,
            refused=table.fixes,
            citation=BUSI_CITATION,
            licence=BUSI.licence,
            notes=(*BUSI_NOTES, *table.notes),
        )
    return _distributed(home, words)


def _distributed(home: Path, words: Vocabulary) -> Source:
    tree = tree_of(home)
    images: dict[str, str] = {}  # path -> label
    masks: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)  # image's path -> (number, path)
    for path in tree.paths:
        place = PurePosixPath(path)
        name = NAME.fullmatch(place.name)
        if name is None or str(place.parent) != name["label"]:
            continue
        if name["mask"]:
            masks[str(place.with_name(f"{name['image']}.png"))].append((int(name["number"] or 0), path))
        else:
            images[path] = name["label"]
    rows = []
    for path, label in images.items():
        ordered = [mask for _, mask in sorted(masks[path])]
        rows.append(
            {
                "image_path": path,
                "site": BUSI.name,
                "patient_id": path,
                "nodule_id": path,
                "patient_assumed": True,
                "malignant": words.malignant_by_class[label],
                "subtype": label,
                "mask_path": ordered[0] if ordered else None,
                "mask_paths": ordered[1:] or None,
            }
        )
    refused = [
        LedgerRow(item=mask, code="mask-not-image", reason="a mask, by its name, whose image is not there")
        for image, found in masks.items()
        if image not in images
        for _, mask in found
    ]
    return gathered(
        BUSI,
        tree,
        rows,
        refused,
        used=[mask for found in masks.values() for _, mask in found],
        notes=DISTRIBUTED_NOTES,
        kept=any(row["mask_paths"] for row in rows),
    )


BUSI = PublishedSet(
    name=BUSI_SITE,
    title="BUSI: benign/, malignant/, normal/ with 'benign (1).png' and '..._mask.png', or labels.csv (image, mask, "
    "label, dup_group)",
    citation=BUSI_CITATION,
    licence="CC BY 4.0, as MedMNIST (BreastMNIST) and MedIMeta record it",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    recognised=_recognised,
    source=_source,
)
