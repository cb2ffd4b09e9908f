"""Fang Dai's thyroid carcinomas by subtype: Thyroid/{FTC,MTC,PTC}/ with one picture a file, no masks, no table.

Known from a public protocol that sealed a download of huggingface.co/datasets/FangDai/Thyroid_Ultrasound_Images (100
FTC, 99 MTC, 99 PTC below Thyroid/, though the readme speaks of 900), and from scripts that read FTC/ and PTC/ to any
depth. Not confirmed: the names of the files. The authors' related code (Tiger-Model) names pictures
20191101_094744_1.png, a date, a time and a view; where names have this form, the views of one examination are one
patient, and otherwise each image is.
"""

import re
from pathlib import Path, PurePosixPath

from csasn.cohort.labels import Vocabulary
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import PICTURES, gathered, home_of, required_home, tree_of, visible
from csasn.cohort.source import Source

TOP = "Thyroid"
REQUIRED = {"FTC", "MTC", "PTC"}
ALLOWED = {name.casefold() for name in REQUIRED | {"benign"}}
EXAMINATION = re.compile(r"(?P<examination>\d{8}_\d{6})_\d+")
ALONE = (
    "No patient ids: {n} of {of} images, whose names show no examination, were taken for patients of their own. Where "
    "several are of one patient, the split leaks."
)
TOGETHER = "Images with one date and time in their names were taken for one patient; the names were not documented."
NO_BENIGN = "The set has carcinomas only: a cohort that is to learn benign from malignant needs other images beside it."


def _looks(folder: Path) -> bool:
    names = {entry.name for entry in visible(folder / TOP) if entry.is_dir()}
    return names >= REQUIRED and {name.casefold() for name in names} <= ALLOWED


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _source(folder: Path, words: Vocabulary) -> Source:
    tree = tree_of(required_home(folder, _looks, FANGDAI))
    rows: list[dict[str, object]] = []
    for path in tree.paths:
        place = PurePosixPath(path)
        if len(place.parts) < 3 or place.parts[0] != TOP or place.suffix.lower() not in PICTURES:
            continue
        label = words.find(place.parts[1])
        if label is None or any(part.startswith(".") for part in place.parts):
            continue
        name = EXAMINATION.fullmatch(place.stem)
        patient = name["examination"] if name else path
        rows.append(
            {
                "image_path": path,
                "site": FANGDAI.name,
                "patient_id": patient,
                "nodule_id": f"{patient}/{label}" if name else path,
                "patient_assumed": None if name else True,
                "malignant": words.malignant_by_class[label],
                "subtype": label,
            }
        )
    n_alone = sum(row["patient_assumed"] is not None for row in rows)
    notes = [ALONE.format(n=n_alone, of=len(rows))] if n_alone else []
    notes += [TOGETHER] if n_alone < len(rows) else []
    notes += [] if any(not row["malignant"] for row in rows) else [NO_BENIGN]
    return gathered(FANGDAI, tree, rows, (), notes=notes)


FANGDAI = PublishedSet(
    name="fangdai",
    title="Fang Dai's Thyroid_Ultrasound_Images: Thyroid/ with FTC/, MTC/, PTC/",
    citation=(
        "Yao S, Dai F, Sun P, Zhang W, Qian B, Lu H. Enhancing the fairness of AI prediction models by Quasi-Pareto "
        "improvement among heterogeneous thyroid nodule population. Nature Communications 15 (2024) 1958."
    ),
    licence="not stated by its authors; access after registration and a data use agreement (research, no "
    "redistribution, no re-identification)",
    url="https://huggingface.co/datasets/FangDai/Thyroid_Ultrasound_Images",
    recognised=_recognised,
    source=_source,
)
