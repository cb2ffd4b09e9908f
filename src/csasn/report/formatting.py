"""The evaluation's records by what they are of, and a record as text."""

from collections.abc import Sequence
from typing import Protocol

from csasn.evidence.record import Record
from csasn.units import MAIN_MODEL, MALIGNANCY, Units

NOT_ESTIMABLE = "not estimable"
HEADLINE = (MAIN_MODEL, "all", "patient")  # the model, sites and unit that the page is about
OVERALL_METRICS = {
    "macro_auroc": "Macro AUROC",
    "macro_auprc": "Macro AUPRC",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "top2_sensitivity": "Top-2 sensitivity, mean over classes",
    "brier": "Brier (0 best, 2 worst)",
    "ece": "ECE, most probable class",
    "classwise_ece": "ECE, mean over classes",
}
CLASS_METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier", "ece": "ECE"}
Index = dict[tuple[str, str, str, str, str], Record]  # model, site, unit, target, metric


class Estimated(Protocol):
    """A record with an estimate and its interval; None is "not estimable"."""

    @property
    def estimate(self) -> float | None:
        """The figure."""

    @property
    def low(self) -> float | None:
        """The lower end of its interval."""

    @property
    def high(self) -> float | None:
        """The upper end of its interval."""


def shown_targets(units: Units) -> tuple[str, ...]:
    """Malignancy and the classes, without a class that is all of malignancy: it would say everything twice."""
    if len(units.classes.malignant) == 1 and units.known[units.malignant].all():
        return (MALIGNANCY, *units.classes.non_malignant)
    return units.targets


def counted(n: int, what: str) -> str:
    """A number with what it counts: "1 patient", "1,200 patients"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def index(records: Sequence[Record]) -> Index:
    """Records by model, site, unit, target and metric."""
    return {(each.model, each.site, each.unit, each.target, each.metric): each for each in records}


def with_interval(record: Estimated | None, *, digits: int = 2) -> str:
    """Estimate and interval as text: "0.84 (0.81–0.87)", or "not estimable"."""
    return share(record, digits=digits) if record else NOT_ESTIMABLE


def ends_text(estimate: float | None, low: float | None, high: float | None, *, digits: int = 2) -> str:
    """An estimate with its interval as text, or "not estimable"."""
    if estimate is None:
        return NOT_ESTIMABLE
    if low is None or high is None:
        return f"{number(estimate, digits=digits)} (interval not estimable)"
    dash = " to " if low < 0 else "–"
    return f"{number(estimate, digits=digits)} ({number(low, digits=digits)}{dash}{number(high, digits=digits)})"


def share(row: Estimated, *, digits: int = 2) -> str:
    """The estimate of a record with its interval."""
    return ends_text(row.estimate, row.low, row.high, digits=digits)


def number(value: float | None, *, digits: int = 2) -> str:
    """A number with a true minus sign, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def p_text(p: float | None) -> str:
    """A p-value to three places, "<0.001" below them, or a dash where there is none."""
    return "<0.001" if p is not None and p < 0.001 else number(p, digits=3)


def figure_name(target: str, metric: str) -> str:
    """What a figure is called on the page: "Macro AUROC", "malignancy AUROC", "FTC sensitivity"."""
    if target == "all":
        return OVERALL_METRICS.get(metric, metric)
    return f"{target} {CLASS_METRICS.get(metric, metric)}"
