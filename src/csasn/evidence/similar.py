"""Similar patients: the training nodules that lie nearest to each rare nodule that was read wrongly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from csasn.arrays import Array
from csasn.calibration.calibrate import EMBEDDINGS
from csasn.calibration.embeddings import read_embeddings
from csasn.calibration.novelty import column_scale, on_sphere
from csasn.evidence.run_tables import RunTables
from csasn.schema import rare_classes
from csasn.units import MAIN_MODEL, tested_rows, units_of

OF_A_NODULE = ("site", "patient_id", "nodule_id", "image_path", "reference")


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A training nodule that lies near: its first image, its class, and the cosine to the nodule asked about."""

    site: str
    patient_id: str
    nodule_id: str
    image_path: str
    reference: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RareError:
    """A test nodule of a rare class that was read as another, with its nearest training nodules, nearest first."""

    fold: int
    site: str
    patient_id: str
    nodule_id: str
    image_path: str
    reference: str
    predicted: str
    p_reference: float
    similar: Sequence[Neighbour]


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """Everything of similar.json; `n_similar` is the number of neighbours that were looked for."""

    rare_classes: Sequence[str]
    n_similar: int
    errors: Sequence[RareError]


def similar_content(tables: RunTables) -> Similar:
    """Everything of similar.json: each test nodule of a rare class read as another, and what lay near it in training.

    Nearness is the cosine of mean embeddings by the fold's own model, standardised on its training nodules; of a
    patient only the nearest nodule is told. Errors stand in the order of their probability for the reference class.
    """
    run = tables.run
    errors = _rare_errors(tables)
    n_similar, found = run.configuration.explain.n_similar, []
    for fold in errors["fold"].unique().sort().to_list():
        nodules = nodules_of(read_embeddings(run, EMBEDDINGS, fold))
        train, test = (nodules.filter(pl.col("partition") == part) for part in ("train", "test"))
        own = errors.filter(pl.col("fold") == fold)
        asked = own.select("nodule_id").join(test, on="nodule_id", validate="1:1", maintain_order="left")
        cosine = cosines(_points(asked), _points(train))
        found += list(_told(own, train, cosine, n_similar))
    return Similar(
        rare_classes=list(rare_classes(tables.manifest)),
        n_similar=n_similar,
        errors=sorted(found, key=lambda each: (each.p_reference, each.nodule_id)),
    )


def nodules_of(images: pl.DataFrame) -> pl.DataFrame:
    """Image rows with keys, labels and embeddings -> a row a nodule: its first image and its mean embedding."""
    grouped = images.sort("image_path").group_by("partition", "nodule_id", maintain_order=True)
    told = pl.col("site", "patient_id", "malignant", "subtype", "image_path").first()
    nodules = grouped.agg(told, pl.col("embedding"))
    means = np.stack([np.mean(each.to_numpy(), axis=0, dtype=np.float64) for each in nodules["embedding"]])
    reference = pl.col("subtype").fill_null(
        pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("not malignant"))
    )
    return nodules.with_columns(reference.alias("reference"), pl.Series("embedding", means)).sort("nodule_id")


def cosines(points: Array, train: Array) -> Array:
    """Cosines (m, n) of points (m, D) and training points (n, D), from the training mean, each column over its SD.

    Pooled features are positive: seen from the origin they would all point the same way.
    """
    centre, scale = train.mean(axis=0), column_scale(train)
    return np.asarray(on_sphere(points - centre, scale) @ on_sphere(train - centre, scale).T)


def _points(nodules: pl.DataFrame) -> Array:
    return np.asarray(nodules["embedding"].to_numpy(), dtype=np.float64)


def _rare_errors(tables: RunTables) -> pl.DataFrame:
    """Test nodules of a rare class that CSASN read as another: fold, keys, reference, predicted, p_reference."""
    classes = tables.classes
    nodules = tested_rows(tables.by_unit["nodule"], MAIN_MODEL)
    units = units_of(nodules, classes)
    predicted = units.y_prob.argmax(axis=1)
    read = nodules.select("fold", "site", "patient_id", "nodule_id", "image_path", reference=pl.col("subtype"))
    read = read.with_columns(
        predicted=pl.Series([classes.names[k] for k in predicted.tolist()], dtype=pl.String),
        p_reference=pl.Series(units.y_prob[np.arange(len(nodules)), units.y_true]),
        wrong=pl.Series(units.known & (predicted != units.y_true)),
    )
    return read.filter("wrong", pl.col("reference").is_in(list(rare_classes(tables.manifest))))


def _told(errors: pl.DataFrame, train: pl.DataFrame, cosine: Array, n_similar: int) -> Iterator[RareError]:
    """A record an error with its nearest training nodules, one a patient, nearest first."""
    for row, near in zip(errors.drop("wrong").iter_rows(named=True), cosine, strict=True):
        yield RareError(**row, similar=nearest_of(train, near, n_similar=n_similar))


def nearest_of(train: pl.DataFrame, cosine: Array, *, n_similar: int) -> list[Neighbour]:
    """The nearest of the training nodules (n rows, cosine (n,)) as records, the nearest nodule of a patient alone."""
    table, n_looked_at = train.select(OF_A_NODULE), 4 * n_similar
    while True:
        everyone = n_looked_at >= cosine.size
        edge = -np.inf if everyone else np.partition(cosine, -n_looked_at)[-n_looked_at]
        near = np.flatnonzero(cosine >= edge)
        ordered = table[near].with_columns(cosine=pl.Series(cosine[near]))
        ordered = ordered.sort("cosine", "nodule_id", descending=[True, False])
        found = ordered.unique("patient_id", keep="first", maintain_order=True).head(n_similar)
        if everyone or len(found) == n_similar:
            return [Neighbour(**row) for row in found.to_dicts()]
        n_looked_at *= 4
