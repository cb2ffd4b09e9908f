"""The records that travel between rooms: manifest, ledger, split and prediction columns, and the class list."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.errors import BadInputError, listing
from csasn.frames import read_parquet

MANIFEST_COLUMNS: dict[str, type[pl.DataType]] = {
    "image_path": pl.String,  # relative to the certificate's images_root, POSIX separators
    "sha256": pl.String,  # of the file's bytes, 64 hexadecimal digits
    "site": pl.String,
    "patient_id": pl.String,  # a pseudonym; unique across sites
    "nodule_id": pl.String,  # unique across patients
    "view": pl.String,  # "transverse", "longitudinal" or null
    "laterality": pl.String,  # "left", "right", "isthmus" or null
    "malignant": pl.Boolean,
    "subtype": pl.String,  # the class; null where only benign or malignant is known
    "mask_path": pl.String,  # nodule mask, relative like image_path; null where there is none
    "pixel_spacing_mm": pl.Float64,  # null where unknown
    "width_px": pl.Int32,
    "height_px": pl.Int32,
    "frame": pl.Int32,  # frame number within a cine loop, 0 for a still
    "device": pl.String,
    "split_hint": pl.String,  # a partition declared by the source ("train", "tuning", "test") or null
    "age_years": pl.Float64,  # the patient's at the examination; null where unknown, like the three below
    "sex": pl.String,  # "female", "male" or null
    "nodule_size_mm": pl.Float64,  # largest diameter
    "tirads_level": pl.Int32,  # ACR TI-RADS 1 to 5, as the radiologist's report has it
}
REQUIRED_COLUMNS = ("image_path", "sha256", "site", "patient_id", "nodule_id", "malignant")
# ledger.csv: what was refused, and what was used after a deterministic fix ("fixed"; several rows an item at times).
LEDGER_COLUMNS = {"item": pl.String, "outcome": pl.String, "code": pl.String, "reason": pl.String}
OUTCOMES = ("refused", "fixed")
# fingerprints.parquet: what the certificate compared, one row an image in the manifest's order.
FINGERPRINT_COLUMNS = {
    "image_path": pl.String,
    "pixel_sha256": pl.String,  # of the decoded grey pixels and their shape
    "perceptual_hash": pl.UInt64,  # near for pictures that look alike: it proposes pairs
    "thumbnail": pl.Binary,  # 32 rows of 32 grey bytes: they confirm pairs
    "mask_sha256": pl.String,  # of the mask file's bytes; null where there is none
}
SPLIT_COLUMNS = {"fold": pl.Int32, "image_path": pl.String, "patient_id": pl.String, "partition": pl.String}
PARTITIONS = ("train", "tuning", "test")
# predictions.parquet: the columns below, then logit_<class> and probability_<class> for every class, in class order.
PREDICTION_COLUMNS = {
    "model": pl.String,  # "csasn" or the name of a baseline
    "fold": pl.Int32,
    "partition": pl.String,  # "tuning" or "test"; a training row is never predicted
    "image_path": pl.String,
    "site": pl.String,
    "nodule_id": pl.String,
    "patient_id": pl.String,
    "malignant": pl.Boolean,
    "subtype": pl.String,
}
# embeddings/fold<k>.parquet: every row of the fold, read by CSASN's model of that fold in the plain view; then
# `embedding`, an array of float32: the pooled vector that the heads read.
EMBEDDING_COLUMNS = {
    "partition": pl.String,
    "image_path": pl.String,
    "energy": pl.Float64,  # minus the log-sum-exp of the unnormalised logits
}
# image_statistics.parquet: `image_path`, then what a picture looks like without any model (imaging/statistics.py).
STATISTICS = (
    "mean",  # grey levels on 0..1, within the picture
    "sd",
    "skewness",
    "dark_share",  # pixels below 0.02
    "bright_share",  # pixels above 0.98
    "entropy",  # of the grey histogram in 64 bins, bits
    "speckle_contrast",  # median SD / mean of windows of 8 px
    "rows_alike",  # correlation of pixels 1 px apart down a column
    "columns_alike",  # correlation of pixels 1 px apart along a row
    "rows_alike_4",  # the same 4 px apart
    "columns_alike_4",
    "fine_share",  # of the variance that a 3 px mean takes away
    "log_aspect",  # log of width / height
)
# altered.parquet: a row an image and variant of it, read by the model of the fold that tests the image.
ALTERED_COLUMNS = {
    "fold": pl.Int32,
    "image_path": pl.String,
    "variant": pl.String,  # "as-is", "without-marks", "border", "without-nodule" (where there is a mask)
    "malignancy": pl.Float64,  # logit of p(malignant), plain view
    "marked_share": pl.Float64,  # of the pixels: text and thin bright strokes away from the nodule
    "border_free": pl.Boolean,  # the nodule does not reach into the border; null where there is no mask
}
# explanations/maps.parquet: a row an image and map of it, by the model of the fold that tests the image.
MAPS = ("cnn", "vit", "fused")
MAP_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "fold": pl.Int32,
    "image_path": pl.String,
    "target_class": pl.String,  # the class for which the map was made: the most probable one, plain view
    "map": pl.String,  # one of MAPS
    "level": pl.Int32,  # how many parts of the network were randomised, from the head down; 0: as trained
    "randomised": pl.String,  # the last part of them, or "none"
    "n_rows": pl.Int32,
    "n_columns": pl.Int32,
    "cells": pl.List(pl.Float32),  # row by row, 0 to 1; all 0 where nothing spoke for the class
}
# explanations/masks.parquet: a row an image, all on the letterboxed square that the network sees.
MASK_COLUMNS = {
    "image_path": pl.String,
    "size_px": pl.Int32,  # side of the square
    "top_px": pl.Int32,  # where the picture lies in it
    "left_px": pl.Int32,
    "height_px": pl.Int32,
    "width_px": pl.Int32,
    "mask": pl.Binary,  # the nodule, one bit a pixel, row by row; null where there is no mask
}
# attention.parquet: how much each image counts when its nodule is read by gated attention; sum one a nodule and fold.
GATED_ATTENTION = "gated-attention"  # its name as a model in nodules.parquet, whose columns are those of predictions
ATTENTION_COLUMNS = {
    "fold": pl.Int32,
    "partition": pl.String,
    "nodule_id": pl.String,
    "image_path": pl.String,
    "attention": pl.Float64,
}
# history.csv: one row an epoch.
HISTORY_COLUMNS = {
    "model": pl.String,
    "fold": pl.Int32,
    "stage": pl.String,  # "frozen" or "finetune"
    "epoch": pl.Int32,
    "train_loss": pl.Float64,
    "tuning_loss": pl.Float64,
    "tuning_auroc": pl.Float64,  # macro, per image
    "learning_rate": pl.Float64,
    "images_per_s": pl.Float64,
}
# weights.csv: the loss's weights at the end of every epoch, a row a class or task.
WEIGHTS_COLUMNS = {
    "model": pl.String,
    "fold": pl.Int32,
    "stage": pl.String,
    "epoch": pl.Int32,
    "kind": pl.String,  # "class", "task", "difficulty" of a class, or "site" (loss and reversal of the site head)
    "name": pl.String,
    "value": pl.Float64,
}

# The order in which classes are numbered and shown: these first, then any other name alphabetically.
NON_MALIGNANT_ORDER = ("benign", "normal")
MALIGNANT_ORDER = ("PTC", "FTC", "MTC", "ATC", "malignant")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassList:
    """The classes of a cohort: the non-malignant group first, then the malignant one.

    `names[:n_non_malignant]` is the non-malignant group, `names[n_non_malignant:]` the malignant group.
    """

    names: tuple[str, ...]
    n_non_malignant: int

    @property
    def non_malignant(self) -> tuple[str, ...]:
        """Names of the non-malignant group."""
        return self.names[: self.n_non_malignant]

    @property
    def malignant(self) -> tuple[str, ...]:
        """Names of the malignant group."""
        return self.names[self.n_non_malignant :]


def order_names(names: Iterable[str], first: tuple[str, ...]) -> list[str]:
    """Names in the declared order, then the others alphabetically."""
    return sorted(set(names), key=lambda name: (first.index(name) if name in first else len(first), name))


def classes_of(manifest: pl.DataFrame) -> ClassList:
    """The class list that a manifest declares by its `subtype` and `malignant` columns.

    Raises BadInputError where a class is both malignant and not, or where either group is empty.
    """
    labelled = manifest.filter(pl.col("subtype").is_not_null())
    benign = set(labelled.filter(~pl.col("malignant"))["subtype"].to_list())
    cancer = set(labelled.filter(pl.col("malignant"))["subtype"].to_list())
    if both := sorted(benign & cancer):
        raise BadInputError(
            "A class is either malignant or not. These stand in both groups:\n"
            + listing(both)
            + "\nCorrect the `malignant` column of the manifest's source and ingest it again."
        )
    if not benign or not cancer:
        raise BadInputError(
            "A cohort needs at least one malignant and one non-malignant class; "
            f"received non-malignant {sorted(benign)} and malignant {sorted(cancer)}. "
            "Check the labels, and which of them are declared malignant."
        )
    names = order_names(benign, NON_MALIGNANT_ORDER) + order_names(cancer, MALIGNANT_ORDER)
    return ClassList(names=tuple(names), n_non_malignant=len(benign))


def rare_classes(manifest: pl.DataFrame) -> tuple[str, ...]:
    """The malignant classes but for the one with the most patients, in class order; none where there is but one."""
    malignant = classes_of(manifest).malignant
    counts = manifest.group_by("subtype").agg(pl.col("patient_id").n_unique().alias("n"))
    n_patients = dict(counts.iter_rows())
    common = max(malignant, key=lambda name: n_patients[name])
    return tuple(name for name in malignant if name != common)


def complete_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every manifest column present (missing ones null), in order and in type."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in MANIFEST_COLUMNS.items()
    )


def read_manifest(folder: Path) -> pl.DataFrame:
    """The manifest of a cohort or run folder; BadInputError where it is missing or lacks columns."""
    path = folder / "manifest.parquet"
    if not path.is_file():
        raise BadInputError(
            f"No manifest.parquet in {folder}. A cohort folder is made by `csasn ingest SOURCE --out COHORT` "
            "or `csasn simulate --out COHORT`."
        )
    manifest = read_parquet(path, remedy="Ingest the source again, or restore the file.")
    if missing := [name for name in MANIFEST_COLUMNS if name not in manifest.columns]:
        raise BadInputError(f"{path} lacks the columns\n{listing(missing)}\nIngest the source again.")
    if manifest.is_empty():
        raise BadInputError(f"{path} has no rows: there is nothing to learn from.")
    return manifest


def manifest_sha256(manifest: pl.DataFrame) -> str:
    """SHA-256 of a manifest's content, independent of how parquet stored it."""
    return content_sha256(manifest.select(list(MANIFEST_COLUMNS)))


def content_sha256(frame: pl.DataFrame) -> str:
    """SHA-256 of a frame's rows as CSV, taken piece by piece so that a million rows need little memory."""
    digest = hashlib.sha256(frame.clear().write_csv().encode())
    for rows in frame.iter_slices(100_000):
        text = rows.with_columns(pl.selectors.binary().bin.encode("base64"))
        digest.update(text.write_csv(include_header=False).encode())
    return digest.hexdigest()
