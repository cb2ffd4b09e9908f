"""The hardest errors, with their pictures."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from csasn.report.blocks import Picture, Pictures, Section, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.thumbnail import thumbnail
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL, per_unit, tested_rows, units_of

N_ERRORS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class HardError:
    """A test image that CSASN read wrongly."""

    patient_id: str
    site: str
    image_path: str
    reference: str
    p_reference: float
    predicted: str
    p_predicted: float


def errors(evaluated: EvaluatedRun) -> Section:
    """The test images read wrongly with the least probability for their reference class."""
    found = hardest_errors(evaluated.predictions, evaluated.classes)
    words = Words(
        text=f"The {len(found)} test image{'' if len(found) == 1 else 's'} read wrongly with the least probability for "
        "the reference class."
        if found
        else "No test image was read wrongly."
    )
    pictures = Pictures(pictures=tuple(_picture(evaluated, each) for each in found))
    return Section(
        id="errors",
        title="The hardest errors",
        short="Hardest errors",
        blocks=(words, pictures) if found else (words,),
    )


def hardest_errors(predictions: pl.DataFrame, classes: ClassList, *, n: int = N_ERRORS) -> list[HardError]:
    """The wrong readings with the smallest probability for their reference class, smallest first."""
    test = tested_rows(per_unit(predictions, classes, unit="image"), MAIN_MODEL)
    units = units_of(test, classes)
    own = units.y_prob[np.arange(units.y_true.size), units.y_true]
    predicted = units.y_prob.argmax(axis=1)
    wrong = np.flatnonzero(units.known & (predicted != units.y_true))
    found = []
    for place in wrong[np.argsort(own[wrong], kind="stable")][:n].tolist():
        row = test.row(place, named=True)
        found.append(
            HardError(
                patient_id=row["patient_id"],
                site=row["site"],
                image_path=row["image_path"],
                reference=classes.names[units.y_true[place]],
                p_reference=float(own[place]),
                predicted=classes.names[predicted[place]],
                p_predicted=float(units.y_prob[place].max()),
            )
        )
    return found


def _picture(evaluated: EvaluatedRun, error: HardError) -> Picture:
    png, missing = thumbnail(evaluated.run.images_root(), error.image_path, evaluated.sha256_of(error.image_path))
    return Picture(
        png=png,
        missing=missing,
        title=f"{error.reference}, p = {error.p_reference:.3f}",
        lines=(
            f"read as {error.predicted}, p = {error.p_predicted:.3f}",
            f"site {error.site}",
            f"patient {error.patient_id}",
        ),
        alt=f"Ultrasound image of patient {error.patient_id}",
    )
