"""What an evaluation reads of a run folder, read once and handed on."""

from dataclasses import dataclass

import polars as pl

from csasn.calibration.calibrate import read_calibration
from csasn.calibration.fit import Calibration
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.units import UNITS, Unit, per_unit


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunTables:
    """The run's manifest, its predictions by unit (`per_unit`) and what was fitted on their tuning rows."""

    run: Run
    manifest: pl.DataFrame
    classes: ClassList
    by_unit: dict[Unit, pl.DataFrame]
    calibration: Calibration


def read_tables(run: Run) -> RunTables:
    """Read a run on which `calibrate` is finished; MismatchError where a file was changed since."""
    classes = run.classes()
    predictions = read_parquet(run.require("predictions.parquet"))
    return RunTables(
        run=run,
        manifest=run.manifest(),
        classes=classes,
        by_unit={unit: per_unit(predictions, classes, unit=unit) for unit in UNITS},
        calibration=read_calibration(run),
    )
