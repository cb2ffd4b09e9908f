"""The record of study.json: the units of a study, and each variant's figures, differences, verdict and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from csasn.evidence.wording import ArmDifference


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmFigure:
    """One figure of a variant per patient, over all folds; `n` is the number of patients that it is of."""

    target: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedFigure:
    """One figure of a single training of a variant."""

    seed: int
    target: str
    metric: str
    estimate: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedVariant:
    """A variant: what it gives up, what it has instead, and full minus variant; `verdict` is empty where untested."""

    name: str
    module: str
    instead: str
    seeds: Sequence[int]
    figures: Sequence[ArmFigure]
    by_seed: Sequence[SeedFigure]
    differences: Sequence[ArmDifference]
    verdict: str
    paragraph: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelDifference:
    """The AUROC of malignancy of the full network less that of the TI-RADS level alone."""

    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelBaseline:
    """The AUROC of malignancy of the TI-RADS level alone, and the full network less it, on the same patients."""

    figure: ArmFigure
    difference: LevelDifference


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """The part of study.json that the predictions say; the settings are None where no unit has finished yet."""

    confidence: float | None
    n_bootstrap: int | None
    fixed_specificity: float | None
    rare_classes: Sequence[str]
    n_patients: int
    variants: Sequence[JudgedVariant]
    tirads: LevelBaseline | None


NOT_JUDGED = Ablation(
    confidence=None,
    n_bootstrap=None,
    fixed_specificity=None,
    rare_classes=[],
    n_patients=0,
    variants=[],
    tirads=None,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one unit.

    Attributes:
        parameters: of the whole network, the branches included.
        gflops: floating-point operations of reading one image, in thousands of millions; a product and a sum are two.
        images_per_s: training images a second, median over epochs; None for a model that has no epochs.
        training_minutes: of all epochs of all folds, without the reading of the tuning partition; None likewise.
    """

    parameters: int
    gflops: float
    images_per_s: float | None
    training_minutes: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySuite:
    """The suite's file, its seeds, and the settings that the command gave all variants in place of the suite's."""

    file: str
    sha256: str
    seeds: Sequence[int]
    changed: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitState:
    """How one training stands; `error` is the last line of its failure."""

    name: str
    variant: str
    seed: int
    state: Literal["finished", "failed", "waiting"]
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(Ablation):
    """Everything of study.json: what was trained, what the predictions say of it, and what it cost."""

    cohort: str
    simulated: bool
    scheme: str
    csasn: str
    manifest_sha256: str
    suite: StudySuite
    units: Sequence[UnitState]
    costs: Mapping[str, Cost]
