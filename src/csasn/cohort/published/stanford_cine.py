"""Stanford's thyroid cine clips: every frame of 192 nodules with its mask in one HDF5 file, and a table of diagnoses.

dataset.hdf5 holds image (N, H, W) uint8, mask (N, H, W) 0 or 255, annot_id (N,) b"8_" and frame_num (N,);
metadata.csv has one row a nodule: annot_id, age, sex, location, size_x, ..., ti-rads_level, histopath_diagnosis
(0 benign, 1 malignant; words are understood too). Known from public loaders, several of which print what they found in
the real file. Not confirmed: a patient column. The set has 192 nodules of 167 patients, the loaders know no key but
annot_id, and every annot_id that they show is a number and an underscore.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from csasn.cohort.labels import UNSPECIFIC_BENIGN, UNSPECIFIC_MALIGNANT, Vocabulary, truth_of
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.tree import Tree, gathered, home_of, required_home, tree_of
from csasn.cohort.source import Source
from csasn.decoding.masks import inside_of
from csasn.decoding.pictures import MAX_ASPECT, MAX_PIXELS, MIN_SIDE_PX, refuse_unopenable
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

Frames = Literal["middle", "evenly-spaced", "all"]

FRAMES_FILE = "dataset.hdf5"
TABLE = "metadata.csv"
COLUMNS = ("annot_id", "histopath_diagnosis")
PATIENT_COLUMNS = ("patient_id", "patient", "pid")
MOST_CHUNK_BYTES = 256_000_000  # what reading one frame may unpack
BY_NODULE = (
    "The table names no patient: each annot_id, up to its underscore, was taken for one. 192 nodules are of 167 "
    "patients, so that at least 25 nodules may stand apart from another of their patient; the split may leak."
)
TAKEN = "{n} of {of} frames were taken ({how} of each clip); they stay with their nodule and patient."


def _looks(folder: Path) -> bool:
    table = folder / TABLE
    if not (folder / FRAMES_FILE).is_file() or not table.is_file():
        return False
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as stream:
            header = [name.strip() for name in stream.readline(10_000).split(",")]
    except OSError:
        return False
    return set(COLUMNS) <= set(header)


def _recognised(folder: Path) -> bool:
    return home_of(folder, _looks) is not None


def stanford_source(folder: Path, words: Vocabulary, *, frames: Frames = "middle", n_frames: int = 3) -> Source:
    """One row a chosen frame: image_path dataset.hdf5, `member` its place in the file, `frame` its number in the clip.

    Raises BadInputError where the file lacks an array, arrays disagree in length, or no frame has a diagnosis.
    """
    tree = tree_of(required_home(folder, _looks, STANFORD_CINE))
    nodules = _nodules(tree)
    clips = _clips(tree)
    rows: list[dict[str, object]] = []
    ledger: list[LedgerRow] = []
    for annotation, members in clips.items():
        item = f"{FRAMES_FILE}#{annotation}"
        nodule = nodules.get(annotation)
        if nodule is None:
            reason = f"{TABLE} has no row of its {len(members)} frames"
            ledger.append(LedgerRow(item=item, code="no-annotation", reason=reason))
            continue
        malignant = truth_of(nodule["histopath_diagnosis"].strip().removesuffix(".0"))
        if malignant is None:
            reason = f"histopath_diagnosis is {nodule['histopath_diagnosis']!r}"
            ledger.append(LedgerRow(item=item, code="no-label", reason=reason))
            continue
        label = UNSPECIFIC_MALIGNANT if malignant else UNSPECIFIC_BENIGN
        patient = _patient(nodule)
        for position in chosen_frames(len(members), frames, n_frames):
            number, member = members[position]
            rows.append(
                {
                    "image_path": FRAMES_FILE,
                    "member": member,
                    "frame": number,
                    "site": STANFORD_CINE.name,
                    "patient_id": patient,
                    "nodule_id": f"{patient}/{annotation}",
                    "malignant": words.malignant_by_class[label],
                    "subtype": label,
                }
            )
    ledger += [
        LedgerRow(item=f"{FRAMES_FILE}#{annotation}", code="no-image", reason=f"{TABLE} names it; it has no frame")
        for annotation in nodules
        if annotation not in clips
    ]
    named = any(column in nodule for nodule in nodules.values() for column in PATIENT_COLUMNS)
    how = f"{n_frames} {frames}" if frames == "evenly-spaced" else frames
    notes = [TAKEN.format(n=len(rows), of=sum(map(len, clips.values())), how=how)]
    notes += [] if named else [BY_NODULE]
    return gathered(STANFORD_CINE, tree, rows, ledger, used=[FRAMES_FILE], notes=notes, kept=True)


def chosen_frames(n: int, frames: Frames, n_frames: int) -> list[int]:
    """Positions of the frames taken from a clip of n: the middle one, the middles of n_frames equal parts, or all."""
    if frames == "all" or (frames == "evenly-spaced" and n_frames >= n):
        return list(range(n))
    parts = 1 if frames == "middle" else n_frames
    return [(2 * part + 1) * n // (2 * parts) for part in range(parts)]


def read_member(path: Path, member: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """One frame (H, W) and its mask, True inside the nodule (None where the file has no masks); nothing else is read.

    Raises RefusedPicture with one of the codes not-a-regular-file, unreadable, empty-file, not-a-picture,
    too-many-pixels, too-small, extreme-aspect, mask-size-differs, mask-refused.
    """
    refuse_unopenable(path)
    try:
        with h5py.File(path, "r") as file:
            image = _array(file, "image")
            _check_frames(image, member)
            pixels = np.asarray(image[member]).reshape(image.shape[1:3])
            if "mask" not in file:
                return pixels, None
            masks = _array(file, "mask")
            if masks.shape[:3] != image.shape[:3]:
                raise RefusedPicture("mask-size-differs", f"frames {image.shape}, masks {masks.shape}")
            mask = _inside(np.asarray(masks[member]).reshape(image.shape[1:3]))
    except RefusedPicture:
        raise
    except Exception as error:  # a damaged file makes the HDF5 library raise nearly anything
        raise RefusedPicture("unreadable", f"{type(error).__name__}: {error}") from error
    return pixels, mask


def _inside(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the nodule is, by a frame of the masks; RefusedPicture (mask-refused) where it says that of no pixel."""
    numbers = values.astype(np.uint8)
    if not np.array_equal(numbers, values):
        raise RefusedPicture("mask-refused", "its mask has values that are not whole numbers from 0 to 255")
    try:
        inside, done = inside_of(numbers, lossy=False)
    except RefusedPicture as refusal:
        raise RefusedPicture("mask-refused", f"its mask is {refusal.code}: {refusal.reason}") from refusal
    if "mask-inverted" in done:
        raise RefusedPicture("mask-refused", "its mask marks the whole border of the frame, and not the nodule")
    return inside


def _array(file: Any, name: str) -> Any:
    """An array that lies in this very file; RefusedPicture where it is missing or its content lies elsewhere."""
    link = file.get(name, getlink=True)
    array = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(array, h5py.Dataset):
        raise RefusedPicture("not-a-picture", f"the file holds no array {name!r} of its own")
    if array.external or array.is_virtual:
        raise RefusedPicture("not-a-picture", f"the content of {name!r} lies in another file")
    if array.chunks and int(np.prod(array.chunks)) * array.dtype.itemsize > MOST_CHUNK_BYTES:
        raise RefusedPicture("too-many-pixels", f"one chunk of {name!r} unpacks to over {MOST_CHUNK_BYTES} bytes")
    return array


def _check_frames(image: Any, member: int) -> None:
    if image.ndim != 3 and image.shape[3:] != (1,):
        raise RefusedPicture("not-a-picture", f"image has the shape {image.shape}, not (frames, height, width)")
    if image.dtype != np.uint8:
        raise RefusedPicture("not-a-picture", f"image holds {image.dtype}, not uint8")
    if not 0 <= member < image.shape[0]:
        raise RefusedPicture("not-a-picture", f"frame {member} of {image.shape[0]}")
    height, width = image.shape[1:3]
    if height * width > MAX_PIXELS:
        raise RefusedPicture("too-many-pixels", f"{width} x {height} px; the cap is {MAX_PIXELS} pixels")
    if min(height, width) < MIN_SIDE_PX:
        raise RefusedPicture("too-small", f"{width} x {height} px; each side needs {MIN_SIDE_PX} px")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise RefusedPicture("extreme-aspect", f"{width} x {height} px; one side is over {MAX_ASPECT} times the other")


def _clips(tree: Tree) -> dict[str, list[tuple[int, int]]]:
    """(frame number, place in the file) of every frame by annot_id, in the order of the clip."""
    path = tree.root / FRAMES_FILE
    try:
        refuse_unopenable(path)
        with h5py.File(path, "r") as file:
            n = _array(file, "image").shape[0]
            annotations = [_text(each) for each in np.asarray(_array(file, "annot_id")).ravel().tolist()]
            numbers = [int(_text(each)) for each in np.asarray(_array(file, "frame_num")).ravel().tolist()]
    except (RefusedPicture, OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadInputError(
            f"{path} holds image, annot_id and frame_num (whole numbers), one entry a frame. It cannot be read so "
            f"({error}): restore it. {NOTHING_WRITTEN}"
        ) from error
    if not len(annotations) == len(numbers) == n:
        raise BadInputError(
            f"The arrays of {path} have one entry a frame; received image {n}, annot_id {len(annotations)}, frame_num "
            f"{len(numbers)}. Restore the file. {NOTHING_WRITTEN}"
        )
    clips: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for member, (annotation, number) in enumerate(zip(annotations, numbers, strict=True)):
        clips[annotation].append((number, member))
    return {annotation: sorted(members) for annotation, members in clips.items()}


def _nodules(tree: Tree) -> dict[str, dict[str, str]]:
    """The table's row by annot_id; BadInputError where one stands twice."""
    try:
        text = tree.document(TABLE).decode("utf-8-sig", errors="replace")
        lines = list(csv.DictReader(io.StringIO(text)))
    except (RefusedPicture, csv.Error) as error:
        raise BadInputError(f"{tree.root / TABLE} cannot be read ({error}): restore it. {NOTHING_WRITTEN}") from None
    rows = [{str(name).strip(): str(cell or "").strip() for name, cell in line.items()} for line in lines]
    nodules = {row["annot_id"]: row for row in rows if row["annot_id"]}
    if twice := _repeated([row["annot_id"] for row in rows if row["annot_id"]]):
        raise BadInputError(f"{tree.root / TABLE} has one row a nodule. Repeated:\n{listing(twice)}\n{NOTHING_WRITTEN}")
    return nodules


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _patient(nodule: dict[str, str]) -> str:
    """The patient of a nodule: the table's own column, or annot_id up to its underscore."""
    named = next((nodule[column] for column in PATIENT_COLUMNS if nodule.get(column)), None)
    return named or nodule["annot_id"].split("_", 1)[0]


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace").strip() if isinstance(value, bytes) else str(value).strip()


STANFORD_CINE = PublishedSet(
    name="stanford-cine",
    title="Stanford thyroid cine clips: dataset.hdf5 (image, mask, annot_id, frame_num) and metadata.csv",
    citation=(
        "Yamashita R, Kapoor T, Alam MN, Galimzianova A, Syed SA, Ugur Akdogan M, et al. Toward reduction in "
        "false-positive thyroid nodule biopsies with a deep learning-based risk stratification system using US "
        "cine-clip images. Radiology: Artificial Intelligence 4 (2022) e210174, doi 10.1148/ryai.210174; data doi "
        "10.71718/7m5n-rh16."
    ),
    licence="the terms of Stanford AIMI, accepted on access (research use; the text was not read here)",
    url="https://aimi.stanford.edu/datasets/thyroid-ultrasound-cine-clip",
    recognised=_recognised,
    source=stanford_source,
)
