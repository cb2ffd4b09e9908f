"""Predictions calibrated and evaluated at once, as `csasn run` does."""

from pathlib import Path

import polars as pl

from csasn.calibration.calibrate import calibrate_run
from csasn.calibration.fit import fit_calibration
from csasn.config import EvaluateSettings
from csasn.evidence import evaluate as room
from csasn.evidence.evaluate import Evaluation
from csasn.evidence.run_tables import RunTables, read_tables
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.units import UNITS, Unit, per_unit


def by_unit(predictions: pl.DataFrame, classes: ClassList) -> dict[Unit, pl.DataFrame]:
    """The predictions by unit."""
    return {unit: per_unit(predictions, classes, unit=unit) for unit in UNITS}


def evaluate(
    predictions: pl.DataFrame, manifest: pl.DataFrame, classes: ClassList, settings: EvaluateSettings
) -> Evaluation:
    """Calibrated on the tuning rows, evaluated on the test rows."""
    tables = by_unit(predictions, classes)
    return room.evaluate(tables, fit_calibration(tables, classes, settings), manifest, classes, settings)


def calibrated(run: Run) -> RunTables:
    """The tables of a run after `csasn calibrate`."""
    calibrate_run(run)
    return read_tables(run)


def evaluate_run(run: Run) -> Path:
    """`csasn calibrate`, then `csasn evaluate`."""
    calibrate_run(run)
    return room.evaluate_run(run)
