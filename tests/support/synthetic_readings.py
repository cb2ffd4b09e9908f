"""What `predict` and `csasn abstention` would write, made by hand: embeddings, statistics, foreign pictures."""

import numpy as np
import polars as pl

from csasn.runs import Run
from csasn.schema import STATISTICS

FOLDS, RARE, WIDTH = (0, 1, 2), ("FTC", "MTC", "ATC"), 6
STRANGE = "P0010"  # a patient whose embedding and pictures lie far from all others


def partition_of(table: pl.DataFrame, fold: int) -> pl.Series:
    """Test in the patient's fold, tuning in the next, as synthetic_run's predictions have it; train in the third."""
    place = (fold - table["patient_id"].rank("dense").cast(pl.Int64)) % 3
    return place.replace_strict({0: "test", 1: "tuning", 2: "train"}).alias("partition")


def embedded(table: pl.DataFrame, fold: int, *, seed: int) -> pl.DataFrame:
    """Every image with energy and embedding by one fold's model; classes apart, one patient strange."""
    rng = np.random.default_rng([seed, fold])
    y = table["subtype"].replace_strict({"benign": 0, "PTC": 1, "FTC": 2, "MTC": 3, "ATC": 4}).to_numpy()
    points = rng.normal(size=(len(table), WIDTH)) + 5 + 1.5 * np.eye(WIDTH)[y]
    points[(table["patient_id"] == STRANGE).to_numpy()] += 30 * rng.normal(size=WIDTH)
    return table.select(
        partition_of(table, fold),
        "image_path",
        pl.Series("energy", rng.normal(size=len(table)) + 0.3 * y),
        pl.Series("embedding", points.astype(np.float32), dtype=pl.Array(pl.Float32, WIDTH)),
    )


def looks(paths: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Statistics of pictures, drawn."""
    drawn = np.random.default_rng(seed).normal(size=(len(paths), len(STATISTICS)))
    return paths.with_columns(pl.Series(name, column) for name, column in zip(STATISTICS, drawn.T, strict=True))


def with_embeddings(made: Run) -> Run:
    """The run with embeddings and statistics of every image."""
    table, names = made.manifest(), ["predictions.parquet", "image_statistics.parquet"]
    strange = pl.when(pl.col("image_path").is_in(table.filter(pl.col("patient_id") == STRANGE)["image_path"].to_list()))
    statistics = looks(table.select("image_path"), seed=1)
    statistics.with_columns(strange.then(40.0).otherwise(name).alias(name) for name in STATISTICS).write_parquet(
        made.path(names[1])
    )
    made.path("embeddings").mkdir()
    for fold in FOLDS:
        names.append(f"embeddings/fold{fold}.parquet")
        embedded(table, fold, seed=2).write_parquet(made.path(names[-1]))
    made.finish("predict", inputs=("split.csv",), outputs=tuple(names))
    return made


def outputs_of(run: Run) -> tuple[str, ...]:
    return ("predictions.parquet", "image_statistics.parquet", *(f"embeddings/fold{fold}.parquet" for fold in FOLDS))


def with_abstention(run: Run) -> None:
    """Embeddings without each rare class, and of twenty foreign pictures."""
    written = []
    for name in RARE:
        run.path(f"abstention/without-{name}").mkdir(parents=True)
        for fold in FOLDS:
            written.append(f"abstention/without-{name}/fold{fold}.parquet")
            embedded(run.manifest(), fold, seed=5).write_parquet(run.path(written[-1]))
    pictures = pl.DataFrame({"group": ["noise"] * 20, "image_path": [f"{n}.png" for n in range(20)]})
    looks(pictures, seed=6).write_parquet(run.path("abstention/foreign_statistics.parquet"))
    run.path("abstention/foreign").mkdir()
    written.append("abstention/foreign_statistics.parquet")
    energies = np.random.default_rng(7).normal(2.0, 1.0, (3, 20))
    for fold in FOLDS:
        written.append(f"abstention/foreign/fold{fold}.parquet")
        points = np.full((20, WIDTH), 5.0, dtype=np.float32)
        pictures.rename({"group": "partition"}).with_columns(
            pl.Series("energy", energies[fold]),
            pl.Series("embedding", points, dtype=pl.Array(pl.Float32, WIDTH)),
        ).write_parquet(run.path(written[-1]))
    run.finish("abstention", inputs=("split.csv",), outputs=tuple(written))
