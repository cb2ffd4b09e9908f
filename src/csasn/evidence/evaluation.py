"""The record of metrics.json: every section of a run's evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csasn.calibration.prediction_sets import Scarcity
from csasn.calibration.thresholds import OperatingPoint
from csasn.evidence.calibration_section import CalibrationSection
from csasn.evidence.comparison import Comparison, PairedTest
from csasn.evidence.coverage import Coverage
from csasn.evidence.decision import Biopsies, NetBenefit
from csasn.evidence.generalisation import Beside
from csasn.evidence.heterogeneity import Heterogeneity
from csasn.evidence.record import Record
from csasn.evidence.subgroups import Subgroup
from csasn.units import Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Counts of test units: a row a reference class, a column a most probable class, both in the order of `classes`."""

    classes: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSetsSection:
    """Sets that are to miss each class in a share `alpha`: what tuning patients promise, and what test patients got."""

    alpha: float
    certificate: Sequence[Scarcity]
    coverage: Sequence[Coverage]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionSection:
    """Net benefit by target and threshold, and biopsies against reference policies."""

    curves: Sequence[NetBenefit]
    biopsies: Sequence[Biopsies]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Everything that metrics.json holds, section by section; see docs/reference/metrics.md."""

    records: Sequence[Record]
    operating_points: Sequence[OperatingPoint]
    comparisons: Sequence[Comparison]
    paired_tests: Sequence[PairedTest]
    confusion: Mapping[Unit, Confusion]
    sites: Sequence[Heterogeneity]
    subgroups: Sequence[Subgroup]
    calibration: CalibrationSection
    prediction_sets: PredictionSetsSection
    decision: DecisionSection
    beside: Beside | None = None
