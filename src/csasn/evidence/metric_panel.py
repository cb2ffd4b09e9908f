"""Which figures a table of units supports, all as one function of bootstrap weights, and which are not estimable."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csasn.arrays import Array, ratio
from csasn.config import EvaluateSettings
from csasn.evidence.statistics import metrics
from csasn.evidence.statistics.bootstrap import Statistic
from csasn.evidence.statistics.ranking import cuts, ranking
from csasn.evidence.statistics.reliability import equal_mass_bins, top_label
from csasn.units import Binary, Units

EVERY_CLASS = "all"
FEWEST_PATIENTS = 2  # on each side, below which nothing is estimated
FEW_PATIENTS = 10  # below which the note warns
ECE_NOTE = "resampling adds noise to ece: its interval leans upwards"
RANKED = ("auroc", "auprc", "sensitivity_at_specificity", "specificity_at_sensitivity")
BINARY = (*RANKED, "brier", "ece")
BRIEF = ("auroc", "auprc", "brier", "ece")
OVERALL = (
    "macro_auroc",
    "macro_auprc",
    "balanced_accuracy",
    "macro_f1",
    "mcc",
    "kappa",
    "top2_sensitivity",
    "brier",
    "ece",
    "classwise_ece",
)
# Smooth functions of the patients, for which BCa is second-order right; the others take plain percentiles, but for
# AUPRC, which has an interval of its own (csasn.evidence.statistics.auprc_interval).
SMOOTH = frozenset(("auroc", "auroc_vs_benign", "brier", "macro_auroc", "balanced_accuracy", "macro_f1")) | {
    "mcc",
    "kappa",
    "top2_sensitivity",
}

Values = dict[tuple[str, str], Array]  # (target, metric): (d,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A metric of one target, whether it can be estimated, and what its note says."""

    target: str
    metric: str
    estimable: bool
    n: int
    n_positive: int | None
    note: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """The figures of a table, and the statistic (d, n) -> (d, m) of the m estimable ones, in order."""

    figures: tuple[Figure, ...]
    statistic: Statistic

    @property
    def estimable(self) -> tuple[Figure, ...]:
        """The figures that the statistic gives."""
        return tuple(figure for figure in self.figures if figure.estimable)

    @property
    def smooth(self) -> NDArray[np.bool_]:
        """Which of them are smooth (m,)."""
        return np.array([figure.metric in SMOOTH for figure in self.estimable], dtype=np.bool_)


def panel(units: Units, settings: EvaluateSettings, *, brief: bool = False) -> Panel:
    """Every resampled metric of a table: over all classes, of malignancy, of each class against the rest and benign.

    A brief panel (of baselines, of single sites, of images and nodules) leaves out a curve's points and what is against
    benign alone.
    """
    names = BRIEF if brief else BINARY
    chosen, left_out = estimable_classes(units)
    figures = [*_overall_figures(units, chosen, left_out)]
    parts: list[Callable[[Array], Values]] = []
    for target in units.targets:
        binary = units.binary(target)
        reason = too_few(target, binary)
        figures += _binary_figures(target, binary, names, reason)
        if not reason:
            parts.append(_binary_part(target, binary, names, settings))
    for target in () if brief else units.classes.malignant:
        binary = units.against_benign(target)
        reason = too_few(target, binary)
        figures += _binary_figures(target, binary, ("auroc_vs_benign",), reason)
        if not reason:
            parts.append(_versus_part(target, binary))
    overall = _overall_part(units, chosen, settings.calibration_bins) if len(chosen) > 1 else None
    wanted = [(figure.target, figure.metric) for figure in figures if figure.estimable]

    def statistic(weights: Array) -> Array:
        values: Values = {}
        for part in parts:
            values |= part(weights)
        if overall is not None:
            values |= overall(weights, values)
        columns = [values[key] for key in wanted]
        return np.stack(columns, axis=-1) if columns else np.zeros((len(weights), 0))

    return Panel(figures=tuple(figures), statistic=statistic)


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


def _binary_figures(target: str, binary: Binary, names: tuple[str, ...], reason: str) -> list[Figure]:
    n_with = binary.n_patients(positive=True)
    few = f"only {n_with} patients with {target}" if n_with < FEW_PATIENTS else ""
    return [
        Figure(
            target=target,
            metric=metric,
            estimable=not reason,
            n=binary.y_true.size,
            n_positive=int(binary.y_true.sum()),
            note=reason or "; ".join(filter(None, [few, ECE_NOTE if metric == "ece" else ""])),
        )
        for metric in names
    ]


def _overall_figures(units: Units, chosen: list[int], left_out: list[str]) -> list[Figure]:
    fewer = f"over {len(chosen)} classes, left out for want of patients: {', '.join(left_out)}" if left_out else ""
    reason = "" if len(chosen) > 1 else "not estimable: fewer than two classes have enough patients"
    notes = dict.fromkeys(("brier", "mcc", "kappa"), "") | {
        "ece": f"of the most probable class; {ECE_NOTE}",
        "classwise_ece": "; ".join(filter(None, [fewer, ECE_NOTE])),
    }
    return [
        Figure(
            target=EVERY_CLASS,
            metric=metric,
            estimable=not reason,
            n=int(units.known.sum()),
            n_positive=None,
            note=reason or notes.get(metric, fewer),
        )
        for metric in OVERALL
    ]


def _of(weights: Array, rows: NDArray[np.bool_]) -> Array:
    """The columns of weights (d, n) at the rows of a target."""
    return weights if rows.all() else weights[..., rows]


def _bin_excess(binary_true: NDArray[np.bool_], y_prob: Array, n_bins: int) -> Array:
    """p - y of each unit in the column of its equal-mass bin (n, bins): absolute column sums make the ECE."""
    bins = equal_mass_bins(y_prob, n_bins=n_bins)
    columns = np.zeros((y_prob.size, int(bins.max(initial=0)) + 1))
    columns[np.arange(y_prob.size), bins] = y_prob - binary_true
    return columns


def _binary_part(
    target: str, binary: Binary, names: tuple[str, ...], settings: EvaluateSettings
) -> Callable[[Array], Values]:
    ranked, rows = ranking(binary.y_true, binary.y_prob), binary.rows
    squared = ((binary.y_prob - binary.y_true) ** 2)[:, np.newaxis]
    columns = np.hstack([squared, _bin_excess(binary.y_true, binary.y_prob, settings.calibration_bins)])

    def part(weights: Array) -> Values:
        own = _of(weights, rows)
        cut, sums, total = cuts(ranked, own), own @ columns, own.sum(axis=-1)
        found = {
            "auroc": cut.auroc(),
            "auprc": cut.auprc(),
            "brier": ratio(sums[..., 0], total),
            "ece": ratio(np.abs(sums[..., 1:]).sum(axis=-1), total),
        }
        if "sensitivity_at_specificity" in names:
            found["sensitivity_at_specificity"] = cut.sensitivity_at(settings.fixed_specificity)
            found["specificity_at_sensitivity"] = cut.specificity_at(settings.fixed_sensitivity)
        return {(target, metric): value for metric, value in found.items()}

    return part


def _versus_part(target: str, binary: Binary) -> Callable[[Array], Values]:
    ranked = ranking(binary.y_true, binary.y_prob)
    return lambda weights: {(target, "auroc_vs_benign"): cuts(ranked, _of(weights, binary.rows)).auroc()}


def _overall_part(units: Units, chosen: list[int], n_bins: int) -> Callable[[Array, Values], Values]:
    """The metrics over all classes; macro means run over the chosen classes and reuse what their own parts found."""
    rows, k = units.known, len(units.classes.names)
    y, p = units.y_true[rows], units.y_prob[rows]
    cells = np.zeros((y.size, k * k))
    cells[np.arange(y.size), y * k + p.argmax(axis=1)] = 1.0
    in_top = np.eye(k)[y] * metrics.in_top(y, p)[:, np.newaxis]
    squared = ((p - np.eye(k)[y]) ** 2).sum(axis=1)[:, np.newaxis]
    right, top = top_label(y, p)
    columns = np.hstack([cells, in_top, squared, _bin_excess(right, top, n_bins)])
    names = [units.classes.names[each] for each in chosen]

    def part(weights: Array, values: Values) -> Values:
        own = _of(weights, rows)
        sums, total = own @ columns, own.sum(axis=-1)
        matrix = sums[..., : k * k].reshape(*sums.shape[:-1], k, k)
        top2 = ratio(sums[..., k * k : k * k + k], matrix.sum(axis=-1))[..., chosen]
        found = {
            "macro_auroc": _mean(values, names, "auroc"),
            "macro_auprc": _mean(values, names, "auprc"),
            "balanced_accuracy": metrics.balanced_accuracy(matrix, classes=chosen),
            "macro_f1": metrics.macro_f1(matrix, classes=chosen),
            "mcc": metrics.mcc(matrix),
            "kappa": metrics.kappa(matrix),
            "top2_sensitivity": top2.mean(axis=-1),
            "brier": ratio(sums[..., k * k + k], total),
            "ece": ratio(np.abs(sums[..., k * k + k + 1 :]).sum(axis=-1), total),
            "classwise_ece": _mean(values, names, "ece"),
        }
        return {(EVERY_CLASS, metric): value for metric, value in found.items()}

    return part


def _mean(values: Values, names: list[str], metric: str) -> Array:
    return np.asarray(np.mean([values[name, metric] for name in names], axis=0), dtype=np.float64)
