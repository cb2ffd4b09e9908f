"""`csasn ingest` against the raw decode of the same files by as many processes. Bar: 0.8.

python benchmarks/ingest_throughput.py [SCREENS [CROPS]]. The baseline is what a user would write: Pillow (for DICOM
pydicom, whose pixels Pillow turns to grey) to a grey array, in a pool of processes. All pictures are SIMULATED, in the
formats that scanner workstations export: whole screens, as a capture shows them (the tissue twice as large, black and a
ruler about it, 1024 x 768 px); the tissue alone, cropped and small, where the fixed costs of every file weigh most;
and DICOM objects of the phantom. Shifted and mirrored copies make them many, so that none repeats. Each pair of timings
is taken one after the other, and the median ratio of several pairs is printed. The start of all processes and the
writing of the cohort are inside the time of ingest, which runs in a process of its own, as from the command line:
worker processes import the main module again, which is next to nothing there. Beside it stands what reading
costs alone, both ways in this process, by processor time: without pool, table, search for look-alikes and certificate.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels import pixel_array

from csasn.cohort.items import Item, read_item, read_picture_item
from csasn.decoding.workers import default_workers
from csasn.phantom.cohort import simulate, simulate_export

N_PAIRS = 3
N_COPIES = 10  # of each rendered picture, and more where the screens are more
N_OBJECTS = 1000
N_ALONE = 1000
SCREEN_PX = (768, 1024)
FORMATS = {
    "PNG, colour": ("png", "RGB", {"compress_level": 6}),
    "PNG, grey": ("png", "L", {"compress_level": 6}),
    "JPEG, colour": ("jpg", "RGB", {"quality": 92}),
    "JPEG, grey": ("jpg", "L", {"quality": 92}),
}
Grey = NDArray[np.uint8]

INGEST = """
import sys, time
from pathlib import Path
from csasn.cohort.ingest import ingest
source, out, workers, layout, *labels = sys.argv[1:]
started = time.perf_counter()
result = ingest(
    Path(source),
    Path(out),
    workers=int(workers),
    layout=layout,
    labels=Path(labels[0]) if labels else None,
    private=Path(out + " private") if labels else None,
)
print(time.perf_counter() - started, result.n_used)
"""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one kind: what the baseline does to each, and what `ingest` is given."""

    paths: Sequence[Path]
    raw: Callable[[Path], int]
    source: Path
    layout: str = "table"
    labels: tuple[Path, ...] = ()


def raw_picture(path: Path) -> int:
    """What a user would write: open, grey, array."""
    with Image.open(path) as picture:
        return int(np.asarray(picture.convert("L")).shape[0])


def raw_object(path: Path) -> int:
    """The same of a DICOM object, of its middle frame where it is a loop."""
    dataset = pydicom.dcmread(path)
    pixels = pixel_array(dataset, index=int(dataset.get("NumberOfFrames", 1)) // 2)
    return int(np.asarray(Image.fromarray(pixels).convert("L")).shape[0])


def raw_object_kept(path: Path, folder: Path) -> int:
    """The same, and kept as PNG below a folder, as ingest keeps it."""
    dataset = pydicom.dcmread(path)
    pixels = pixel_array(dataset, index=int(dataset.get("NumberOfFrames", 1)) // 2)
    grey = Image.fromarray(pixels).convert("L")
    grey.save(folder / f"{dataset.SOPInstanceUID}.png", compress_level=1)
    return grey.height


def on_screen(tissue: Grey) -> Grey:
    """A capture of the whole screen: the tissue twice as large, black around it, a ruler at its side."""
    height, width = (2 * side for side in tissue.shape)
    height, width = min(height, SCREEN_PX[0]), min(width, SCREEN_PX[1] - 40)
    enlarged = np.asarray(Image.fromarray(tissue).resize((2 * tissue.shape[1], 2 * tissue.shape[0])))
    screen = np.zeros(SCREEN_PX, dtype=np.uint8)
    top, left = (SCREEN_PX[0] - height) // 2, (SCREEN_PX[1] - width) // 2
    screen[top : top + height, left : left + width] = enlarged[:height, :width]
    screen[top : top + height : 24, left + width + 4 : left + width + 12] = 200
    return screen


def write_picture(job: tuple[Path, Grey, int, str, bool]) -> None:
    """One copy of a picture, turned so that it is another, in a format."""
    path, tissue, turn, kind, whole_screen = job
    _, mode, options = FORMATS[kind]
    picture = np.roll(tissue, turn * tissue.shape[1] // N_COPIES, axis=1)
    picture = picture[:, ::-1] if turn % 2 else picture
    Image.fromarray(on_screen(picture) if whole_screen else picture).convert(mode).save(path, **options)


def pictures_source(folder: Path, tissue: list[Grey], n: int, kind: str, *, whole_screen: bool) -> Source:
    """`n` pictures of a format and their table."""
    folder.mkdir()
    paths = [folder / f"{number}.{FORMATS[kind][0]}" for number in range(n)]
    jobs = [(path, tissue[at % len(tissue)], at // len(tissue), kind, whole_screen) for at, path in enumerate(paths)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_picture, jobs, chunksize=32))
    rows = [(path.name, f"p{at}", "PTC" if at % 2 else "benign") for at, path in enumerate(paths)]
    frame = pl.DataFrame(rows, schema=["image_path", "patient_id", "label"], orient="row")
    frame.write_csv(folder / "table.csv")
    return Source(paths=paths, raw=raw_picture, source=folder / "table.csv")


def compare(name: str, given: Source, folder: Path, workers: int) -> None:
    """Time both ways, pair by pair."""
    ratios = []
    for pair in range(N_PAIRS):
        started = time.perf_counter()
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(given.raw, given.paths, chunksize=32))
        raw_s = time.perf_counter() - started
        out = folder / f"out {name} {pair}"
        arguments = [given.source, out, workers, given.layout, *given.labels]
        done = subprocess.run([sys.executable, "-c", INGEST, *map(str, arguments)], stdout=subprocess.PIPE, check=True)
        ingest_s, n_used = map(float, done.stdout.split())
        ratios.append(raw_s / ingest_s)
    rates = f"last {len(given.paths) / raw_s:,.0f} and {len(given.paths) / ingest_s:,.0f} files/s"
    print(
        f"{name}: {n_used:.0f} of {len(given.paths)} used, ingest at {statistics.median(ratios):.2f} times the raw "
        f"decode ({min(ratios):.2f} to {max(ratios):.2f}), {rates}",
        flush=True,
    )


def read_alone(name: str, given: Source) -> None:
    """What ingest would reach if reading were all of it: the same files, one after the other, in this process."""
    items = [Item(path=path, kind="picture", reader=read_picture_item) for path in given.paths[:N_ALONE]]
    ratios = []
    for _ in range(2 * N_PAIRS + 1):
        started = time.process_time()
        for item in items:
            given.raw(item.path)
        raw_s = time.process_time() - started
        for item in items:
            read_item(item)
        ratios.append(raw_s / (time.process_time() - started - raw_s))
    print(
        f"{name}: reading alone at {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"{1000 * raw_s / len(items):.2f} ms a raw decode",
        flush=True,
    )


def main(n_screens: int, n_crops: int) -> None:
    """Time both ways, format by format."""
    workers = default_workers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "made", n_patients=n_crops // N_COPIES // 2, n_sites=4, seed=0)
        manifest = pl.read_parquet(folder / "made/manifest.parquet")
        tissue = [np.asarray(Image.open(folder / "made" / path)) for path in manifest["image_path"]]
        px = np.median([picture.size for picture in tissue])
        print(f"SIMULATED; {workers} processes, {N_PAIRS} pairs; crops have {px:,.0f} px (median)", flush=True)
        for name, n, whole_screen in (("screens", n_screens, True), ("crops", n_crops, False)):
            for kind in FORMATS:
                given = pictures_source(folder / "pictures", tissue, n, kind, whole_screen=whole_screen)
                read_alone(f"{name}, {kind}", given)
                compare(f"{n} {name}, {kind}", given, folder, workers)
                shutil.rmtree(folder / "pictures")
        simulate_export(folder / "pacs", n_patients=N_OBJECTS // 2, n_sites=4, seed=0)
        objects = sorted((folder / "pacs/export").rglob("*.dcm"))
        labels, kept = (folder / "pacs/labels.csv",), folder / "kept"
        kept.mkdir()
        baselines = {"DICOM": raw_object, "DICOM, decoded and kept as PNG": partial(raw_object_kept, folder=kept)}
        for name, raw in baselines.items():
            export = Source(paths=objects, raw=raw, source=folder / "pacs/export", layout="dicom", labels=labels)
            compare(name, export, folder, workers)


if __name__ == "__main__":
    main(*(int(given) for given in (sys.argv + ["5000", "6000"][len(sys.argv) - 1 :])[1:3]))
