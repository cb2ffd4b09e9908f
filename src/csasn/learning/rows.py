"""The manifest's rows as arrays with their labels; every fold is a choice of rows."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.config import Sampling
from csasn.errors import BadInputError, listing
from csasn.imaging.store import PixelStore
from csasn.learning.sampling import shares
from csasn.runs import Run
from csasn.schema import ClassList

UNKNOWN_CLASS = -1


def labels(manifest: pl.DataFrame, classes: ClassList) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Class index (N,), -1 where the subtype is unknown, and malignant (N,), in the manifest's row order.

    Raises BadInputError where a subtype is not in the class list or stands in the other group.
    """
    malignant = manifest["malignant"].to_numpy().astype(np.bool_)
    subtypes = manifest["subtype"].to_list()
    if strange := sorted({name for name in subtypes if name is not None} - set(classes.names)):
        raise BadInputError(
            f"The class list is {list(classes.names)}; the manifest also has\n{listing(strange)}\n"
            "Take the class list from the same manifest."
        )
    number = {name: index for index, name in enumerate(classes.names)}
    index = np.array([UNKNOWN_CLASS if name is None else number[name] for name in subtypes], dtype=np.int64)
    crossed = (index >= 0) & ((index >= classes.n_non_malignant) != malignant)
    if crossed.any():
        rows = [
            f"{path}: {name}"
            for path, name, wrong in zip(manifest["image_path"], subtypes, crossed, strict=True)
            if wrong
        ]
        raise BadInputError(f"These rows' `malignant` contradicts their class:\n{listing(rows)}\nCorrect the source.")
    return index, malignant


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledRows:
    """The manifest's rows as arrays, in its order; every fold is a choice of rows.

    `store_rows` (N,) into the pixel store; `class_index` (N,), -1 for unknown; `malignant` (N,) bool; `patient` and
    `site` (N,), the same number for the same patient and for the same site.
    """

    classes: ClassList
    store_rows: NDArray[np.int64]
    class_index: NDArray[np.int64]
    malignant: NDArray[np.bool_]
    patient: NDArray[np.int64]
    site: NDArray[np.int64]

    def shares(self, rows: NDArray[np.int64], sampling: Sampling) -> NDArray[np.float64]:
        """How often an epoch shows each of these training rows on average, (len(rows),)."""
        return shares(self.class_index[rows], self.patient[rows], sampling)

    def shown(self, rows: NDArray[np.int64], sampling: Sampling) -> tuple[list[float], tuple[float, float]]:
        """Images of each class in an epoch over these rows, and those known only as not malignant, and as malignant.

        Priors follow the sampling: they are those of what is trained on.
        """
        share, index, malignant = self.shares(rows, sampling), self.class_index[rows], self.malignant[rows]
        known = index >= 0
        of_class = np.bincount(index[known], weights=share[known], minlength=len(self.classes.names))
        unknown = [float(share[~known & (malignant == group)].sum()) for group in (False, True)]
        return of_class.tolist(), (unknown[0], unknown[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRows:
    """Manifest rows of one fold that training may see; the test rows are not among them."""

    fold: int
    train: NDArray[np.int64]
    tuning: NDArray[np.int64]


def labelled_rows(run: Run, store: PixelStore) -> LabelledRows:
    """The run's manifest as arrays over a pixel store."""
    manifest, classes = run.manifest(), run.classes()
    class_index, malignant = labels(manifest, classes)
    return LabelledRows(
        classes=classes,
        store_rows=store.rows(manifest["sha256"].to_list()),
        class_index=class_index,
        malignant=malignant,
        patient=manifest["patient_id"].rank("dense").to_numpy().astype(np.int64),
        site=manifest["site"].rank("dense").to_numpy().astype(np.int64),
    )


def rows_of(run: Run, partition: str) -> dict[int, NDArray[np.int64]]:
    """Manifest row numbers of one partition, by fold."""
    numbered = run.manifest().select("image_path").with_row_index("row")
    chosen = run.split().filter(pl.col("partition") == partition).join(numbered, on="image_path")
    return {
        int(fold): np.sort(group["row"].to_numpy().astype(np.int64))
        for (fold,), group in sorted(chosen.group_by("fold"), key=lambda pair: pair[0])
    }


def folds_of(run: Run) -> list[FoldRows]:
    """Train and tuning rows of every fold."""
    train, tuning = rows_of(run, "train"), rows_of(run, "tuning")
    return [FoldRows(fold=fold, train=train[fold], tuning=tuning[fold]) for fold in train]
