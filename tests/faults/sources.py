"""Sources around a faulty item: two sound pictures of other patients, so that a cohort is left when it is refused."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csasn.config import DicomSettings, IngestSettings
from tests.faults.encoders import png
from tests.faults.fault import Fault
from tests.support.dicom_objects import region, ultrasound

HEIGHT, WIDTH = 48, 64
_ROWS, _COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
# Smooth, unlike its own mirrors, and without anything that looks like a letter.
GREY: NDArray[np.uint8] = (_ROWS * 3 + _COLUMNS).astype(np.uint8)
SOUND = {"benign/b/sound.png": png(GREY // 2 + 40), "PTC/p/sound.png": png(GREY[::-1] // 2)}
SOUND_LABELS = ("benign", "PTC")
SOUND_EXPORT = ("sound-1.dcm", "sound-2.dcm")
SOUND_FIXES = ("cropped-to-region",)
WHOLE = IngestSettings(dicom=DicomSettings(no_region="whole-image", colour_doppler="keep"))

Content = bytes | Callable[[Path], object]


def windowed(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Smallest value to 0, largest to 255, to the nearest."""
    real = np.asarray(values, dtype=np.float64)
    return np.rint((real - real.min()) * 255 / (real.max() - real.min())).astype(np.uint8)


def grey_of(red: NDArray[np.generic], green: NDArray[np.generic], blue: NDArray[np.generic]) -> NDArray[np.uint8]:
    """ITU-R BT.601, to the nearest."""
    return np.rint((299.0 * red + 587.0 * green + 114.0 * blue) / 1000).astype(np.uint8)


def placed(path: Path, content: Content) -> None:
    """Write bytes, or let a function make what lies at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def folder_of(files: Mapping[str, Content]) -> Callable[[Path], None]:
    """Makes a source of class folders with the sound pictures."""

    def make(folder: Path) -> None:
        for name, content in {**SOUND, **files}.items():
            placed(folder / "source" / name, content)

    return make


def table_of(rows: Sequence[Mapping[str, str]], files: Mapping[str, Content]) -> Callable[[Path], None]:
    """Makes a folder with table.csv: the given rows and those of the sound pictures."""
    sound = [
        {"image_path": name, "patient_id": name.split("/")[1], "label": name.split("/", maxsplit=1)[0]}
        for name in SOUND
    ]

    def make(folder: Path) -> None:
        folder_of(files)(folder)
        names = list(dict.fromkeys(name for row in (*sound, *rows) for name in row))
        with (folder / "source/table.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=names, restval="")
            writer.writeheader()
            writer.writerows([*sound, *rows])

    return make


def one(number: int, name: str, file: str, content: Content, **outcome: object) -> Fault:
    """One file PTC/x/<file> among the sound ones: `refused` its code, `fixed` its codes, `pixels` what it must give."""
    item = f"PTC/x/{file}"
    code, pixels, fixes = outcome.pop("refused", None), outcome.pop("pixels", None), outcome.pop("fixed", ())
    return Fault(
        number=number,
        name=name,
        make=folder_of({item: content}),
        used=tuple(SOUND) if code else (*SOUND, item),
        refused={item: code} if code else {},
        fixed={item: fixes} if fixes else {},
        pixels={} if pixels is None else {item: pixels},
        **outcome,  # type: ignore[arg-type]
    )


def export_of(
    files: Mapping[str, Content], labels: Sequence[Mapping[str, str]] = ({"patient_id": "MRN1", "label": "PTC"},)
) -> Callable[[Path], None]:
    """Makes a PACS export of the files and two sound ones, and labels.csv beside it."""

    def make(folder: Path) -> None:
        for number, name in enumerate(SOUND_EXPORT):
            placed(
                folder / "source" / name,
                lambda path, number=number: ultrasound(
                    path,
                    pixels=GREY // 2 + 40 + number,
                    regions=[region(0, 0, WIDTH - 1, HEIGHT - 1)],
                    patient_id=f"SOUND{number}",
                ),
            )
        for name, content in files.items():
            placed(folder / "source" / name, content)
        sited = (
            {"site": "north"} if any("site" in row for row in labels) else {}
        )  # every row names a site, or none does
        rows = [
            *labels,
            *({"patient_id": f"SOUND{n}", "label": label, **sited} for n, label in enumerate(SOUND_LABELS)),
        ]
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=names, restval="")
            writer.writeheader()
            writer.writerows(rows)

    return make


def one_object(number: int, name: str, content: Content, file: str = "x.dcm", **outcome: object) -> Fault:
    """One file of a PACS export among the sound ones, outcomes as in `one`."""
    code, pixels, fixes = outcome.pop("refused", None), outcome.pop("pixels", None), outcome.pop("fixed", ())
    settings = outcome.pop("settings", WHOLE)
    labels = outcome.pop("labels", [{"patient_id": "MRN1", "label": "PTC"}])
    beside = outcome.pop("beside", {})  # files that are no items
    return Fault(
        number=number,
        name=name,
        make=export_of({file: content, **beside}, labels),  # type: ignore[arg-type]
        labels="labels.csv",
        layout="dicom",
        settings=settings,  # type: ignore[arg-type]
        used=SOUND_EXPORT if code else (*SOUND_EXPORT, file),
        refused={file: code} if code else {},
        fixed=dict.fromkeys(SOUND_EXPORT, SOUND_FIXES) | ({file: fixes} if fixes else {}),
        pixels={} if pixels is None else {file: pixels},
        **outcome,  # type: ignore[arg-type]
    )
