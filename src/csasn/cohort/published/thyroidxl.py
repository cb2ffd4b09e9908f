"""ThyroidXL, thyroid nodules of 4,093 Vietnamese patients with masks, diagnosed by histology or needle cytology.

{train,test}/images/00000058_2201CE11_0.png (patient, hash, number), {train,test}/masks/ of the same names, and
stats/id2info_eng.json {"00000058": {"conclusion": 3, "images": [...], "nodule_1": {"Conclusion": "Benign (FNAC) - 3",
"Histopathology": null, ...}, "nodule_2": null}}; some copies hold the same records in
{train,test}/{train,test}_annotations.json below "info". Access is granted on request; the layout is known from a public
loader that says it was run on the real set and reproduced the paper's patients, images and cancers (conclusion 1
malignant by histology, 2 malignant by cytology, 3 benign by cytology, 4 benign by histology), from a public format
description, and from scripts that read the histology. Nothing here was checked against the distribution. Not
confirmed: all spellings of Histopathology, and which nodule an image shows where a patient has several.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import PICTURES, Tree, gathered, home_of, required_home, tree_of
from csasn.cohort.source import Source
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError
from csasn.files import read_json

Record = Mapping[str, object]

PARTS = ("train", "test")
RECORDS = "stats/id2info_eng.json"
ID_DIGITS = 8
MALIGNANT_BY_CONCLUSION = {"1": True, "2": True, "3": False, "4": False}
SUBTYPE_WORDS = {"papillary": "PTC", "follicular": "FTC", "medullary": "MTC", "anaplastic": "ATC"}
NOTES = (
    "Diagnoses are of the patient: by histology, or by needle cytology alone (most of them). Patients whose nodules or "
    "statements contradict each other were set aside (ambiguous-label), because an image does not name its nodule.",
    "A subtype is taken over where the histology names exactly one carcinoma; other cancers are malignant without one.",
    "The layout was not checked against the distribution, whose access is granted on request.",
)


def _looks(folder: Path) -> bool:
    records = (RECORDS, *(_annotations(part) for part in PARTS))
    return all((folder / part / "images").is_dir() for part in PARTS) and any(
        (folder / name).is_file() for name in records
    )


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def _annotations(part: str) -> str:
    return f"{part}/{part}_annotations.json"


def _source(folder: Path, words: Vocabulary) -> Source:
    tree = tree_of(required_home(folder, _looks, THYROIDXL))
    records = _records(tree)
    rows: list[dict[str, object]] = []
    ledger: list[LedgerRow] = []
    used: set[str] = set()
    names: set[str] = set()
    for part in PARTS:
        masks = {PurePosixPath(path).name: path for path in tree.within(f"{part}/masks")}
        images = {
            PurePosixPath(path).name: path
            for path in tree.within(f"{part}/images")
            if PurePosixPath(path).suffix.lower() in PICTURES and not PurePosixPath(path).name.startswith(".")
        }
        names |= set(images)
        for name, path in images.items():
            used.update({path, masks.get(name, path)})
            patient = name.split("_", 1)[0].zfill(ID_DIGITS)
            try:
                label = _label(records.get(patient), name)
            except RefusedPicture as refusal:
                ledger.append(LedgerRow(item=path, code=refusal.code, reason=refusal.reason))
                continue
            rows.append(
                {
                    "image_path": path,
                    "site": THYROIDXL.name,
                    "patient_id": patient,
                    "nodule_id": patient,
                    "malignant": words.malignant_by_class[label],
                    "subtype": label,
                    "mask_path": masks.get(name),
                    "split_hint": part,
                }
            )
        ledger += [
            LedgerRow(item=path, code="mask-not-image", reason=f"a mask without {part}/images/{name}")
            for name, path in masks.items()
            if name not in images and PurePosixPath(path).suffix.lower() in PICTURES
        ]
    ledger += [
        LedgerRow(item=name, code="no-image", reason=f"the record of patient {patient} names it; it is missing")
        for patient, record in records.items()
        for name in _images(record)
        if name not in names
    ]
    return gathered(THYROIDXL, tree, rows, ledger, used=used, notes=NOTES)


def _records(tree: Tree) -> dict[str, Record]:
    """Record by patient number of eight digits; BadInputError where a file holds none, or two keys are one patient."""
    found = (
        [RECORDS] if RECORDS in tree.paths else [name for part in PARTS if (name := _annotations(part)) in tree.paths]
    )
    records: dict[str, Record] = {}
    for name in found:
        content: object = read_json(tree.root / name)
        if name != RECORDS and isinstance(content, dict):
            content = content.get("info")
        if not isinstance(content, dict) or not all(isinstance(record, dict) for record in content.values()):
            raise BadInputError(
                f"{tree.root / name} holds one record a patient; received something else. {NOTHING_WRITTEN}"
            )
        for key, record in content.items():
            if records.setdefault(key.zfill(ID_DIGITS), record) is not record:
                raise BadInputError(f"A patient has one record; {tree.root / name} repeats {key}. {NOTHING_WRITTEN}")
    return records


def _label(record: Record | None, name: str) -> str:
    """The class of a patient's image; RefusedPicture where the records do not tell, or tell two things."""
    if record is None:
        raise RefusedPicture("no-annotation", "its patient, by its name, has no record")
    if (listed := _images(record)) and name not in listed:
        raise RefusedPicture("no-annotation", "the record of its patient, by its name, does not list it")
    nodules = [nodule for key, nodule in record.items() if key.startswith("nodule_") and isinstance(nodule, dict)]
    histologies = [text for nodule in nodules if (text := str(nodule.get("Histopathology") or "").strip().casefold())]
    stated = MALIGNANT_BY_CONCLUSION.get(str(record.get("conclusion")))
    if stated is None:
        raise RefusedPicture("no-label", f"the conclusion is {record.get('conclusion')!r}, not 1 to 4")
    verdicts = {stated} | {verdict for nodule in nodules for verdict in _verdicts(nodule)}
    if len(verdicts) > 1 or (not stated and any("carcinoma" in text for text in histologies)):
        raise RefusedPicture("ambiguous-label", "its patient's statements are both benign and malignant")
    if not stated:
        return UNSPECIFIC_BENIGN
    named = {
        label for text in histologies for word, label in SUBTYPE_WORDS.items() if word in text and "carcinoma" in text
    }
    return named.pop() if len(named) == 1 else UNSPECIFIC_MALIGNANT


def _verdicts(nodule: Record) -> set[bool]:
    """What a nodule's Conclusion says in words, "Benign (FNAC) - 3"; empty where it says neither."""
    text = str(nodule.get("Conclusion") or "").casefold()
    return {malignant for word, malignant in (("benign", False), ("malignant", True)) if word in text}


def _images(record: Record) -> list[str]:
    listed = record.get("images")
    return [str(name) for name in listed] if isinstance(listed, list) else []


THYROIDXL = PublishedSet(
    name="thyroidxl",
    title="ThyroidXL: train/ and test/ with images/ and masks/, and stats/id2info_eng.json",
    citation=(
        "Duong VH, Vu H, Phan HD, Nguyen DQ, Pham DH, Le QT, Nguyen BS, Do TD, Dinh VS, Nguyen TC, Pham HH, Ngo DH. "
        "ThyroidXL: advancing thyroid nodule diagnosis with an expert-labeled, pathology-validated dataset. MICCAI "
        "2025, doi 10.1007/978-3-032-05182-0_60."
    ),
    licence="not stated by its authors; access on request (huggingface.co/datasets/VNPT-AI/ThyroidXL)",
    url="https://huggingface.co/datasets/VNPT-AI/ThyroidXL",
    recognised=_recognised,
    source=_source,
)
