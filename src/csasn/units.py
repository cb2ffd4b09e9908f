"""From image to nodule to patient: one row, one label and one probability a class for each unit."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import log_softmax

from csasn.arrays import Array
from csasn.errors import BadInputError, listing
from csasn.schema import PREDICTION_COLUMNS, ClassList

Unit = Literal["image", "nodule", "patient"]
UNITS: tuple[Unit, ...] = ("patient", "nodule", "image")
MALIGNANCY = "malignancy"  # the target that sums the malignant classes
UNKNOWN = -1  # y_true of a unit whose subtype is not known
MAIN_MODEL = "csasn"  # all other models are its baselines
KEYS = ["model", "fold", "partition"]


def per_unit(predictions: pl.DataFrame, classes: ClassList, *, unit: Unit) -> pl.DataFrame:
    """The predictions with one row a unit, per model, fold and partition; the columns stay the same.

    Nodule: mean of its images' log-softmax logits, renormalised. Patient: the nodule with the largest p(malignant),
    under the label of its most malignant nodule. `image_path` is the first of the unit's images by name.
    """
    images = _normalised(checked(predictions, classes), classes)
    if unit == "image":
        return images.sort([*KEYS, "image_path"])
    nodules = _nodules(images, classes)
    return nodules if unit == "nodule" else _patients(nodules, classes)


def checked(predictions: pl.DataFrame, classes: ClassList) -> pl.DataFrame:
    """The prediction columns in order; BadInputError where one is missing, a label unknown or a row there twice."""
    wanted = [*PREDICTION_COLUMNS, *_columns("logit", classes), *_columns("probability", classes)]
    if missing := [name for name in wanted if name not in predictions.columns]:
        raise BadInputError(f"The predictions lack these columns:\n{listing(missing)}\nRun `csasn predict` again.")
    chosen = predictions.select(wanted)
    unknown = set(chosen["subtype"].drop_nulls().to_list()) - set(classes.names)
    if unknown:
        raise BadInputError(f"The predictions hold classes that the manifest has not:\n{listing(sorted(unknown))}")
    test = chosen.filter(pl.col("partition") == "test")
    if not test.select(pl.struct("model", "image_path").is_duplicated().any()).item():
        return chosen
    twice = test.filter(pl.struct("model", "image_path").is_duplicated())["image_path"].unique().sort().to_list()
    raise BadInputError(f"A model tests each image once. These were tested twice:\n{listing(twice)}")


def _columns(prefix: str, classes: ClassList) -> list[str]:
    return [f"{prefix}_{name}" for name in classes.names]


def _normalised(frame: pl.DataFrame, classes: ClassList) -> pl.DataFrame:
    """Logits replaced by their log-softmax, and probabilities by its exponential."""
    given = frame.select(_columns("logit", classes)).to_numpy().astype(np.float64)
    if not np.isfinite(given).all():
        places = frame.filter(pl.Series(~np.isfinite(given).all(axis=1)))["image_path"].to_list()
        raise BadInputError(f"Logits must be finite. They are not for\n{listing(places)}\nRun `csasn predict` again.")
    logits = log_softmax(given, axis=1)
    return frame.with_columns(
        *(pl.Series(name, column) for name, column in zip(_columns("logit", classes), logits.T, strict=True)),
        *(pl.Series(name, np.exp(c)) for name, c in zip(_columns("probability", classes), logits.T, strict=True)),
    )


def _nodules(images: pl.DataFrame, classes: ClassList) -> pl.DataFrame:
    labels = images.group_by("nodule_id").agg(pl.struct("patient_id", "malignant", "subtype").n_unique().alias("n"))
    if several := labels.filter(pl.col("n") > 1)["nodule_id"].sort().to_list():
        raise BadInputError(
            "All images of a nodule carry one patient and one label. These nodules have several:\n"
            + listing(several)
            + "\nCorrect the manifest's source and ingest it again."
        )
    fixed = ["site", "patient_id", "malignant", "subtype"]
    grouped = images.sort("image_path").group_by([*KEYS, "nodule_id"], maintain_order=True)
    nodules = grouped.agg(
        pl.col("image_path").first(), pl.col(fixed).first(), pl.col(_columns("logit", classes)).mean()
    )
    blank = nodules.with_columns(pl.lit(None, pl.Float64).alias(name) for name in _columns("probability", classes))
    return _normalised(blank.select(images.columns), classes).sort([*KEYS, "nodule_id"])


def _patients(nodules: pl.DataFrame, classes: ClassList) -> pl.DataFrame:
    """The most suspicious nodule's probabilities under the most malignant nodule's label.

    Among malignant nodules the later class in class order (the rarer and more aggressive) gives the label, among
    others the earlier one; a known subtype goes before an unknown one.
    """
    place = {name: number for number, name in enumerate(classes.names)}
    number = pl.col("subtype").replace_strict(place, default=None, return_dtype=pl.Int64)
    rank = pl.when("malignant").then(number + len(place)).otherwise(len(place) - number)
    label = (
        nodules.with_columns(rank.alias("_rank"))
        .sort(["malignant", "_rank", "nodule_id"], descending=[True, True, False], nulls_last=True)
        .group_by([*KEYS, "patient_id"], maintain_order=True)
        .agg(pl.col("malignant", "subtype").first())
    )
    suspicion = pl.sum_horizontal(f"probability_{name}" for name in classes.malignant)
    return (
        nodules.with_columns(suspicion.alias("_suspicion"))
        .sort(["_suspicion", "nodule_id"], descending=[True, False])
        .unique([*KEYS, "patient_id"], keep="first", maintain_order=True)
        .drop("malignant", "subtype", "_suspicion")
        .join(label, on=[*KEYS, "patient_id"], validate="1:1")
        .select(nodules.columns)
        .sort([*KEYS, "patient_id"])
    )


def models_of(table: pl.DataFrame) -> list[str]:
    """The models with test rows: CSASN first, then its baselines by name; BadInputError where CSASN is missing."""
    found = sorted(table.filter(pl.col("partition") == "test")["model"].unique().to_list())
    if MAIN_MODEL not in found:
        raise BadInputError(
            f"The predictions must hold test rows of {MAIN_MODEL!r}; received {found}. Run `csasn predict` again."
        )
    return [MAIN_MODEL, *(name for name in found if name != MAIN_MODEL)]


def tested_rows(table: pl.DataFrame, model: str) -> pl.DataFrame:
    """The out-of-fold rows of one model, pooled over folds."""
    return table.filter(pl.col("model") == model, pl.col("partition") == "test")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Binary:
    """One target as yes or no: y_true (m,), y_prob (m,), patients (m,), and which units they are, rows (n,) bool."""

    y_true: NDArray[np.bool_]
    y_prob: Array
    patients: NDArray[Any]
    rows: NDArray[np.bool_]

    def n_patients(self, *, positive: bool) -> int:
        """Patients with at least one unit on that side."""
        return int(np.unique(self.patients[self.y_true == positive]).size)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Units:
    """The units of a table as arrays: n units, K classes; y_true is UNKNOWN where the subtype is not known."""

    classes: ClassList
    y_true: NDArray[np.int64]
    malignant: NDArray[np.bool_]
    y_prob: Array
    patients: NDArray[Any]

    @property
    def targets(self) -> tuple[str, ...]:
        """The malignancy target, then every class."""
        return (MALIGNANCY, *self.classes.names)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Units whose class is known (n,)."""
        return np.asarray(self.y_true != UNKNOWN, dtype=np.bool_)

    def binary(self, target: str) -> Binary:
        """A class against all others among units of known class, or malignancy among all units."""
        if target == MALIGNANCY:
            rows, y_true = np.ones(self.y_true.size, dtype=bool), self.malignant
            y_prob = self.y_prob[:, self.classes.n_non_malignant :].sum(axis=1)
        else:
            k = self.classes.names.index(target)
            rows, y_true, y_prob = self.known, self.y_true == k, self.y_prob[:, k]
        return Binary(y_true=y_true[rows], y_prob=y_prob[rows], patients=self.patients[rows], rows=rows)

    def against_benign(self, name: str) -> Binary:
        """A malignant class against the non-malignant group alone, by p(class) / (p(class) + p(non-malignant))."""
        k = self.classes.names.index(name)
        rows = np.asarray((self.y_true == k) | ~self.malignant, dtype=np.bool_)
        own, benign = self.y_prob[rows, k], self.y_prob[rows, : self.classes.n_non_malignant].sum(axis=1)
        y_prob = np.divide(own, own + benign, out=np.full(own.size, 0.5), where=own + benign > 0)
        return Binary(y_true=self.y_true[rows] == k, y_prob=y_prob, patients=self.patients[rows], rows=rows)

    def strata(self) -> NDArray[np.int64]:
        """The stratum of each unit's patient (n,): its last class in class order; unknown malignant ones apart."""
        k = len(self.classes.names)
        own = np.where(self.known, self.y_true, np.where(self.malignant, k, UNKNOWN))
        names, code = np.unique(self.patients, return_inverse=True)
        last = np.full(names.size, UNKNOWN, dtype=np.int64)
        np.maximum.at(last, code, own)
        return np.asarray(last[code], dtype=np.int64)


def units_of(table: pl.DataFrame, classes: ClassList) -> Units:
    """The arrays of a table that `per_unit` made."""
    place = {name: number for number, name in enumerate(classes.names)}
    number = table["subtype"].replace_strict(place, default=None, return_dtype=pl.Int64).fill_null(UNKNOWN)
    return Units(
        classes=classes,
        y_true=number.to_numpy().astype(np.int64),
        malignant=table["malignant"].to_numpy().astype(bool),
        y_prob=table.select(_columns("probability", classes)).to_numpy().astype(np.float64),
        patients=table["patient_id"].cast(pl.String).to_numpy().astype(np.str_),
    )
