"""Every nodule read by gated attention over the embeddings of its images."""

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from csasn.files import write_whole
from csasn.frames import read_parquet
from csasn.inference.embed import embeddings_name
from csasn.learning.gated_attention import Bags, bags_of_nodules, fit_fold
from csasn.network.gated_attention import GatedAttention
from csasn.runs import Run, checkpoint_path
from csasn.schema import ATTENTION_COLUMNS, GATED_ATTENTION, PREDICTION_COLUMNS, ClassList

NODULES, ATTENTION = "nodules.parquet", "attention.parquet"


def read_nodules(run: Run, folds: list[int]) -> tuple[str, ...]:
    """Write nodules.parquet, attention.parquet and the folds' checkpoints; the names of the files written.

    The attention of a fold is fitted (`csasn.learning.gated_attention`), then reads its tuning and test nodules, each
    by the embeddings of the fold's own network.
    """
    classes = run.classes()
    told, attended, written = [], [], [NODULES, ATTENTION]
    for fold in folds:
        nodules = _nodules(run, fold)
        parts = {name: nodules.filter(pl.col("partition") == name) for name in ("train", "tuning", "test")}
        bags = {name: bags_of_nodules(each, classes) for name, each in parts.items()}
        module = fit_fold(run, fold, bags)
        written.append(str(checkpoint_path(run, GATED_ATTENTION, fold).relative_to(run.folder)))
        for name in ("tuning", "test"):
            of_nodule, of_image = _read(module, parts[name], bags[name], classes)
            told.append(of_nodule)
            attended.append(of_image)
    write_whole(run.path(NODULES), pl.concat(told).write_parquet)
    write_whole(run.path(ATTENTION), pl.concat(attended).write_parquet)
    return tuple(written)


def _nodules(run: Run, fold: int) -> pl.DataFrame:
    """A row a nodule and partition: keys, labels, and its images with their embeddings, by name."""
    keys = run.manifest().select("image_path", "site", "nodule_id", "patient_id", "malignant", "subtype")
    images = read_parquet(run.path(embeddings_name(fold))).join(keys, on="image_path", validate="1:1")
    grouped = images.sort("image_path").group_by("partition", "nodule_id", maintain_order=True)
    nodules = grouped.agg(
        pl.col("site", "patient_id", "malignant", "subtype", "image_path").first(),
        pl.col("image_path").alias("images"),
        pl.col("embedding"),
    )
    return nodules.with_columns(pl.lit(fold, dtype=pl.Int32).alias("fold")).sort("partition", "nodule_id")


@torch.inference_mode()
def _read(
    module: GatedAttention, nodules: pl.DataFrame, bags: Bags, classes: ClassList
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Predictions, a row a nodule, and attention, a row an image."""
    found = module(bags.embeddings, bags.present)
    logits: NDArray[np.float64] = found.output.logits.double().numpy()
    named = nodules.with_columns(pl.lit(GATED_ATTENTION).alias("model"))
    columns = [pl.Series(f"logit_{name}", logits[:, k]) for k, name in enumerate(classes.names)]
    columns += [pl.Series(f"probability_{name}", np.exp(logits[:, k])) for k, name in enumerate(classes.names)]
    weights = found.weights[bags.present].double().numpy()
    images = nodules.select("fold", "partition", "nodule_id", image_path="images").explode("image_path")
    images = images.with_columns(pl.Series("attention", weights)).select(
        pl.col(name).cast(dtype) for name, dtype in ATTENTION_COLUMNS.items()
    )
    return named.select(list(PREDICTION_COLUMNS)).with_columns(columns), images
