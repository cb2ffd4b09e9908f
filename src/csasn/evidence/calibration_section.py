"""The calibration of a run per patient: reliability, Brier's parts, and figures before and after each correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from csasn.arrays import Array
from csasn.calibration.prevalence import declared_prevalence, shifted
from csasn.calibration.temperature import Temperature
from csasn.config import EvaluateSettings
from csasn.evidence.metric_panel import EVERY_CLASS, too_few
from csasn.evidence.statistics.metrics import brier
from csasn.evidence.statistics.reliability import Murphy, ece, equal_mass_bins, murphy, reliability, top_label
from csasn.schema import ClassList
from csasn.units import Units, units_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """One bin of a target's reliability diagram; `stage` says which probabilities: "raw" or "calibrated"."""

    stage: str
    target: str
    mean_probability: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Brier, ECE of the most probable class and NLL (nats a patient) over all classes at one stage."""

    stage: str
    brier: float
    ece: float
    nll: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prevalence:
    """One class: its share in the cohort, in the declared population, and the mean probability before and after."""

    target: str
    cohort: float
    population: float
    mean_before: float
    mean_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSection:
    """Section `calibration` of metrics.json, per patient; `population` is empty where none is declared."""

    temperatures: Sequence[Temperature]
    reliability: Sequence[ReliabilityBin]
    murphy: Sequence[Murphy]
    corrections: Sequence[Correction]
    population: Sequence[Prevalence]


def calibration_section(
    raw: pl.DataFrame,
    calibrated: pl.DataFrame,
    fitted: list[Temperature],
    classes: ClassList,
    settings: EvaluateSettings,
) -> CalibrationSection:
    """`raw` and `calibrated` hold CSASN's test rows, one a patient, before and after its folds' temperatures."""
    stages = {"raw": units_of(raw, classes), "calibrated": units_of(calibrated, classes)}
    bins: list[ReliabilityBin] = []
    parts: list[Murphy] = []
    for stage, units in stages.items():
        bins += _bins(stage, units, settings)
        parts += _parts(units, settings) if stage == "raw" else []
    return CalibrationSection(
        temperatures=fitted,
        reliability=bins,
        murphy=parts,
        corrections=[_correction(stage, units, settings) for stage, units in stages.items() if units.known.any()],
        population=_population(stages["calibrated"], classes, settings),
    )


def _bins(stage: str, units: Units, settings: EvaluateSettings) -> list[ReliabilityBin]:
    known = units.known
    sides = {EVERY_CLASS: top_label(units.y_true[known], units.y_prob[known])} if known.any() else {}
    for target in units.targets:
        binary = units.binary(target)
        if not too_few(target, binary):
            sides[target] = (binary.y_true, binary.y_prob)
    return [
        ReliabilityBin(
            stage=stage,
            target=target,
            mean_probability=each.mean_probability,
            observed=each.observed,
            low=each.low,
            high=each.high,
            n=each.n,
        )
        for target, (y, p) in sides.items()
        for each in reliability(y, p, n_bins=settings.calibration_bins, confidence=settings.confidence)
    ]


def _parts(units: Units, settings: EvaluateSettings) -> list[Murphy]:
    found = []
    for target in units.targets:
        binary = units.binary(target)
        if not too_few(target, binary):
            bins = equal_mass_bins(binary.y_prob, n_bins=settings.calibration_bins)
            found.append(murphy(target, binary.y_true, binary.y_prob, bins))
    return found


def _correction(stage: str, units: Units, settings: EvaluateSettings) -> Correction:
    y, p = units.y_true[units.known], units.y_prob[units.known]
    right, top = top_label(y, p)
    own = np.maximum(p[np.arange(y.size), y], np.finfo(float).tiny)
    return Correction(
        stage=stage,
        brier=float(brier(y, p)),
        ece=float(ece(right, top, n_bins=settings.calibration_bins)),
        nll=float(-np.log(own).mean()),
        n=y.size,
    )


def _population(units: Units, classes: ClassList, settings: EvaluateSettings) -> list[Prevalence]:
    """How probabilities move in the declared population; empty where none is declared or a class is missing."""
    known = units.known
    source = np.bincount(units.y_true[known], minlength=len(classes.names)) / max(int(known.sum()), 1)
    target = declared_prevalence(settings.population, classes, source)
    if target is None or (source <= 0).any():
        return []
    moved: Array = shifted(units.y_prob, source=source, target=target)
    return [
        Prevalence(
            target=name,
            cohort=float(source[k]),
            population=float(target[k]),
            mean_before=float(units.y_prob[:, k].mean()),
            mean_after=float(moved[:, k].mean()),
        )
        for k, name in enumerate(classes.names)
    ]
