"""DDTI, thyroid nodules with TI-RADS and outlines: 1.xml beside 1_1.jpg, 1_2.jpg, one XML file a case.

<case><number>1</number> ... <tirads>4a</tirads><mark><image>1</image><svg>[{"points": [{"x": 10, "y": 20}, ...],
...}]</svg></mark></case>; mark/image is the number behind the underscore, coordinates are px of the JPEG. Known from
public loaders of the original files (cimalab.unal.edu.co; mirror: Kaggle dasmehdixtr/ddti-thyroid-ultrasound-images)
and from a public importer's tests. Not confirmed: that no outline leaves its picture, and whether two cases may be of
one person (the paper speaks of 389 cases and, elsewhere, of 299 patients).
"""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.annotation_xml import UNREADABLE, parsed, text_of
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import gathered, home_of, required_home, tree_of, visible
from csasn.cohort.source import Source
from csasn.decoding.refused import RefusedPicture

Outline = list[list[float]]  # [x, y] in px, at least three

IMAGE = re.compile(r"(?P<case>\d+)_(?P<view>\d+)\.jpe?g", re.IGNORECASE)
CASE = re.compile(r"(?P<case>\d+)\.xml", re.IGNORECASE)
PROBED_BYTES = 4096
# A surrogate: TI-RADS is a radiologist's estimate of risk. 4a lies between, and is used by nobody in the same way.
CLASS_BY_TIRADS = {
    "2": UNSPECIFIC_BENIGN,
    "3": UNSPECIFIC_BENIGN,
    "4b": UNSPECIFIC_MALIGNANT,
    "4c": UNSPECIFIC_MALIGNANT,
    "5": UNSPECIFIC_MALIGNANT,
}
AMBIGUOUS = "4a"
NOTES = (
    "SURROGATE LABEL BY TI-RADS, NOT HISTOLOGY: 2 and 3 were taken for benign, 4b, 4c and 5 for malignant, 4a was set "
    "aside (ambiguous-label). What is learned or measured here is agreement with a radiologist's risk category; no "
    "figure of it is a sensitivity or specificity for cancer.",
    "One case was taken for one patient and one nodule; a case may show several nodules under one TI-RADS, and two "
    "cases may be of one person.",
    "The masks are the outlines of the XML files, drawn filled; all outlines of an image are united.",
)


def _looks(folder: Path) -> bool:
    entries = {entry.name: entry for entry in visible(folder)}
    cases = {found["case"]: name for name in entries if (found := CASE.fullmatch(name))}
    paired = next(
        (cases[found["case"]] for name in entries if (found := IMAGE.fullmatch(name)) and found["case"] in cases), None
    )
    if paired is None or not entries[paired].is_file():
        return False
    try:
        with entries[paired].open("rb") as stream:
            return b"<case" in stream.read(PROBED_BYTES)
    except OSError:
        return False


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _source(folder: Path, words: Vocabulary) -> Source:
    tree = tree_of(required_home(folder, _looks, DDTI))
    documents = {found["case"]: path for path in tree.within("") if (found := CASE.fullmatch(path))}
    images = {path: found for path in tree.within("") if (found := IMAGE.fullmatch(path))}
    cases: dict[str, tuple[str, dict[str, list[Outline]]] | RefusedPicture] = {}
    rows: list[dict[str, object]] = []
    ledger: list[LedgerRow] = []
    for number, path in documents.items():
        try:
            cases[number] = _case(parsed(tree.document(path)), number)
        except RefusedPicture as refusal:
            cases[number] = refusal
    for path, name in images.items():
        case = cases.get(name["case"])
        if case is None or isinstance(case, RefusedPicture):
            case = case or RefusedPicture("no-annotation", f"there is no {name['case']}.xml")
            ledger.append(LedgerRow(item=path, code=case.code, reason=f"{name['case']}.xml: {case.reason}"))
            continue
        label, outlines = case
        drawn = [outline for outline in outlines.get(name["view"], []) if len(outline) >= 3]
        if len(drawn) < len(outlines.get(name["view"], [])):
            ledger.append(_dropped(path))
        rows.append(
            {
                "image_path": path,
                "site": DDTI.name,
                "patient_id": name["case"],
                "nodule_id": name["case"],
                "malignant": words.malignant_by_class[label],
                "subtype": label,
                "outlines": drawn or None,
            }
        )
    ledger += _without_image({(name["case"], name["view"]) for name in images.values()}, cases, documents)
    return gathered(DDTI, tree, rows, ledger, notes=NOTES, kept=True)


def _case(root: ET.Element, number: str) -> tuple[str, dict[str, list[Outline]]]:
    """Class and outlines by view of one case; RefusedPicture where it is another's, unlabelled or unreadable."""
    stated = text_of(root, "number")
    if root.tag != "case" or (stated and stated.lstrip("0") != number.lstrip("0")):
        raise RefusedPicture("annotation-contradicts", f"<{root.tag}> number {stated!r} in {number}.xml")
    outlines: dict[str, list[Outline]] = {}
    for mark in root.findall("mark"):
        outlines.setdefault(text_of(mark, "image"), []).extend(_outlines(text_of(mark, "svg")))
    tirads = text_of(root, "tirads").casefold()
    if tirads == AMBIGUOUS:
        raise RefusedPicture("ambiguous-label", "TI-RADS 4a is neither clearly benign nor clearly malignant")
    if tirads not in CLASS_BY_TIRADS:
        raise RefusedPicture("no-label", f"TI-RADS {tirads!r}" if tirads else "no TI-RADS is stated")
    return CLASS_BY_TIRADS[tirads], outlines


def _outlines(svg: str) -> list[Outline]:
    """The polygons of one mark; RefusedPicture where they are no lists of finite points."""
    if not svg:
        return []
    try:
        regions = json.loads(svg)
        found = [[[_number(point["x"]), _number(point["y"])] for point in region["points"]] for region in regions]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedPicture(UNREADABLE, f"its outline is no list of points ({type(error).__name__})") from error
    for outline in found:
        if outline and (max(x for x, _ in outline) < 0 or max(y for _, y in outline) < 0):
            raise RefusedPicture("outline-outside", "an outline lies wholly outside the picture")
    return found


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _dropped(path: str) -> LedgerRow:
    reason = "an outline of fewer than three points was left out of its mask"
    return LedgerRow(item=path, code="outline-dropped", reason=reason, outcome="fixed")


def _without_image(
    images: set[tuple[str, str]],
    cases: dict[str, tuple[str, dict[str, list[Outline]]] | RefusedPicture],
    documents: dict[str, str],
) -> list[LedgerRow]:
    """Cases and marks whose picture is not there."""
    numbers = {number for number, _ in images}
    ledger: list[LedgerRow] = []
    for number, case in cases.items():
        if number not in numbers:
            ledger.append(LedgerRow(item=documents[number], code="no-image", reason=f"there is no {number}_*.jpg"))
        elif not isinstance(case, RefusedPicture):
            ledger += [
                LedgerRow(item=f"{number}_{view}.jpg", code="no-image", reason=f"{documents[number]} marks it")
                for view in case[1]
                if (number, view) not in images
            ]
    return ledger


DDTI = PublishedSet(
    name="ddti",
    title="DDTI: 1.xml (<case> with TI-RADS and outlines) beside 1_1.jpg, 1_2.jpg",
    citation=(
        "Pedraza L, Vargas C, Narvaez F, Duran O, Munoz E, Romero E. An open access thyroid ultrasound-image database. "
        "Proc. SPIE 9287 (2015) 92870W, doi 10.1117/12.2073532."
    ),
    licence="not stated by its authors (published as open access)",
    url="https://cimalab.unal.edu.co/projects/detail/20/",
    recognised=_recognised,
    source=_source,
)
