"""TN5000, 5,000 thyroid nodules with boxes in Pascal VOC form, benign or malignant by needle biopsy and pathology.

JPEGImages/000001.jpg, Annotations/000001.xml (<object><name>0</name><bndbox>...; 0 benign, 1 malignant),
ImageSets/Main/{train,val,test,trainval}.txt (one number a line). Known from public loaders of TN5000_forReview.zip
(figshare 28455641) and an inventory of it (3,500 / 500 / 1,000 images). Not confirmed: whether a patient has several
images; there is no patient id.
"""

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path, PurePosixPath

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.annotation_xml import parsed, text_of
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import Tree, gathered, home_of, required_home, tree_of, visible
from csasn.cohort.source import Source
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"
IMAGE = re.compile(r"(?P<number>\d+)\.jpe?g", re.IGNORECASE)
CLASSES = {
    "0": UNSPECIFIC_BENIGN,
    "benign": UNSPECIFIC_BENIGN,
    "1": UNSPECIFIC_MALIGNANT,
    "malignant": UNSPECIFIC_MALIGNANT,
}
PARTITIONS = {"train": "train", "val": "tuning", "test": "test"}
NOTES = (
    "No patient ids: each image was taken for a patient of its own. Where several images are of one patient, the split "
    "leaks.",
    "A box is not a mask: the boxes of the annotations were not taken over.",
)


def _looks(folder: Path) -> bool:
    return (folder / LISTS).is_dir() and all(
        any(pattern.fullmatch(entry.name) for entry in visible(folder / name))
        for name, pattern in ((IMAGES, IMAGE), (ANNOTATIONS, re.compile(r"\d+\.xml")))
    )


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _source(folder: Path, words: Vocabulary) -> Source:
    tree = tree_of(required_home(folder, _looks, TN5000))
    partitions = _partitions(tree)
    documents = {PurePosixPath(path).stem: path for path in tree.within(ANNOTATIONS) if path.endswith(".xml")}
    images = {
        PurePosixPath(path).stem: path for path in tree.within(IMAGES) if IMAGE.fullmatch(PurePosixPath(path).name)
    }
    rows: list[dict[str, object]] = []
    ledger: list[LedgerRow] = []
    for number, path in images.items():
        try:
            label = _label(tree, documents.get(number))
        except RefusedPicture as refusal:
            ledger.append(LedgerRow(item=path, code=refusal.code, reason=f"{number}.xml: {refusal.reason}"))
            continue
        rows.append(
            {
                "image_path": path,
                "site": TN5000.name,
                "patient_id": path,
                "nodule_id": path,
                "patient_assumed": True,
                "malignant": words.malignant_by_class[label],
                "subtype": label,
                "split_hint": partitions.get(number),
            }
        )
    ledger += [
        LedgerRow(item=path, code="no-image", reason=f"there is no {IMAGES}/{number}.jpg")
        for number, path in documents.items()
        if number not in images
    ]
    return gathered(TN5000, tree, rows, ledger, notes=NOTES)


def _label(tree: Tree, path: str | None) -> str:
    """The class of all objects of an annotation; RefusedPicture where there is none, or not one."""
    if path is None:
        raise RefusedPicture("no-annotation", "it is missing")
    root: ET.Element = parsed(tree.document(path))
    names = sorted({text_of(each, "name").casefold() for each in root.findall("object")})
    if unknown := [name for name in names if name not in CLASSES]:
        raise RefusedPicture("no-label", f"its objects are named {', '.join(map(repr, unknown))}, not 0 or 1")
    labels = {CLASSES[name] for name in names}
    if len(labels) != 1:
        raise RefusedPicture(
            *(("ambiguous-label", "benign and malignant objects") if labels else ("no-label", "no object"))
        )
    return labels.pop()


def _partitions(tree: Tree) -> dict[str, str]:
    """Partition by image number; BadInputError where a number stands in two lists."""
    listed: defaultdict[str, list[str]] = defaultdict(list)
    for name in PARTITIONS:
        path = f"{LISTS}/{name}.txt"
        if path not in tree.paths:
            continue
        try:
            text = tree.document(path).decode("utf-8-sig", errors="replace")
        except RefusedPicture as refusal:
            raise BadInputError(f"{tree.root / path} cannot be read ({refusal}). {NOTHING_WRITTEN}") from None
        for number in dict.fromkeys(line.split()[0] for line in text.splitlines() if line.strip()):
            listed[number].append(name)
    if wrong := [f"{number}: {', '.join(names)}" for number, names in listed.items() if len(names) > 1]:
        raise BadInputError(
            f"An image stands in one partition. The lists of {tree.root / LISTS} share:\n{listing(wrong)}\n"
            f"Restore them as they were distributed. {NOTHING_WRITTEN}"
        )
    return {number: PARTITIONS[name] for number, (name,) in listed.items()}


TN5000 = PublishedSet(
    name="tn5000",
    title="TN5000: JPEGImages/000001.jpg, Annotations/000001.xml (VOC), ImageSets/Main/{train,val,test}.txt",
    citation=(
        "Zhang H, Liu Q, Han X, Niu L, Sun W. TN5000: an ultrasound image dataset for thyroid nodule detection and "
        "classification. Scientific Data 12 (2025), doi 10.1038/s41597-025-05757-4; data doi "
        "10.6084/m9.figshare.28455641."
    ),
    licence="CC BY 4.0, as public inventories of the figshare record state",
    url="https://doi.org/10.6084/m9.figshare.28455641",
    recognised=_recognised,
    source=_source,
)
