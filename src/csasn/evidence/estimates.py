"""A table of units with all its resampled figures: the draws are kept, so that two models can be compared on them."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from csasn.arrays import Array
from csasn.config import EvaluateSettings
from csasn.evidence.flat_figures import WITHOUT, flat_interval
from csasn.evidence.metric_panel import Figure, estimable_classes, panel
from csasn.evidence.record import Record, Scope
from csasn.evidence.statistics.bootstrap import Bootstrapped, bootstrap
from csasn.evidence.statistics.intervals import auprc_interval, is_flat, newcombe_auroc
from csasn.schema import ClassList
from csasn.units import Units, units_of

PRECISION = ("auprc", "macro_auprc")
KEY_OF = {"patient": "patient_id", "nodule": "nodule_id", "image": "image_path"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resampled:
    """The units of one table, their figures, and what the bootstrap gave for the estimable ones, in order."""

    scope: Scope
    keys: tuple[str, ...]
    units: Units
    figures: tuple[Figure, ...]
    found: Bootstrapped

    @property
    def estimable(self) -> list[Figure]:
        """The figures that the bootstrap holds a column for."""
        return [figure for figure in self.figures if figure.estimable]

    def draws(self, target: str, metric: str) -> tuple[float, Array] | None:
        """The estimate and the draws (D,) of one figure, or None where it is not estimable."""
        for column, figure in enumerate(self.estimable):
            if (figure.target, figure.metric) == (target, metric):
                return float(self.found.estimate[column]), self.found.draws[:, column]
        return None

    def records(self, settings: EvaluateSettings) -> list[Record]:
        """One record a figure, in the panel's order."""
        columns = iter(range(len(self.estimable)))
        return [self._record(figure, next(columns) if figure.estimable else None, settings) for figure in self.figures]

    def _record(self, figure: Figure, column: int | None, settings: EvaluateSettings) -> Record:
        ends, note = None, figure.note
        method = f"bootstrap over patients within classes, {settings.n_bootstrap} draws"
        if column is not None:
            found = self.found
            ends = (float(found.estimate[column]), float(found.low[column]), float(found.high[column]))
            if figure.metric in PRECISION:
                ends = (ends[0], *self._precision(figure, column, settings.confidence))
                method = "jackknife over patients within classes, logit scale, Student's t"
            elif figure.metric == "auroc" and self.scope.unit == "patient" and ends[0] in (0.0, 1.0):
                actual = self.units.binary(figure.target).y_true
                area = newcombe_auroc(
                    ends[0],
                    n_positive=int(actual.sum()),
                    n_negative=int((~actual).sum()),
                    confidence=settings.confidence,
                )
                ends, method = (ends[0], *area), "Newcombe's method 5: no draw differs from the estimate"
            if is_flat(ends[1], ends[2]):
                values = {(each.target, each.metric): float(found.estimate[k]) for k, each in enumerate(self.estimable)}
                within, method = flat_interval(figure, values, self.units, self.scope.unit, settings.confidence)
                ends = (ends[0], *(within or (np.nan, np.nan)))
                note = note if within else "; ".join(filter(None, [note, WITHOUT]))
        return self.scope.record(
            figure.target,
            figure.metric,
            ends,
            n=figure.n,
            n_positive=figure.n_positive,
            method=method,
            note=note,
        )

    def _precision(self, figure: Figure, column: int, confidence: float) -> tuple[float, float]:
        """The interval of AUPRC, of one target or the mean over the classes that can be estimated."""
        chosen = [self.units.classes.names[k] for k in estimable_classes(self.units)[0]]
        sides = [self.units.binary(each) for each in ([figure.target] if figure.metric == "auprc" else chosen)]
        n_positive, n_negative = (min(side.n_patients(positive=yes) for side in sides) for yes in (True, False))
        return auprc_interval(
            float(self.found.estimate[column]),
            self.found.left_out[:, column],
            self.found.left_out_strata,
            n_positive=n_positive,
            n_negative=n_negative,
            confidence=confidence,
        )


def resample(
    scope: Scope, test: pl.DataFrame, classes: ClassList, settings: EvaluateSettings, *, brief: bool
) -> Resampled:
    """All figures of a table of test rows; the same patients get the same draws, whichever model read them."""
    test = test.sort(KEY_OF[scope.unit])
    units = units_of(test, classes)
    chosen = panel(units, settings, brief=brief)
    found = bootstrap(
        units.patients,
        chosen.statistic,
        strata=units.strata(),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
        method=chosen.smooth,
    )
    return Resampled(
        scope=scope, keys=tuple(test[KEY_OF[scope.unit]].to_list()), units=units, figures=chosen.figures, found=found
    )
