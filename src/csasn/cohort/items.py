"""One item of a source is read in a worker process: opened, decoded, hashed and, where it must be, kept as grey PNG."""

import hashlib
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from csasn.cohort.fingerprints import Fingerprint, fingerprint
from csasn.decoding.dicom.preamble import is_dicom
from csasn.decoding.masks import refuse_mask_like
from csasn.decoding.pictures import open_mask, open_picture, pixel_sha256
from csasn.decoding.refused import RefusedPicture
from csasn.files import file_sha256

if TYPE_CHECKING:  # worker processes of pictures start sooner without pydicom and pydantic
    from csasn.config import DicomSettings
    from csasn.decoding.dicom.identity import Identity

Kind = Literal["picture", "dicom", "member"]
Polygon = tuple[tuple[float, float], ...]  # (x, y) in px
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}  # speckle repeats nothing but runs: smaller and sooner written


@dataclass(frozen=True, kw_only=True)  # no slots: those pickle several times slower, field by field
class Item:
    """One file of a source, and how to read it.

    `kept` is the path below `cohort` without suffix that its pictures get, or None where the file stays in its place.
    """

    path: Path
    kind: Kind
    reader: "Callable[[Item], Reading]"
    """How it is read; worker processes import what that needs with the first item of its kind."""
    member: int = 0
    mask_paths: tuple[Path, ...] = ()
    n_of_mask: int = 1
    """Number of pictures for which its mask is named."""
    outlines: tuple[Polygon, ...] = ()
    declared_sha256: str | None = None
    cohort: Path | None = None
    kept: str | None = None
    dicom: "DicomSettings | None" = None


@dataclass(frozen=True, kw_only=True)  # no slots: those pickle several times slower, field by field
class Shot:
    """One picture of an item as it enters the cohort; paths are relative to the cohort, None for a file in its place.

    `fixes` are the codes of what was done to its pixels.
    """

    image_path: str | None
    mask_path: str | None
    sha256: str
    mask_sha256: str | None
    pixel_sha256: str
    fingerprint: Fingerprint
    width_px: int
    height_px: int
    frame: int
    pixel_spacing_mm: float | None
    fixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)  # no slots: those pickle several times slower, field by field
class Reading:
    """What an item gave: its pictures, the frames refused (number or None for all, code, reason), and DICOM's words."""

    shots: tuple[Shot, ...] = ()
    refused: tuple[tuple[int | None, str, str], ...] = ()
    identity: "Identity | None" = None
    view: str | None = None
    laterality: str | None = None
    device: str | None = None


def read_item(item: Item) -> Reading:
    """Read one item; what cannot be used comes back as a refusal, never as an exception."""
    try:
        return item.reader(item)
    except RefusedPicture as refusal:
        return Reading(refused=((None, refusal.code, refusal.reason),))


def read_picture_item(item: Item) -> Reading:
    """The one picture of a picture file."""
    try:
        picture = open_picture(item.path, item.declared_sha256)
    except RefusedPicture as refusal:
        if refusal.code == "not-a-picture" and is_dicom(item.path):
            advice = "a DICOM file: ingest its folder with --layout dicom and give the table as --labels"
            raise RefusedPicture("dicom-file", advice) from refusal
        raise
    mask, done = _mask_of(item, picture.pixels.shape)
    fixes = (*picture.fixes, *done)
    return Reading(shots=(shot_of(item, picture.pixels, mask, fixes=fixes, sha256=picture.sha256),))


def _mask_of(item: Item, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """The masks of an item united, or its outlines drawn, and what was done; None where it has neither."""
    if item.outlines:
        if any(min(x for x, _ in each) >= shape[1] or min(y for _, y in each) >= shape[0] for each in item.outlines):
            raise RefusedPicture("outline-outside", f"an outline of its nodule lies beyond {shape[1]} x {shape[0]} px")
        canvas = Image.new("1", (shape[1], shape[0]))
        draw = ImageDraw.Draw(canvas)
        for polygon in item.outlines:
            draw.polygon(list(polygon), fill=1)
        return np.array(canvas, dtype=np.bool_), ()
    if item.n_of_mask > 1:
        reason = f"its mask is named for {item.n_of_mask} pictures; give each its own, or leave it out"
        raise RefusedPicture("mask-shared", reason)
    united: NDArray[np.bool_] | None = None
    fixes: dict[str, None] = {}
    for path in item.mask_paths:
        try:
            mask, done = open_mask(path)
        except RefusedPicture as refusal:
            raise RefusedPicture("mask-refused", f"its mask is {refusal.code}: {refusal.reason}") from refusal
        if mask.shape != shape:
            raise RefusedPicture(
                "mask-size-differs", f"{shape[1]} x {shape[0]} px, its mask {mask.shape[1]} x {mask.shape[0]} px"
            )
        united = mask if united is None else united | mask
        fixes |= dict.fromkeys(done)
    empty = united is not None and not united.any()
    return united, tuple(fix for fix in fixes if empty or fix != "mask-empty")


def shot_of(
    item: Item,
    pixels: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    *,
    fixes: tuple[str, ...],
    sha256: str | None,
    frame: int = 0,
    mm: float | None = None,
) -> Shot:
    """Describe one picture, writing it and its mask into the cohort where the item is kept.

    Raises RefusedPicture (mask-like) where it is no ultrasound but a mask.
    """
    refuse_mask_like(pixels)
    image_path = mask_path = mask_sha256 = None
    if item.cohort is not None and item.kept is not None:
        name = f"{item.kept}-f{frame:04d}.png" if item.kind == "dicom" else f"{item.kept}.png"
        image_path, sha256 = _keep(item.cohort, f"images/{name}", pixels)
        if mask is not None:
            mask_path, mask_sha256 = _keep(item.cohort, f"masks/{name}", mask.astype(np.uint8) * np.uint8(255))
    elif item.mask_paths:
        mask_sha256 = file_sha256(item.mask_paths[0])
    if sha256 is None:
        raise RefusedPicture("not-kept", "a file of many pictures can only enter a cohort that keeps them")
    height, width = pixels.shape
    return Shot(
        image_path=image_path,
        mask_path=mask_path,
        sha256=sha256,
        mask_sha256=mask_sha256,
        pixel_sha256=pixel_sha256(pixels),
        fingerprint=fingerprint(pixels),
        width_px=width,
        height_px=height,
        frame=frame,
        pixel_spacing_mm=mm,
        fixes=fixes,
    )


def _keep(cohort: Path, name: str, pixels: NDArray[np.uint8]) -> tuple[str, str]:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", **PNG)
    content = stream.getvalue()
    path = cohort / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name, hashlib.sha256(content).hexdigest()
