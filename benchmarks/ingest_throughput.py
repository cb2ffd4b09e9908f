"""`csasn ingest` against the raw decode of the same files with as many worker processes. Bar: 0.8.

python benchmarks/ingest_throughput.py [PICTURES]. The pictures are SIMULATED; each pair of timings is taken one after
the other, and the median ratio of several pairs is printed.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from csasn.cohort.ingest import ingest
from csasn.cohort.phantom.cohort import simulate
from csasn.cohort.workers import default_workers, each_in_workers

N_PAIRS = 5


def raw(path: Path) -> int:
    """What a user would write: open, grey, array."""
    with Image.open(path) as picture:
        return int(np.asarray(picture.convert("L")).shape[0])


def main(n_pictures: int) -> None:
    """Time both ways, PNG and JPEG."""
    workers = default_workers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "made", n_patients=n_pictures // 20, n_sites=2, seed=0)
        manifest = pl.read_parquet(folder / "made/manifest.parquet")
        pictures = [np.asarray(Image.open(folder / "made" / path)) for path in manifest["image_path"]]
        for ending, options in (("png", {"compress_level": 6}), ("jpg", {"quality": 92})):
            source = folder / ending
            source.mkdir()
            rows = []
            for number in range(n_pictures):
                turned = np.roll(pictures[number % len(pictures)], number // len(pictures) * 7, axis=1)
                path = source / f"{number}.{ending}"
                Image.fromarray(turned).save(path, **options)
                rows.append((path.name, f"p{number}", "PTC" if number % 2 else "benign"))
            frame = pl.DataFrame(rows, schema=["image_path", "patient_id", "label"], orient="row")
            frame.write_csv(source / "table.csv")
            paths = [source / row[0] for row in rows]
            ratios = []
            for pair in range(N_PAIRS):
                started = time.perf_counter()
                list(each_in_workers(raw, paths, workers=workers))
                between = time.perf_counter()
                result = ingest(source / "table.csv", folder / f"out-{ending}-{pair}", workers=workers)
                ended = time.perf_counter()
                ratios.append((between - started) / (ended - between))
            rate = n_pictures / (ended - between)
            print(
                f"{ending}: {result.n_used} of {n_pictures} pictures, {workers} workers: ingest at "
                f"{statistics.median(ratios):.2f} times the raw decode (of {N_PAIRS} pairs, {min(ratios):.2f} to "
                f"{max(ratios):.2f}), last {rate:.0f} pictures/s"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
