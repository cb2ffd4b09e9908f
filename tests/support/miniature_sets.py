"""Miniature trees with the layout of each public data set, a few files each, drawn as 64 x 64 px speckle."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 64
DISC = np.hypot(*np.mgrid[-32:32, -32:32]) < 12
SQUARE = ((16, 16), (47, 16), (47, 47), (16, 47))


def speckle(seed: int) -> NDArray[np.uint8]:
    """Rayleigh-distributed grey levels (64, 64): another picture for every seed."""
    drawn = np.random.default_rng(seed).rayleigh(40.0, (SIDE_PX, SIDE_PX))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def draw(path: Path, seed: int) -> None:
    """Write speckle as PNG or JPEG, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(speckle(seed)).save(path)


def draw_mask(path: Path, mask: NDArray[np.bool_] = DISC) -> None:
    """Write a mask of 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)


def write(path: Path, text: str) -> None:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def busi(folder: Path) -> Path:
    """Two benign images, one of them with two masks, two malignant, and a normal one with an empty mask."""
    home = folder / "Dataset_BUSI_with_GT"
    for seed, name in enumerate(("benign (1)", "benign (2)", "malignant (1)", "malignant (10)", "normal (1)")):
        label = name.split(" ")[0]
        draw(home / label / f"{name}.png", seed)
        draw_mask(home / label / f"{name}_mask.png", DISC & (label != "normal"))
    draw_mask(home / "benign" / "benign (2)_mask_1.png", np.roll(DISC, 20, axis=1))
    return folder


def busi_stored(folder: Path) -> Path:
    """The form that shared/data holds: labels.csv with a group of near-duplicates in place of the patient."""
    rows = [("benign_1", "benign", "g000"), ("benign_2", "benign", "g000"), ("malignant_1", "malignant", "g001")]
    for seed, (name, _, _) in enumerate(rows):
        draw(folder / f"images/{name}.png", seed)
        draw_mask(folder / f"masks/{name}.png")
    lines = [f"images/{name}.png,masks/{name}.png,{label},{group}" for name, label, group in rows]
    write(folder / "labels.csv", "\n".join(["image,mask,label,dup_group", *lines]) + "\n")
    return folder


def ddti_case(
    number: int | str,
    tirads: str | None,
    marks: Mapping[int | str, Sequence[Sequence[tuple[float, float]]]],
    *,
    stated: int | str | None = None,
) -> str:
    """The XML file of one case; `marks` holds the polygons of each view."""
    tags = ""
    for view, polygons in marks.items():
        regions = [{"points": [{"x": x, "y": y} for x, y in polygon], "regionType": "freehand"} for polygon in polygons]
        tags += f"<mark><image>{view}</image><svg>{json.dumps(regions)}</svg></mark>"
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f"<case><number>{stated or number}</number><age>49</age>"
        "<sex>F</sex><composition>solid</composition><echogenicity>hypoechogenicity</echogenicity>"
        "<margins>well defined smooth</margins><calcifications>non</calcifications>"
        f"<tirads>{tirads or ''}</tirads><reportbacaf/><reporteco/>{tags}</case>\n"
    )


def ddti(folder: Path) -> Path:
    """Five cases: benign with two views, malignant with two nodules, 4a, one without TI-RADS, one malignant."""
    triangle = ((2, 2), (12, 2), (2, 12))
    write(folder / "1.xml", ddti_case(1, "3", {1: [SQUARE], 2: [SQUARE]}))
    write(folder / "2.xml", ddti_case(2, "4b", {1: [SQUARE, triangle]}))
    write(folder / "3.xml", ddti_case(3, "4a", {1: [SQUARE]}))
    write(folder / "4.xml", ddti_case(4, None, {1: [SQUARE]}))
    write(folder / "10.xml", ddti_case(10, "5", {1: []}))
    for seed, name in enumerate(("1_1", "1_2", "2_1", "3_1", "4_1", "10_1")):
        draw(folder / f"{name}.jpg", seed)
    return folder


def tn3k(folder: Path, *, labels: bool = True) -> Path:
    """Four images to train with, of which the fold declares one as tuning, and two to test with."""
    home = folder / "tn3k"
    for part, n, first in (("trainval", 4, 0), ("test", 2, 50)):
        for number in range(n):
            draw(home / f"{part}-image/{number:04d}.jpg", first + number)
            draw_mask(home / f"{part}-mask/{number:04d}.jpg")
    write(home / "tn3k-trainval-fold0.json", json.dumps({"train": [0, 1, 3], "val": [2]}))
    if labels:
        write(home / "label4trainval.csv", "0000.jpg,0\n0001.jpg,1\n0002.jpg,1\n0003.jpg,0\n")
        write(home / "label4test.csv", "0000.jpg,1\n0001.jpg,0\n")
    return folder


def voc(number: str, *names: str) -> str:
    """A Pascal VOC annotation with one object a name."""
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        "<bndbox><xmin>10</xmin><ymin>12</ymin><xmax>40</xmax><ymax>44</ymax></bndbox></object>"
        for name in names
    )
    return (
        f"<annotation><folder>TN5000</folder><filename>{number}.jpg</filename><size><width>64</width>"
        f"<height>64</height><depth>3</depth></size><segmented>0</segmented>{objects}</annotation>"
    )


def tn5000(folder: Path) -> Path:
    """Four images: benign and malignant to train with, one to tune with, one to test with."""
    home = folder / "TN5000_forReview" / "TN5000_forReview"
    for seed, (number, name) in enumerate((("000001", "0"), ("000002", "1"), ("000003", "1"), ("000004", "0"))):
        draw(home / f"JPEGImages/{number}.jpg", seed)
        write(home / f"Annotations/{number}.xml", voc(number, name))
    for name, numbers in (("train", "12"), ("val", "3"), ("trainval", "123"), ("test", "4")):
        write(home / f"ImageSets/Main/{name}.txt", "".join(f"00000{number}\n" for number in numbers))
    return folder


def thyroidxl_record(
    conclusion: int | None,
    images: Sequence[str],
    *nodules: tuple[str | None, str | None],
) -> dict[str, object]:
    """One patient: the coded conclusion, the images, and (Conclusion, Histopathology) of each nodule."""
    record: dict[str, object] = {"age": 60, "gender": 2, "conclusion": conclusion, "nodule_1": None, "nodule_2": None}
    for number, (words, histology) in enumerate(nodules, start=1):
        record[f"nodule_{number}"] = {
            "Position": "Left lobe",
            "TIRADS": 4,
            "FNAC": "2",
            "Conclusion": words,
            "Histopathology": histology,
        }
    return record | {"images": list(images)}


def thyroidxl(folder: Path) -> Path:
    """Two patients to train with (benign by cytology, PTC by histology), one to test with (cancer by cytology)."""
    images = {
        "train": ("00000058_2201CE11_0.png", "00000058_A73CED93_1.png", "00000061_0B1C2D3E_0.png"),
        "test": ("00000139_31AD2E2C_0.png",),
    }
    for part, names in images.items():
        for seed, name in enumerate(names):
            draw(folder / part / "images" / name, len(part) * 10 + seed)
            draw_mask(folder / part / "masks" / name)
            write(folder / part / "labels" / name.replace(".png", ".txt"), "0 0.5 0.5 0.2 0.2\n")
            write(folder / part / "labels_orig" / name.replace(".png", ".json"), "{}")
    records = {
        "00000058": thyroidxl_record(3, images["train"][:2], ("Benign (FNAC) - 3", None)),
        "00000061": thyroidxl_record(
            1, images["train"][2:], ("Malignant (Histopathology) - 1", "Papillary thyroid carcinoma")
        ),
        "00000139": thyroidxl_record(2, images["test"], ("Malignant (FNAC) - 2", None)),
    }
    write(folder / "stats/id2info_eng.json", json.dumps(records))
    write(folder / "stats/train_patients.txt", "00000058\n00000061\n")
    write(folder / "stats/test_patients.txt", "00000139\n")
    write(folder / "README.md", "# ThyroidXL\n")
    return folder


TIRADS = ("composition", "echogenicity", "shape", "margin", "echogenicfoci", "level")


def stanford_table(path: Path, diagnoses: Mapping[str, str], **more: Mapping[str, str]) -> None:
    """metadata.csv with a diagnosis for each annot_id and further columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        plain = ("annot_id", "age", "sex", "location", "size_x", "size_y", "size_z")
        writer.writerow((*plain, *(f"ti-rads_{name}" for name in TIRADS), "histopath_diagnosis", *more))
        for annotation, diagnosis in diagnoses.items():
            cells = [annotation, "51", "Female", "Right", "1.2", "0.9", "1.1", *"220003", diagnosis]
            writer.writerow((*cells, *(column[annotation] for column in more.values())))


def stanford_cine(folder: Path) -> Path:
    """Three clips of 5, 4 and 3 frames, stored apart and out of order; member m is speckle(m) with a moving disc."""
    home = folder / "thyroidultrasoundcineclip"
    order = [("8_", 3), ("8_", 1), ("112_", 1), ("8_", 2), ("8_", 5), ("8_", 4), ("112_", 2), ("112_", 3), ("112_", 4)]
    order += [("24_", 10), ("24_", 9), ("24_", 11)]
    stanford_table(home / "metadata.csv", {"8_": "0", "24_": "0", "112_": "1"})
    with h5py.File(home / "dataset.hdf5", "w") as file:
        file["image"] = np.stack([speckle(member) for member in range(len(order))])
        file["mask"] = np.stack([np.roll(DISC, member, axis=1).astype(np.uint8) * 255 for member in range(len(order))])
        file["annot_id"] = np.array([name.encode() for name, _ in order])
        file["frame_num"] = np.array([str(number).encode() for _, number in order])
    return folder


def fangdai(folder: Path) -> Path:
    """Two views of one examination, and images whose names show none."""
    names = ("PTC/20191101_094744_1.png", "PTC/20191101_094744_2.png", "PTC/p7.jpg", "FTC/1.png", "MTC/1.png")
    for seed, name in enumerate(names):
        draw(folder / "Thyroid" / name, seed)
    write(folder / "README.md", "---\nlicense: other\n---\n")
    write(folder / ".gitattributes", "*.png filter=lfs\n")
    return folder
