"""Which plane and side a picture shows, in our own words: no word of the file leaves it."""

import re
from collections.abc import Sequence

from pydicom.dataset import Dataset

from csasn.decoding.dicom.identity import text_of

# Codes of SNOMED CT and of its older retired form in DICOM (SRT), as in PS3.16.
VIEW_CODES = {
    "62824007": "transverse",
    "G-A117": "transverse",
    "38717003": "longitudinal",
    "G-A143": "longitudinal",
    "30730003": "longitudinal",
    "G-A145": "longitudinal",
}
VIEW_WORDS = {
    "transverse": "transverse",
    "trans": "transverse",
    "longitudinal": "longitudinal",
    "long": "longitudinal",
    "sagittal": "longitudinal",
}
SIDE_CODES = {
    "7771000": "left",
    "G-A101": "left",
    "79163004": "left",
    "24028007": "right",
    "G-A100": "right",
    "29565003": "right",
    "40867004": "isthmus",
}
SIDE_WORDS = {"left": "left", "right": "right", "isthmus": "isthmus"}
SIDE_LETTERS = {"L": "left", "R": "right"}
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "ImageComments")


def view_of(dataset: Dataset) -> str | None:
    """transverse or longitudinal, by the view's code, else by one of these words alone in a description."""
    said = _coded(dataset, "ViewCodeSequence", VIEW_CODES, VIEW_WORDS)
    said = said or _words(text_of(dataset, "ViewPosition"), VIEW_WORDS)
    return _one(said or _described(dataset, VIEW_WORDS))


def laterality_of(dataset: Dataset) -> str | None:
    """left, right or isthmus, by the laterality's letter, a code, else by one of these words alone in a description."""
    said = {SIDE_LETTERS.get(text_of(dataset, name)) for name in ("ImageLaterality", "Laterality")} - {None}
    said = said or _coded(dataset, "AnatomicRegionSequence", SIDE_CODES, SIDE_WORDS)
    return _one(said or _described(dataset, SIDE_WORDS))


def _one(said: set[str | None]) -> str | None:
    return said.pop() if len(said) == 1 else None


def _coded(dataset: Dataset, name: str, codes: dict[str, str], words: dict[str, str]) -> set[str | None]:
    """What the items of a code sequence, and of the modifiers in it, say."""
    found: set[str | None] = set()
    items = dataset.get(name)
    for item in items if isinstance(items, Sequence) else ():
        code = codes.get(text_of(item, "CodeValue"))
        found |= {code} if code else _words(text_of(item, "CodeMeaning"), words)
        found |= _coded(item, "AnatomicRegionModifierSequence", codes, words)
    return found


def _described(dataset: Dataset, words: dict[str, str]) -> set[str | None]:
    found: set[str | None] = set()
    for name in DESCRIPTIONS:
        found |= _words(text_of(dataset, name), words)
    return found


def _words(text: str, words: dict[str, str]) -> set[str | None]:
    return {words[word] for word in re.findall(r"[^\W\d_]+", text.lower()) if word in words}
