"""A small run folder made by hand: known labels, drawn logits, real pictures for some images."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from csasn.cohort.ledger import ledger_csv
from csasn.config import Configuration, EvaluateSettings
from csasn.csv_cells import escaped_cells
from csasn.files import write_json
from csasn.runs import Run, create_run
from csasn.schema import LEDGER_COLUMNS, MANIFEST_COLUMNS, ClassList, classes_of, complete_columns, manifest_sha256

COUNTS = {"benign": 60, "PTC": 40, "FTC": 24, "MTC": 12, "ATC": 8}
STRENGTH = {"csasn": 1.3, "cnn-only": 0.9, "vit-only": 1.25, "vit-logistic-regression": 0.6}


def manifest(counts: dict[str, int] = COUNTS, *, odd_patient: str = "P<b>007</b>") -> pl.DataFrame:
    """Two images a nodule, one nodule a patient, three sites."""
    patients = [name for name, n in counts.items() for _ in range(n)]
    rows = [
        {
            "image_path": f"images/{number:04d}_{view}.png",
            "sha256": f"{number:063d}{view == 'transverse':d}",
            "site": ("Harbour", "Hill & Dale", "River")[number % 3],
            "patient_id": odd_patient if number == 7 else f"P{number:04d}",
            "nodule_id": f"N{number:04d}",
            "view": view,
            "malignant": name != "benign",
            "subtype": name,
            "frame": 0,
        }
        for number, name in enumerate(patients)
        for view in ("transverse", "longitudinal")
    ]
    return complete_columns(pl.DataFrame(rows)).select(list(MANIFEST_COLUMNS))


EMPTY_LEDGER = ledger_csv(())


def fingerprints_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Fingerprints of pictures that all differ, one a row."""
    rng = np.random.default_rng(len(frame))
    return frame.select(
        "image_path",
        pixel_sha256=pl.col("image_path").map_elements(
            lambda name: hashlib.sha256(name.encode()).hexdigest(), return_dtype=pl.String
        ),
        perceptual_hash=pl.Series(rng.integers(0, 2**64, len(frame), dtype=np.uint64)),
        thumbnail=pl.Series([rng.bytes(1024) for _ in range(len(frame))]),
        mask_sha256=pl.lit(None, dtype=pl.String),
    )


def predictions(frame: pl.DataFrame, classes: ClassList, *, seed: int = 0, n_folds: int = 3) -> pl.DataFrame:
    """Test rows in the patient's own fold, tuning rows in the next, for every model."""
    codes = {name: k for k, name in enumerate(classes.names)}
    patient = frame["patient_id"].rank("dense").to_numpy().astype(int)
    y = np.array([codes[name] for name in frame["subtype"]])
    tables = []
    for place, (model, strength) in enumerate(STRENGTH.items()):
        rng = np.random.default_rng([seed, place])
        logits = rng.normal(size=(len(y), len(codes))) - 0.35 * np.arange(len(codes))
        logits[np.arange(len(y)), y] += strength
        logits[(frame["nodule_id"] == "N0007").to_numpy(), y[14]] -= 9  # patient 7 is always read wrongly
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for partition, shift in (("test", 0), ("tuning", 1)):
            tables.append(
                frame.select("image_path", "site", "nodule_id", "patient_id", "malignant", "subtype").with_columns(
                    pl.lit(model).alias("model"),
                    pl.Series("fold", (patient + shift) % n_folds, dtype=pl.Int32),
                    pl.lit(partition).alias("partition"),
                    *(pl.Series(f"logit_{name}", logits[:, k]) for name, k in codes.items()),
                    *(pl.Series(f"probability_{name}", p[:, k]) for name, k in codes.items()),
                )
            )
    return pl.concat(tables)


def weaker(frame: pl.DataFrame) -> pl.DataFrame:
    """The predictions with a baseline's in CSASN's place."""
    return frame.filter(pl.col("model") != "csasn").with_columns(pl.col("model").replace({"cnn-only": "csasn"}))


def history() -> pl.DataFrame:
    """Two stages of three folds."""
    rows = [
        {
            "model": "csasn",
            "fold": fold,
            "stage": stage,
            "epoch": epoch,
            "train_loss": 1.6 * 0.9 ** (epoch + offset) + 0.02 * fold,
            "tuning_loss": 1.6 * 0.93 ** (epoch + offset) + 0.05 * fold,
            "tuning_auroc": 0.9 - 0.3 * 0.85 ** (epoch + offset) - 0.01 * fold,
            "learning_rate": 1e-3,
            "images_per_s": 100.0,
        }
        for fold in range(3)
        for stage, n, offset in (("frozen", 18 + fold, 0), ("finetune", 8, 18))
        for epoch in range(n)
    ]
    return pl.DataFrame(rows)


def weights(*, moving: bool = True) -> pl.DataFrame:
    """Class and task weights over the epochs of `history`, of which the classes' never move."""
    course = history().select("model", "fold", "stage", "epoch")
    at = pl.col("epoch") / 30 * moving
    of_name = {
        ("class", "benign"): pl.lit(0.8),
        ("class", "=PTC"): pl.lit(1.2),
        ("task", "malignancy"): 1 + at,
        ("task", "malignant"): 1 - at - 0.01 * pl.col("fold"),
        ("difficulty", "benign"): 1 - at,
    }
    return pl.concat(
        course.with_columns(pl.lit(kind).alias("kind"), pl.lit(name).alias("name"), value.alias("value"))
        for (kind, name), value in of_name.items()
    )


def make_run(
    folder: Path,
    *,
    simulated: bool = True,
    n_bootstrap: int = 100,
    counts: dict[str, int] = COUNTS,
    seed: int = 0,
    name: str = "run",
) -> Run:
    """A cohort and a run folder with split, fit and predict finished, as the earlier stages would leave them."""
    cohort, rng = folder / "cohort", np.random.default_rng(1)
    table = manifest(counts)
    (cohort / "images").mkdir(parents=True)
    pl.DataFrame(schema=LEDGER_COLUMNS).write_csv(cohort / "ledger.csv")
    for path in table["image_path"].to_list()[: -2 * counts[next(reversed(counts))]]:  # the last class has no pictures
        Image.fromarray(rng.integers(0, 255, (90, 120), dtype=np.uint8)).save(cohort / path)
    files = {path: cohort / path for path in table["image_path"]}
    real = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in files.items() if file.is_file()}
    table = table.with_columns(
        sha256=pl.coalesce(pl.col("image_path").replace_strict(real, default=None, return_dtype=pl.String), "sha256")
    )
    table.write_parquet(cohort / "manifest.parquet")
    groups = table.group_by("site", "subtype", maintain_order=True).agg(
        pl.col("patient_id").n_unique().alias("n_patients"),
        pl.col("nodule_id").n_unique().alias("n_nodules"),
        pl.len().alias("n_images"),
    )
    check = {"name": "no patient in two partitions of a fold", "passed": True, "found": "0 of 144 patients"}
    write_json(
        cohort / "certificate.json",
        {
            "manifest_sha256": manifest_sha256(table),
            "images_root": ".",
            "simulated": simulated,
            "name": "Made by hand",
            "source": "tests/support/synthetic_run.py",
            "citation": "none",
            "counts": groups.rename({"subtype": "class"}).to_dicts(),
            "checks": [{"name": "no identical pixels under two patients", "passed": True, "found": "0 pairs"}],
            "split_checks": [check, check | {"name": "every class in every partition", "passed": False}],
        },
    )
    configuration = Configuration(evaluate=EvaluateSettings(n_bootstrap=n_bootstrap, calibration_bins=5))
    run = create_run(cohort, folder / name, configuration)
    frame = predictions(table, classes_of(table), seed=seed)
    split = frame.filter(pl.col("model") == "csasn").select("fold", "image_path", "patient_id", "partition")
    split.write_csv(run.path("split.csv"))
    run.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",))
    history().write_csv(run.path("history.csv"))
    escaped_cells(weights()).write_csv(run.path("weights.csv"))
    run.finish(
        "fit", inputs=("split.csv",), outputs=("history.csv", "weights.csv"), notes={"weights": "none: random start"}
    )
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run
