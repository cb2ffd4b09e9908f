"""A table of a million rows over a million real (empty) files: read, checked, split and checked again.

Run: `OMP_NUM_THREADS=1 python benchmarks/million_rows.py [ROWS]`; minutes, of which the making of the files (on
/dev/shm where there is one) is not measured. The measured part runs in a process of its own and goes through the
functions that `csasn ingest` and `csasn split` call; pictures are not decoded, which is ingest's part. Expected:
within 60 s and 1.5 GiB of resident memory.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from csasn.cohort.integrity import keys_with_several
from csasn.cohort.labels import vocabulary
from csasn.cohort.split import checks_of_split, make_split
from csasn.cohort.tables import table_rows
from csasn.config import SplitSettings
from csasn.csv_cells import escaped_cells
from csasn.schema import complete_columns, manifest_sha256

N_ROWS, IMAGES_A_PATIENT, FILES_A_FOLDER = 1_000_000, 4, 1_000
LABELS = ("benign",) * 70 + ("PTC",) * 20 + ("FTC",) * 5 + ("MTC",) * 3 + ("ATC", "ptc")


def make(root: Path, n_rows: int) -> Path:
    """The files and their table."""
    lines = ["image_path,patient_id,nodule_id,site,view,label\n"]
    for number in range(n_rows):
        folder = f"images/{number // FILES_A_FOLDER:04d}"
        if number % FILES_A_FOLDER == 0:
            (root / folder).mkdir(parents=True)
        path = f"{folder}/{number:07d}.png"
        (root / path).touch()
        patient = number // IMAGES_A_PATIENT
        view = ("transverse", "longitudinal")[number % 2]
        lines.append(f"{path},{patient:07d},n1,site {patient % 5},{view},{LABELS[patient % len(LABELS)]}\n")
    table = root / "table.csv"
    table.write_text("".join(lines))
    return table


def measure(table: Path) -> None:
    """Check and split the table, printing seconds and the peak so far after each step."""
    begun = last = time.perf_counter()

    def done(what: str) -> None:
        nonlocal last
        now, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{what:58}{now - last:7.1f} s   peak {peak:6.0f} MiB", flush=True)  # the peak so far
        last = now

    read = table_rows(table, {}, vocabulary())
    done(f"{read.rows.height:,} rows: keys, labels, paths, files, duplicates")
    assert len(read.fixes) == read.rows.height // 100  # noqa: S101 - the label spelt "ptc" is one in a hundred
    manifest = complete_columns(read.rows)
    shared = keys_with_several(manifest, "patient_id", "site") + keys_with_several(manifest, "nodule_id", "subtype")
    assert not shared  # noqa: S101
    del read
    manifest_sha256(manifest)
    done("conflicts of sites and diagnoses, hash of the manifest")
    settings = SplitSettings()
    split = make_split(manifest, settings)
    done(f"{split.height:,} rows of a split in {settings.n_folds} folds")
    failed = [check for check in checks_of_split(manifest, split, settings, ()) if not check["passed"]]
    assert not failed  # noqa: S101
    done("leaks of patients, lost and repeated images")
    escaped_cells(split).write_csv(table.parent / "split.csv")
    done("split.csv written")
    total, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"all: {total:.1f} s (at most 60), of which the processors worked {time.process_time():.1f} s; ", end="")
    print(f"peak {peak:.2f} GiB resident (at most 1.5)")
    if total > 60 or peak > 1.5:
        sys.exit(1)


def main() -> None:
    """Make the files, measure in another process, and clean up."""
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
        return
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else N_ROWS
    memory = Path("/dev/shm")  # noqa: S108 - files that need no disk
    root = Path(tempfile.mkdtemp(prefix="csasn-rows-", dir=memory if memory.is_dir() else None))
    try:
        begun = time.perf_counter()
        table = make(root, n_rows)
        print(f"made {n_rows:,} files in {time.perf_counter() - begun:.0f} s (polars {pl.__version__})", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", str(table)], check=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
