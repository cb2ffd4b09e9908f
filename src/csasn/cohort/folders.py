"""A tree of class folders becomes cohort rows; every file below it is a row or a refusal."""

import os
import re
from pathlib import Path, PurePosixPath

import polars as pl

from csasn.cohort.labels import Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.names import IMAGE_FOLDERS, LITTER_FOLDERS, MaskNames, is_litter
from csasn.cohort.rows import DEFAULT_SITE
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

PARTITION_NAME = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev|tuning|hold[ _-]?out)([ _-]?(set|data|images?|split))?"
    r"|(fold|split|cv)[ _-]?\d+"
)


def class_folders(source: Path, words: Vocabulary) -> dict[str, str]:
    """The sub-folders named after a class: folder name -> class."""
    found = {entry.name: words.find(entry.name) for entry in source.iterdir() if entry.is_dir()}
    return {name: label for name, label in sorted(found.items()) if label is not None}


def folder_rows(source: Path, words: Vocabulary) -> tuple[pl.DataFrame, tuple[LedgerRow, ...], tuple[str, ...]]:
    """Rows, refusals and notes of SOURCE/<class>/<image> or SOURCE/<class>/<patient>/<image>.

    A level called images is no patient: SOURCE/<class>/images/<image> may have SOURCE/<class>/masks/<image> beside it.
    A file without a patient folder is a patient of its own. One patient folder name in two classes is one patient.
    Raises BadInputError where a sub-folder is not named after a class, or two name the same.
    """
    _check_class_folders(source, words)
    labels = class_folders(source, words)
    rows: list[dict[str, object]] = []
    refused: list[LedgerRow] = []
    paths, unreadable = files_below(source)
    _refuse_partition_folders(paths)
    refused += [
        LedgerRow(item=_shown(name), code="unreadable", reason="the folder cannot be read") for name in unreadable
    ]
    masks = MaskNames(paths)
    for path in paths:
        if refusal := _refusal(path, source, masks):
            refused.append(refusal)
            continue
        label = labels[path.parts[0]]
        between = [part for part in path.parts[1:-1] if part.lower() not in IMAGE_FOLDERS]
        with_patient = bool(between)
        patient = between[0] if with_patient else str(path)
        rows.append(
            {
                "image_path": str(path),
                "site": DEFAULT_SITE,
                "patient_id": patient,
                "nodule_id": f"{patient}/{label}" if with_patient else patient,
                "malignant": words.malignant_by_class[label],
                "subtype": label,
            }
        )
    if not rows:
        raise BadInputError(
            f"The class folders of {source} hold no picture (files found: {len(paths)}). {NOTHING_WRITTEN}"
        )
    return pl.DataFrame(rows, infer_schema_length=None), tuple(refused), _notes(rows)


def _refuse_partition_folders(paths: list[PurePosixPath]) -> None:
    """Raise BadInputError for folders train, val or test inside a class: a patient's name would be taken from them."""
    found = {
        str(PurePosixPath(*path.parts[: place + 1]))
        for path in paths
        for place, name in enumerate(path.parts[:-1])
        if place and PARTITION_NAME.fullmatch(name.casefold())
    }
    if found:
        raise BadInputError(
            "Inside a class folder lie pictures or patient folders, so that a partition is not taken for one patient. "
            f"These folders are named after partitions:\n{listing([_shown(name) for name in sorted(found)])}\n"
            "Write a table with the columns image_path, patient_id, label and split_hint (train, tuning, test), or "
            f"move the pictures up. {NOTHING_WRITTEN}"
        )


def _notes(rows: list[dict[str, object]]) -> tuple[str, ...]:
    n_alone = sum(row["patient_id"] == row["image_path"] for row in rows)
    notes: list[str] = []
    if n_alone:
        notes.append(
            f"{n_alone} of {len(rows)} images lie directly in their class folder: each was taken for a patient of its "
            "own. Where several are of one patient, the split leaks: put them into one patient folder."
        )
    if n_alone < len(rows):
        notes.append("Patients are the sub-folders of the class folders; one name in two classes is one patient.")
    return tuple(notes)


def _check_class_folders(source: Path, words: Vocabulary) -> None:
    if not source.is_dir():
        raise BadInputError(f"The layout folders needs a folder of class folders; received {source}.")
    folders = (entry.name for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    names = sorted(name for name in folders if name.lower() not in LITTER_FOLDERS)
    unknown = [f"{_shown(name)}{words.suggestion(name)}" for name in names if words.find(name) is None]
    labels = [words.find(name) for name in names]
    twice = [
        f"{name} ({label})" for name, label in zip(names, labels, strict=True) if label and labels.count(label) > 1
    ]
    if unknown or twice or not names:
        raise BadInputError(
            f"Every folder in {source} is named after one class ({', '.join(words.malignant_by_class)}), each once. "
            f"These are unknown or repeated:\n{listing(unknown + twice) or '  - (no folders at all)'}\n"
            f"Rename them, or declare their names as malignant or non-malignant classes. {NOTHING_WRITTEN}"
        )


def files_below(source: Path) -> tuple[list[PurePosixPath], list[str]]:
    """Every file and every linked folder, relative and sorted, and the folders that cannot be listed.

    What macOS and Windows leave behind is no item: `is_litter` files, and folders called so.
    """
    unreadable: list[str] = []
    paths: list[PurePosixPath] = []

    def note(error: OSError) -> None:
        unreadable.append(os.path.relpath(error.filename, source))

    for folder, folders, names in os.walk(source, onerror=note):
        base = Path(folder)
        folders[:] = [name for name in folders if name.lower() not in LITTER_FOLDERS]
        names = [name for name in names if not is_litter(base / name)]
        linked = [name for name in folders if (base / name).is_symlink()]
        paths += [PurePosixPath((base / name).relative_to(source)) for name in names + linked]
    return sorted(paths), sorted(unreadable)


def unusable(path: PurePosixPath, source: Path) -> tuple[str, str] | None:
    """Code and reason where a file's name or place forbids opening it; None where it may be opened."""
    if _shown(str(path)) != str(path):
        return "name-not-utf8", "its name is not UTF-8 text; rename it"
    try:
        inside = (source / path).resolve().is_relative_to(source.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    return None if inside else ("outside-source", "a link that leads out of the source, or to itself")


def _refusal(path: PurePosixPath, source: Path, masks: MaskNames) -> LedgerRow | None:
    """Why a file below the source is not a row, known without opening it; None where it may be a picture."""
    shown = _shown(str(path))
    if found := unusable(path, source):
        return LedgerRow(item=shown, code=found[0], reason=found[1])
    if len(path.parts) == 1 or path.parts[0].startswith("."):
        return LedgerRow(item=shown, code="no-class", reason="it lies in no class folder")
    if image := masks.image_of(path):
        return LedgerRow(item=shown, code="mask-not-image", reason=f"the mask of {image}, by its name")
    return None


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
