"""What is known of a fold's images without a model, and of patients from their images."""

import numpy as np
import polars as pl

from csasn.calibration.novelty import DETECTORS, Images
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.schema import STATISTICS

# The class of a row, or its group where the subtype is not known.
NAMED = pl.col("subtype").fill_null(pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("benign")))


def read_embeddings(run: Run, folder: str, fold: int) -> pl.DataFrame:
    """A fold's embeddings with the manifest's keys and labels and the statistics of each image, in a fixed order."""
    keys = run.manifest().select("image_path", "patient_id", "nodule_id", "site", "malignant", "subtype")
    statistics = read_parquet(run.require("image_statistics.parquet"))
    frame = read_parquet(run.require(f"{folder}/fold{fold}.parquet"))
    joined = frame.join(keys, on="image_path", validate="m:1").join(statistics, on="image_path", validate="m:1")
    return joined.sort("partition", "image_path")


def images_of(frame: pl.DataFrame) -> Images:
    """The arrays of a table with energy, embedding and statistics."""
    return Images(
        energy=frame["energy"].to_numpy(),
        embedding=frame["embedding"].to_numpy().astype(np.float64),
        statistics=frame.select(STATISTICS).to_numpy(),
    )


def by_patient(frame: pl.DataFrame) -> pl.DataFrame:
    """Image rows with patient_id, nodule_id, malignant, subtype and detectors -> unit, target and detectors.

    A patient's novelty is that of the strangest nodule, a nodule's the mean over its images.
    """
    nodules = frame.group_by("patient_id", "nodule_id").agg(
        pl.col(DETECTORS).mean(), pl.col("malignant").first(), pl.col("subtype").first()
    )
    named = nodules.sort("malignant", "nodule_id", descending=[True, False])
    return (
        named.group_by("patient_id", maintain_order=True)
        .agg(pl.col(DETECTORS).max(), pl.col("subtype").first(), pl.col("malignant").first())
        .select(pl.col("patient_id").alias("unit"), NAMED.alias("target"), *DETECTORS)
        .sort("unit")
    )
