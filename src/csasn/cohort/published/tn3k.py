"""TN3K, thyroid nodules with masks, and with diagnoses where the label files of the classification release are there.

trainval-image/0000.jpg, trainval-mask/0000.jpg, test-image/, test-mask/, tn3k-trainval-fold0.json ({"train": [numbers],
"val": [numbers]}), label4trainval.csv and label4test.csv (0000.jpg,0 without a header; 0 benign, 1 malignant). Known
from public loaders, and from two inventories of the unpacked archive (huggingface.co/datasets/haifan-gong/TN3K: 2879
and 614 images). The set was made for segmentation; the label files come with the ACL release (chenghui-666/ACL), and
how those diagnoses were reached could not be confirmed.
"""

import csv
import io
import re
from pathlib import Path, PurePosixPath

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import Tree, gathered, home_of, required_home, tree_of, visible
from csasn.cohort.source import Source
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing
from csasn.files import read_json

PARTS = ("trainval", "test")
IMAGE = re.compile(r"(?P<number>\d+)\.(jpe?g|png)", re.IGNORECASE)
FOLD = "tn3k-trainval-fold0.json"
CLASSES = {"0": UNSPECIFIC_BENIGN, "1": UNSPECIFIC_MALIGNANT}
NOTES = (
    "No patient ids: the 3,493 images are of 2,421 patients, and each image was taken for a patient of its own. Splits "
    "dealt here may share patients between partitions; the set's own test part does not, say its authors.",
    "Diagnoses are those of label4trainval.csv and label4test.csv (0 benign, 1 malignant); how they were reached could "
    "not be confirmed. A mask joins all nodules of an image.",
)


def _looks(folder: Path) -> bool:
    return all((folder / f"{part}-{kind}").is_dir() for part in PARTS for kind in ("image", "mask")) and any(
        IMAGE.fullmatch(entry.name) for entry in visible(folder / "trainval-image")
    )


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _source(folder: Path, words: Vocabulary) -> Source:
    tree = tree_of(required_home(folder, _looks, TN3K))
    labels = {part: _labels(tree, f"label4{part}.csv") for part in PARTS}
    if not any(labels.values()):
        raise BadInputError(
            f"A cohort needs diagnoses. {tree.root} is TN3K as made for segmentation: images and masks, no "
            "label4trainval.csv or label4test.csv, so it cannot make a cohort by itself. Add the label files of the "
            f"classification release, or give a table of your own. {NOTHING_WRITTEN}"
        )
    partitions = _fold(tree)
    rows: list[dict[str, object]] = []
    ledger: list[LedgerRow] = []
    used: set[str] = set()
    for part in PARTS:
        images, masks = _numbered(tree, f"{part}-image"), _numbered(tree, f"{part}-mask")
        for name, path in images.items():
            used.update({path, masks.get(name, path)})
            label = labels[part].get(name)
            if label not in CLASSES:
                reason = "no row in the label file" if label is None else f"its label is {label!r}, not 0 or 1"
                ledger.append(LedgerRow(item=path, code="no-label", reason=f"label4{part}.csv: {reason}"))
                continue
            hint = "test" if part == "test" else partitions.get(int(PurePosixPath(name).stem))
            rows.append(
                {
                    "image_path": path,
                    "site": TN3K.name,
                    "patient_id": path,
                    "nodule_id": path,
                    "patient_assumed": True,
                    "malignant": words.malignant_by_class[CLASSES[label]],
                    "subtype": CLASSES[label],
                    "mask_path": masks.get(name),
                    "split_hint": hint,
                }
            )
        ledger += [
            LedgerRow(item=path, code="mask-not-image", reason=f"a mask without {part}-image/{name}")
            for name, path in masks.items()
            if name not in images
        ]
        ledger += [
            LedgerRow(item=f"{part}-image/{name}", code="no-image", reason=f"label4{part}.csv names it; it is missing")
            for name in labels[part]
            if name not in images
        ]
    return gathered(TN3K, tree, rows, ledger, used=used, notes=NOTES)


def _numbered(tree: Tree, folder: str) -> dict[str, str]:
    """The numbered pictures of a folder: name -> path."""
    names = {PurePosixPath(path).name: path for path in tree.within(folder)}
    return {name: path for name, path in names.items() if IMAGE.fullmatch(name)}


def _labels(tree: Tree, name: str) -> dict[str, str]:
    """Label cell by image name; empty where the file is not there. BadInputError for an image with two labels."""
    if name not in tree.paths:
        return {}
    try:
        text = tree.document(name).decode("utf-8-sig", errors="replace")
        lines = list(csv.reader(io.StringIO(text)))
    except (RefusedPicture, csv.Error) as error:
        raise BadInputError(f"{tree.root / name} cannot be read ({error}): restore it. {NOTHING_WRITTEN}") from None
    labels: dict[str, str] = {}
    wrong: list[str] = []
    for number, cells in enumerate(lines, start=1):
        if not any(cell.strip() for cell in cells) or (number == 1 and not IMAGE.fullmatch(cells[0].strip())):
            continue  # an empty line, or a header
        image, label = cells[0].strip(), cells[1].strip().removesuffix(".0") if len(cells) > 1 else ""
        if labels.setdefault(image, label) != label:
            wrong.append(f"line {number}: {image} is {label}, and {labels[image]} before")
    if wrong:
        raise BadInputError(f"An image has one label. In {tree.root / name}:\n{listing(wrong)}\n{NOTHING_WRITTEN}")
    return labels


def _fold(tree: Tree) -> dict[int, str]:
    """Partition by image number, as the first of the set's five folds declares it; all train where it is missing."""
    if FOLD not in tree.paths:
        return {int(PurePosixPath(name).stem): "train" for name in _numbered(tree, "trainval-image")}
    content = read_json(tree.root / FOLD)
    partitions: dict[int, str] = {}
    for key, partition in (("train", "train"), ("val", "tuning")):
        numbers = content.get(key)
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise BadInputError(f"{tree.root / FOLD} holds lists of image numbers, train and val; {key} is none.")
        if shared := [str(number) for number in numbers if number in partitions]:
            raise BadInputError(f"An image stands in one partition; {tree.root / FOLD} repeats:\n{listing(shared)}")
        partitions |= dict.fromkeys(numbers, partition)
    return partitions


TN3K = PublishedSet(
    name="tn3k",
    title="TN3K: trainval-image/, trainval-mask/, test-image/, test-mask/, label4trainval.csv, label4test.csv",
    citation=(
        "Gong H, Chen J, Chen G, Li H, Li G, Chen F. Thyroid region prior guided attention for ultrasound segmentation "
        "of thyroid nodules. Computers in Biology and Medicine 155 (2023) 106389, doi 10.1016/j.compbiomed.2022.106389."
    ),
    licence="MIT, as the Hugging Face copy haifan-gong/TN3K states; none in the paper's repository",
    url="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
    recognised=_recognised,
    source=_source,
)
