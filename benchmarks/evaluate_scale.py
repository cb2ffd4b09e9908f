"""Time and memory of `csasn evaluate` and `csasn report` by the number of patients: one CSV row a size.

    python benchmarks/evaluate_scale.py [PATIENTS ...]

Five classes, two images a patient, four sites, CSASN and one baseline, 2,000 draws, embeddings of the lite profile's
width, the audit of 200 patients; SIMULATED probabilities. Each size runs in a process of its own, so that its peak
memory is its own.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from csasn.calibration.calibrate import calibrate_run
from csasn.config import Configuration, EvaluateSettings
from csasn.evidence.evaluate import evaluate_run
from csasn.files import write_json
from csasn.report.run_page import report_run
from csasn.runs import Run, create_run
from csasn.schema import (
    HISTORY_COLUMNS,
    LEDGER_COLUMNS,
    STATISTICS,
    WEIGHTS_COLUMNS,
    complete_columns,
    manifest_sha256,
)

CLASSES = ("benign", "PTC", "FTC", "MTC", "ATC")
SHARES = (0.40, 0.24, 0.14, 0.12, 0.10)
SIZES = (2500, 5000, 10_000)
WIDTH = 512  # of the pooled vector, columns


def manifest(n_patients: int) -> pl.DataFrame:
    """Two images a patient, four sites, two devices, everything that subgroups and the TI-RADS rule need."""
    rng = np.random.default_rng(0)
    y = np.tile(rng.choice(5, n_patients, p=SHARES)[:, np.newaxis], 2).ravel()
    number = np.repeat(np.arange(n_patients), 2)
    facts = {"age_years": rng.uniform(20, 85, n_patients), "nodule_size_mm": rng.uniform(4, 45, n_patients)}
    return complete_columns(
        pl.DataFrame(
            {
                "image_path": [f"images/{i}.png" for i in range(2 * n_patients)],
                "sha256": [f"{i:064d}" for i in range(2 * n_patients)],
                "site": [f"site {i % 4}" for i in number],
                "patient_id": [f"P{i:06d}" for i in number],
                "nodule_id": [f"N{i:06d}" for i in number],
                "malignant": y > 0,
                "subtype": [CLASSES[k] for k in y],
                "device": [f"device {i % 2}" for i in number],
                "sex": ["female" if i % 3 else "male" for i in number],
                "tirads_level": np.repeat(rng.integers(1, 6, n_patients), 2),
                **{name: np.repeat(values, 2) for name, values in facts.items()},
            }
        )
    )


def predictions(table: pl.DataFrame) -> pl.DataFrame:
    """Test rows in the site's fold, tuning rows of a tenth of the patients in the next."""
    rng, parts = np.random.default_rng(1), []
    y = np.array([CLASSES.index(name) for name in table["subtype"]])
    fold = np.array([int(name[-1]) for name in table["site"]])
    tuned = pl.Series(np.array([int(name[1:]) // 4 % 10 == 0 for name in table["patient_id"]]))
    for model, strength in (("csasn", 1.4), ("cnn-only", 1.1)):
        logits = rng.normal(size=(len(y), 5))
        logits[np.arange(len(y)), y] += strength
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        whole = table.select("image_path", "site", "nodule_id", "patient_id", "malignant", "subtype").with_columns(
            pl.lit(model).alias("model"),
            *(pl.Series(f"logit_{name}", logits[:, k]) for k, name in enumerate(CLASSES)),
            *(pl.Series(f"probability_{name}", p[:, k]) for k, name in enumerate(CLASSES)),
        )
        for partition, shift in (("test", 0), ("tuning", 1)):
            rows = whole.with_columns(
                pl.Series("fold", (fold + shift) % 4, dtype=pl.Int32), pl.lit(partition).alias("partition")
            )
            parts.append(rows if partition == "test" else rows.filter(tuned))
    return pl.concat(parts)


def embeddings(table: pl.DataFrame, fold: int) -> pl.DataFrame:
    """Every image as one fold's model would place it, with its partition: classes apart, half of the columns noise."""
    rng = np.random.default_rng([2, fold])
    site, patient = (table[name].str.slice(start).cast(pl.Int64) for name, start in (("site", 5), ("patient_id", 1)))
    y = np.array([CLASSES.index(name) for name in table["subtype"]])
    centres = rng.normal(size=(len(CLASSES), WIDTH)) * (np.arange(WIDTH) % 2)
    points = (0.3 * centres[y] + rng.normal(size=(len(y), WIDTH))).astype(np.float32)
    partition = pl.when(site == fold).then(pl.lit("test")).when((patient // 4 % 10 == 0) & (site == (fold + 3) % 4))
    return table.select(
        partition.then(pl.lit("tuning")).otherwise(pl.lit("train")).alias("partition"),
        "image_path",
        pl.Series("energy", rng.normal(size=len(y))),
        pl.Series("embedding", points, dtype=pl.Array(pl.Float32, WIDTH)),
    )


def altered(table: pl.DataFrame) -> pl.DataFrame:
    """The audit's readings of the test images of 200 patients."""
    rng = np.random.default_rng(3)
    images = table.head(400).select("image_path", fold=pl.col("site").str.slice(5).cast(pl.Int32))
    variants = pl.DataFrame({"variant": ["as-is", "without-marks", "border", "without-nodule"]})
    rows = images.join(variants, how="cross")
    return rows.select(
        "fold",
        "image_path",
        "variant",
        pl.Series("malignancy", rng.normal(size=len(rows))),
        pl.Series("marked_share", rng.random(len(rows)) / 50),
        pl.lit(True).alias("border_free"),
    )


def make_run(folder: Path, n_patients: int) -> Run:
    """A run folder as the stages before evaluate would leave it."""
    table, cohort = manifest(n_patients), folder / "cohort"
    cohort.mkdir(parents=True)
    table.write_parquet(cohort / "manifest.parquet")
    pl.DataFrame(schema=LEDGER_COLUMNS).write_csv(cohort / "ledger.csv")
    facts = {"manifest_sha256": manifest_sha256(table), "images_root": ".", "simulated": True, "source": "SIMULATED"}
    write_json(cohort / "certificate.json", facts | {"counts": [], "checks": [], "citation": "none"})
    run = create_run(cohort, folder / "run", Configuration(evaluate=EvaluateSettings(n_bootstrap=2000)))
    frame = predictions(table)
    main = frame.filter(pl.col("model") == "csasn")
    main.select("fold", "image_path", "patient_id", "partition").write_csv(run.path("split.csv"))
    run.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",))
    pl.DataFrame(schema=HISTORY_COLUMNS).write_csv(run.path("history.csv"))
    pl.DataFrame(schema=WEIGHTS_COLUMNS).write_csv(run.path("weights.csv"))
    run.finish("fit", inputs=("split.csv",), outputs=("history.csv", "weights.csv"), notes={"weights": "none"})
    frame.write_parquet(run.path("predictions.parquet"))
    looks = np.random.default_rng(4).normal(size=(len(table), len(STATISTICS)))
    statistics = table.select("image_path", *(pl.Series(name, c) for name, c in zip(STATISTICS, looks.T, strict=True)))
    statistics.write_parquet(run.path("image_statistics.parquet"))
    run.path("embeddings").mkdir()
    folds = [f"embeddings/fold{fold}.parquet" for fold in range(4)]
    for fold, name in enumerate(folds):
        embeddings(table, fold).write_parquet(run.path(name))
    made = ("predictions.parquet", "image_statistics.parquet", *folds)
    run.finish("predict", inputs=("split.csv",), outputs=made)
    altered(table).write_parquet(run.path("altered.parquet"))
    run.finish("audit", inputs=("predictions.parquet",), outputs=("altered.parquet",))
    return run


def measure(n_patients: int) -> None:
    """Print patients, seconds of evaluate (and processor seconds, for a busy machine), of report, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), n_patients)
        started, busy = time.perf_counter(), time.process_time()
        calibrate_run(run)
        evaluate_run(run)
        evaluated, busy = time.perf_counter(), time.process_time() - busy
        report_run(run)
        done = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{n_patients},{evaluated - started:.1f},{busy:.1f},{done - evaluated:.1f},{peak:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        print("patients,evaluate_s,evaluate_cpu_s,report_s,peak_gib", flush=True)
        for size in [int(word) for word in sys.argv[1:]] or SIZES:
            subprocess.run([sys.executable, __file__, "--one", str(size)], check=True)
