"""Which figures a table of units supports, each as a function of bootstrap weights, and which are not estimable."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csasn.evidence import metrics
from csasn.evidence.aggregation import Binary, Units
from csasn.evidence.calibration import ece, top_label
from csasn.evidence.intervals import Array, Statistic

EVERY_CLASS = "all"
FEWEST_PATIENTS = 2  # on each side, below which nothing is estimated
FEW_PATIENTS = 10  # below which the note warns
ECE_NOTE = "resampling adds noise to ece: its interval leans upwards"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A metric of one target as a function of weights (d, n) -> (d,); None where it is not estimable."""

    target: str
    metric: str
    statistic: Statistic | None
    n: int
    n_positive: int | None
    note: str


def measures(units: Units, *, n_bins: int = 10) -> Iterator[Measure]:
    """Every bootstrapped metric of a table: over all classes, of malignancy, and of each class against the rest."""
    yield from _of_all_classes(units, n_bins=n_bins)
    for target in units.targets:
        binary = units.binary(target)
        n_with = binary.n_patients(positive=True)
        reason = too_few(target, binary)
        few = f"only {n_with} patients with {target}" if n_with < FEW_PATIENTS else ""
        for metric, statistic in _binary_statistics(binary, n_bins=n_bins).items():
            yield Measure(
                target=target,
                metric=metric,
                statistic=None if reason else statistic,
                n=binary.y_true.size,
                n_positive=int(binary.y_true.sum()),
                note=reason or "; ".join(filter(None, [few, ECE_NOTE if metric == "ece" else ""])),
            )


def too_few(target: str, binary: Binary) -> str:
    """Why a target is not estimable, or an empty string."""
    for positive, word in ((True, "with"), (False, "without")):
        if (n := binary.n_patients(positive=positive)) < FEWEST_PATIENTS:
            return f"not estimable: {n} patient{'' if n == 1 else 's'} {word} {target}"
    return ""


def estimable_classes(units: Units) -> tuple[list[int], list[str]]:
    """Numbers of the classes with enough patients of their own and of others, and the names of the rest."""
    short = {name: bool(too_few(name, units.binary(name))) for name in units.classes.names}
    return [k for k, name in enumerate(short) if not short[name]], [name for name in short if short[name]]


def class_statistics(units: Units, chosen: list[int], *, n_bins: int = 10) -> dict[str, Statistic]:
    """The metrics over all classes as functions of weights (d, n) -> (d,); macro means run over the chosen classes."""
    rows = units.known
    y, p = units.y_true[rows], units.y_prob[rows]
    right, top = top_label(y, p)
    return {
        "macro_auroc": lambda w: metrics.macro(metrics.auroc, y, p, classes=chosen, sample_weight=_of(w, rows)),
        "macro_auprc": lambda w: metrics.macro(metrics.auprc, y, p, classes=chosen, sample_weight=_of(w, rows)),
        "balanced_accuracy": lambda w: metrics.balanced_accuracy(y, p, classes=chosen, sample_weight=_of(w, rows)),
        "macro_f1": lambda w: metrics.macro_f1(y, p, classes=chosen, sample_weight=_of(w, rows)),
        "brier": lambda w: metrics.brier(y, p, sample_weight=_of(w, rows)),
        "ece": lambda w: ece(right, top, n_bins=n_bins, sample_weight=_of(w, rows)),
    }


def stacked(statistics: list[Statistic]) -> Statistic:
    """m statistics (d, n) -> (d,) as one (d, n) -> (d, m)."""
    return lambda weights: np.stack([each(weights) for each in statistics], axis=-1)


def _binary_statistics(binary: Binary, *, n_bins: int) -> dict[str, Statistic]:
    y, p, rows = binary.y_true, binary.y_prob, binary.rows
    return {
        "auroc": lambda w: metrics.auroc(y, p, sample_weight=_of(w, rows)),
        "auprc": lambda w: metrics.auprc(y, p, sample_weight=_of(w, rows)),
        "brier": lambda w: metrics.brier(y, p, sample_weight=_of(w, rows)),
        "ece": lambda w: ece(y, p, n_bins=n_bins, sample_weight=_of(w, rows)),
    }


def _of_all_classes(units: Units, *, n_bins: int) -> Iterator[Measure]:
    chosen, left_out = estimable_classes(units)
    fewer = f"over {len(chosen)} classes, left out for want of patients: {', '.join(left_out)}" if left_out else ""
    reason = "" if len(chosen) > 1 else "not estimable: fewer than two classes have enough patients"
    notes = {"brier": "", "ece": f"of the most probable class; {ECE_NOTE}"}
    for metric, statistic in class_statistics(units, chosen, n_bins=n_bins).items():
        yield Measure(
            target=EVERY_CLASS,
            metric=metric,
            statistic=None if reason else statistic,
            n=int(units.known.sum()),
            n_positive=None,
            note=reason or notes.get(metric, fewer),
        )


def _of(weights: Array, rows: NDArray[Any]) -> Array:
    """The columns of weights (d, n) at the rows of a target."""
    return weights if rows.all() else weights[..., rows]
