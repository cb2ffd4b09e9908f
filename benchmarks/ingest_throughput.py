"""`csasn ingest` against the raw decode of the same files by as many processes. Bar: 0.8.

python benchmarks/ingest_throughput.py [PICTURES]. The rival is what a user would write: Pillow to a grey array, in a
pool of processes. The pictures are SIMULATED (shifted and mirrored copies, so that none repeats), in the formats that
scanner workstations export. Each pair of timings is taken one after the other; the median ratio of several pairs is
printed, with the start of all processes and the writing of the cohort inside the time of ingest. Ingest runs in a
process of its own, as from the command line: worker processes import the main module again, which is next to nothing
there.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from csasn.cohort.phantom.cohort import simulate
from csasn.cohort.workers import default_workers

N_PAIRS = 5
N_COPIES = 10  # of each rendered picture
KINDS = {
    "png, colour": ("png", "RGB", {"compress_level": 6}),
    "png, grey": ("png", "L", {"compress_level": 6}),
    "jpeg, colour": ("jpg", "RGB", {"quality": 92}),
    "jpeg, grey": ("jpg", "L", {"quality": 92}),
}


INGEST = """
import sys, time
from pathlib import Path
from csasn.cohort.ingest import ingest
started = time.perf_counter()
result = ingest(Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
print(time.perf_counter() - started, result.n_used)
"""


def raw(path: Path) -> int:
    """What a user would write: open, grey, array."""
    with Image.open(path) as picture:
        return int(np.asarray(picture.convert("L")).shape[0])


def write(folder: Path, pictures: list[NDArray[np.uint8]], n: int, kind: str) -> list[Path]:
    """`n` files of a kind and their table."""
    ending, mode, options = KINDS[kind]
    folder.mkdir()
    rows = []
    for number in range(n):
        picture = pictures[number % len(pictures)]
        turn = number // len(pictures)
        shifted = np.roll(picture, turn * picture.shape[1] // N_COPIES, axis=1)
        shown = shifted[:, ::-1] if turn % 2 else shifted
        Image.fromarray(shown).convert(mode).save(folder / f"{number}.{ending}", **options)
        rows.append((f"{number}.{ending}", f"p{number}", "PTC" if number % 2 else "benign"))
    frame = pl.DataFrame(rows, schema=["image_path", "patient_id", "label"], orient="row")
    frame.write_csv(folder / "table.csv")
    return [folder / row[0] for row in rows]


def main(n_pictures: int) -> None:
    """Time both ways, format by format."""
    workers = default_workers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "made", n_patients=n_pictures // N_COPIES // 2, n_sites=4, seed=0)
        manifest = pl.read_parquet(folder / "made/manifest.parquet")
        pictures = [np.asarray(Image.open(folder / "made" / path)) for path in manifest["image_path"]]
        size = np.median([picture.size for picture in pictures])
        print(f"{n_pictures} SIMULATED pictures of {size:,.0f} px (median), {workers} processes, {N_PAIRS} pairs")
        for kind in KINDS:
            paths = write(folder / kind, pictures, n_pictures, kind)
            ratios = []
            for pair in range(N_PAIRS):
                started = time.perf_counter()
                with ProcessPoolExecutor(workers) as pool:
                    list(pool.map(raw, paths, chunksize=32))
                raw_s = time.perf_counter() - started
                given = [str(folder / kind / "table.csv"), str(folder / f"out {kind} {pair}"), str(workers)]
                done = subprocess.run([sys.executable, "-c", INGEST, *given], stdout=subprocess.PIPE, check=True)
                ingest_s, n_used = map(float, done.stdout.split())
                ratios.append(raw_s / ingest_s)
            rates = f"last {n_pictures / raw_s:,.0f} and {n_pictures / ingest_s:,.0f} pictures/s"
            print(
                f"{kind}: {n_used:.0f} used, ingest at {statistics.median(ratios):.2f} times the raw decode "
                f"({min(ratios):.2f} to {max(ratios):.2f}), {rates}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6000)
