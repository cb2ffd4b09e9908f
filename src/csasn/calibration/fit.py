"""Everything that is fitted on tuning rows once a model is trained; test rows are never looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from csasn.calibration.embeddings import NAMED, by_patient, images_of
from csasn.calibration.novelty import DETECTORS, Detectors, fit_detectors, novelty_thresholds
from csasn.calibration.prediction_sets import Scarcity, certificate
from csasn.calibration.temperature import Temperature, temperatures, with_temperatures
from csasn.calibration.thresholds import OperatingPoint, freeze
from csasn.config import EvaluateSettings, NoveltySettings
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSets:
    """The promise that prediction sets were calibrated for, and the threshold of each fold and class."""

    alpha: float
    calibrated_together: Sequence[str]
    thresholds: Sequence[Scarcity]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoveltyThreshold:
    """The novelty of one detector in one fold beyond which a patient is abstained on.

    `abstained_fraction` of the fold's `n` tuning patients lie beyond it.
    """

    fold: int
    detector: str
    threshold: float
    abstained_fraction: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What a prediction needs afterwards; `novelty` is empty where no embeddings were written."""

    operating_points: Sequence[OperatingPoint]
    temperatures: Sequence[Temperature]
    prediction_sets: PredictionSets
    novelty: Sequence[NoveltyThreshold] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoveltyGate:
    """A fold's detectors and the threshold of each."""

    detectors: Detectors
    thresholds: dict[str, float]


def fit_calibration(tables: Mapping[Unit, pl.DataFrame], classes: ClassList, settings: EvaluateSettings) -> Calibration:
    """Operating points of every model, target and unit; temperatures and prediction sets of CSASN per patient.

    `tables` are those of `per_unit`. Raises BadInputError where evaluate.calibrated_together names no class.
    """
    patients = tables["patient"].filter(pl.col("model") == MAIN_MODEL)
    found = temperatures(patients, classes)
    thresholds = certificate(
        with_temperatures(patients, classes, found),
        classes,
        alpha=settings.set_alpha,
        together=settings.calibrated_together,
    )
    return Calibration(
        operating_points=[point for unit, table in tables.items() for point in freeze(table, classes, unit=unit)],
        temperatures=found,
        prediction_sets=PredictionSets(
            alpha=settings.set_alpha,
            calibrated_together=settings.calibrated_together,
            thresholds=thresholds,
        ),
    )


def fit_gate(frame: pl.DataFrame, settings: NoveltySettings) -> tuple[NoveltyGate, int]:
    """Detectors of a fold's training images with thresholds from its tuning patients, and how many these were.

    `frame` is that of `read_embeddings`.
    """
    train, tuning = (frame.filter(pl.col("partition") == part) for part in ("train", "tuning"))
    group = train.select(NAMED).to_series().to_numpy()
    detectors = fit_detectors(images_of(train), group, images_of(tuning), n_neighbours=settings.n_neighbours)
    patients = by_patient(with_novelty(tuning, detectors))
    thresholds = novelty_thresholds(
        {name: patients[name].to_numpy() for name in DETECTORS}, settings.abstained_fraction
    )
    return NoveltyGate(detectors=detectors, thresholds=thresholds), len(patients)


def with_novelty(frame: pl.DataFrame, detectors: Detectors) -> pl.DataFrame:
    """The table with a column a detector."""
    return frame.with_columns(pl.Series(name, each) for name, each in detectors.novelty(images_of(frame)).items())
