"""Faults 112, 113 and 115: masks that are none, masks in a picture's place, and files that systems leave behind."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.faults.encoders import WHITE_IS_ZERO, png, tiff
from tests.faults.fault import Fault
from tests.faults.objects import made
from tests.faults.pictures import encoded
from tests.faults.sources import GREY, HEIGHT, SOUND, WHOLE, WIDTH, folder_of, one, one_object, table_of

NODULE = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
NODULE[10:30, 20:50] = True
MASK = NODULE.astype(np.uint8) * np.uint8(255)
GLAND = np.where(NODULE, 255, 0).astype(np.uint8)
GLAND[5:40, 8:20] = 128
INSTANCES = NODULE.astype(np.uint8)
INSTANCES[35:45, 5:15], INSTANCES[35:45, 25:35] = 2, 3
RING = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
RING[20:24, 20:24] = 0
ITEM = "PTC/x/x.png"


def masked(
    name: str,
    content: bytes,
    *,
    file: str = "mask.png",
    inside: NDArray[np.bool_] = NODULE,
    refused: str | None = None,
    fixed: tuple[str, ...] = (),
) -> Fault:
    """A table's row with a picture and a mask, which gives `inside`, or is refused."""
    rows = [{"image_path": ITEM, "patient_id": "x", "label": "PTC", "mask_path": f"PTC/x/{file}"}]
    return Fault(
        number=112,
        name=name,
        make=table_of(rows, {ITEM: png(GREY), f"PTC/x/{file}": content}),
        source="source/table.csv",
        used=tuple(SOUND) if refused else (*SOUND, ITEM),
        refused={ITEM: refused} if refused else {},
        fixed={ITEM: fixed} if fixed else {},
        masks={} if refused else {ITEM: inside},
    )


def shared() -> Fault:
    """One mask that is named for two pictures of one patient."""
    items = (ITEM, "PTC/x/y.png")
    rows = [{"image_path": item, "patient_id": "x", "label": "PTC", "mask_path": "PTC/x/mask.png"} for item in items]
    return Fault(
        number=112,
        name="shared-by-two-pictures",
        make=table_of(rows, {ITEM: png(GREY), items[1]: png(GREY // 3), "PTC/x/mask.png": png(MASK)}),
        source="source/table.csv",
        used=tuple(SOUND),
        refused=dict.fromkeys(items, "mask-shared"),
    )


def linked() -> Fault:
    """The same through a link."""
    items = (ITEM, "PTC/x/y.png")
    rows = [
        {"image_path": item, "patient_id": "x", "label": "PTC", "mask_path": f"PTC/x/{mask}"}
        for item, mask in zip(items, ("mask.png", "link.png"), strict=True)
    ]
    files = {ITEM: png(GREY), items[1]: png(GREY // 3), "PTC/x/mask.png": png(MASK)}
    return Fault(
        number=112,
        name="shared-through-a-link",
        make=table_of(rows, {**files, "PTC/x/link.png": lambda path: path.symlink_to("mask.png")}),
        source="source/table.csv",
        used=tuple(SOUND),
        refused=dict.fromkeys(items, "mask-shared"),
    )


def in_folders(name: str, files: Mapping[str, bytes], refused: Mapping[str, str], **outcome: object) -> Fault:
    """Class folders with these files, of which the ones not refused are used."""
    return Fault(
        number=113,
        name=name,
        make=folder_of(files),
        used=(*SOUND, *(item for item in files if item not in refused)),
        refused=refused,
        **outcome,  # type: ignore[arg-type]
    )


def beside(ending: str) -> Fault:
    """A picture, and its mask of the same name with an ending."""
    mask = f"PTC/a{ending}.png"
    return in_folders(
        f"ending-{ending}", {"PTC/a.png": png(GREY), mask: encoded(GLAND, "PNG")}, {mask: "mask-not-image"}
    )


def litter(name: str, files: Mapping[str, bytes], **outcome: object) -> Fault:
    """Files that are no items, beside a sound picture."""
    return Fault(
        number=115,
        name=name,
        make=folder_of({ITEM: png(GREY), **files}),
        used=(*SOUND, ITEM),
        pixels={ITEM: GREY},
        **outcome,  # type: ignore[arg-type]
    )


# Every stroke is as thin and sharp as a letter's: nearly all of the frame looks like text.
STROKES = np.where(np.arange(WIDTH) % 6 < 2, 230, 20).astype(np.uint8)[None].repeat(HEIGHT, axis=0)
STROKES[np.arange(HEIGHT) % 12 >= 8] = 20
STROKES += GREY // 16
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60)
FINDER = b"\0\0\0\1Bud1" + bytes(100)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)

FAULTS = (
    masked("one-and-two", png(NODULE.astype(np.uint8) + 1), inside=NODULE),
    masked("one-bit-jpeg", encoded(NODULE.astype(np.uint8), "JPEG", quality=100), file="m.jpg", refused="mask-refused"),
    masked("jpeg", encoded(MASK, "JPEG", quality=70), file="m.jpg", inside=NODULE),
    masked("16-bit", png(NODULE.astype(np.uint16) * 7, depth=16), inside=NODULE),
    masked("inverted", png(255 - MASK), inside=NODULE, fixed=("mask-inverted",)),
    masked(
        "inverting-table-of-imagej",
        tiff(MASK, photometric=WHITE_IS_ZERO),
        file="m.tif",
        inside=NODULE,
        fixed=("mask-inverted",),
    ),
    masked(
        "inverted-jpeg", encoded(255 - MASK, "JPEG", quality=80), file="m.jpg", inside=NODULE, fixed=("mask-inverted",)
    ),
    masked("empty", png(0 * MASK), inside=NODULE & False, fixed=("mask-empty",)),
    masked("full", png(0 * MASK + np.uint8(255)), refused="mask-refused"),
    masked("gland-and-nodule", png(GLAND), refused="mask-refused"),
    masked("gland-and-nodule-jpeg", encoded(GLAND, "JPEG", quality=90), file="m.jpg", refused="mask-refused"),
    masked("instances", png(INSTANCES), refused="mask-refused"),
    masked("instances-of-16-bits", png(INSTANCES.astype(np.uint16), depth=16), refused="mask-refused"),
    masked("picture-itself", png(GREY), refused="mask-refused"),
    masked("picture-itself-jpeg", encoded(GREY, "JPEG"), file="m.jpg", refused="mask-refused"),
    shared(),
    linked(),
    *(beside(each) for each in ("_seg", "_label", "_gt", ".mask", "-mask", "_Segmentation", "_mask_2", " mask")),
    in_folders(
        "folders-of-pictures-and-masks",
        {
            "PTC/images/1.png": png(GREY),
            "PTC/images/2.png": png(GREY // 3),
            "PTC/masks/1.png": png(MASK),
            "PTC/masks/2_mask.png": png(GLAND),
            "benign/images/1.png": png(GREY // 5),
        },
        {"PTC/masks/1.png": "mask-not-image", "PTC/masks/2_mask.png": "mask-not-image"},
        patients=("PTC/images/1.png", "PTC/images/2.png", "p", "b", "benign/images/1.png"),
    ),
    in_folders(
        "folders-within-a-patient",
        {"PTC/q/1.png": png(GREY), "PTC/q/Segmentation/1.png": png(MASK)},
        {"PTC/q/Segmentation/1.png": "mask-not-image"},
    ),
    one(113, "two-values", "x.png", png(MASK), refused="mask-like"),
    one(113, "three-values", "x.png", png(GLAND), refused="mask-like"),
    one(113, "two-values-blurred", "x.jpg", encoded(MASK, "JPEG", quality=75), refused="mask-like"),
    one_object(113, "dicom-of-two-values", made(pixels=MASK), settings=WHOLE, refused="mask-like"),
    one_object(113, "dicom-nearly-all-text", made(pixels=STROKES), settings=WHOLE, refused="text-covers-picture"),
    litter("of-macs", {"PTC/.DS_Store": FINDER, ".DS_Store": FINDER, "PTC/x/._x.png": APPLE}),
    litter(
        "of-pcs", {"PTC/x/Thumbs.db": OLE, "PTC/desktop.ini": b"[x]", "Thumbs.db": OLE, "PTC/x/DESKTOP.INI": b"[x]"}
    ),
    litter("of-archives", {"__MACOSX/PTC/x/._x.png": APPLE, "PTC/__MACOSX/._x.png": APPLE, "PTC/x/@eaDir/x.png": OLE}),
    Fault(
        number=115,
        name="a-picture-behind-such-a-name",
        make=folder_of({ITEM: png(GREY), "PTC/x/._y.png": png(GREY // 3)}),
        used=(*SOUND, ITEM, "PTC/x/._y.png"),
    ),
    one_object(
        115,
        "of-an-export",
        made(),
        settings=WHOLE,
        pixels=GREY,
        beside={".DS_Store": FINDER, "study/._x.dcm": APPLE, "study/Thumbs.db": OLE},
    ),
)
