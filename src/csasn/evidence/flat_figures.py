"""The interval of a figure whose resampled interval has no width: a published one, or none, and the note says so.

A perfect reader of few patients has the same figure in every draw. The bootstrap then knows nothing of the spread.
"""

from collections.abc import Mapping

import numpy as np

from csasn.evidence.metric_panel import EVERY_CLASS, Figure, estimable_classes
from csasn.evidence.statistics.intervals import Interval, mean_interval, newcombe_auroc, score_interval
from csasn.evidence.statistics.metrics import in_top
from csasn.units import Binary, Unit, Units

WITHOUT = "no interval: the resampled one has no width, and no published method gives one"
WITHOUT_DIFFERENCE = "no interval: that of the resampled differences has no width"
SAME = "the resampled interval has no width"
OF_CLASSES = {"balanced_accuracy": 1, "top2_sensitivity": 2}  # a class is found where it is among so many


def flat_interval(
    figure: Figure, estimates: Mapping[tuple[str, str], float], units: Units, unit: Unit, confidence: float
) -> tuple[Interval | None, str]:
    """The interval of an estimable figure and its method in words; None where no method is published for it.

    AUROC: Newcombe's method 5; macro AUROC: the mean of its classes' ends (MOVER, Zou & Donner 2008, with figures that
    move together). A share at a fixed specificity or sensitivity: Wilson's. Means of the classes' shares: MOVER over
    Wilson's, independent where a patient is one unit. Every n counts patients: more units add nothing that can be seen.
    """
    estimate, metric = estimates[figure.target, figure.metric], figure.metric
    if metric in ("auroc", "auroc_vs_benign"):
        side = units.binary(figure.target) if metric == "auroc" else units.against_benign(figure.target)
        return _area(estimate, side, confidence), f"Newcombe's method 5 over patients: {SAME}"
    if metric in ("sensitivity_at_specificity", "specificity_at_sensitivity"):
        positive = metric == "sensitivity_at_specificity"
        n = units.binary(figure.target).n_patients(positive=positive)
        return score_interval(estimate, n, confidence), f"Wilson over patients: {SAME}"
    chosen = estimable_classes(units)[0]
    names = [units.classes.names[k] for k in chosen]
    if metric == "macro_auroc" and figure.target == EVERY_CLASS:
        areas = [estimates[name, "auroc"] for name in names]
        ends = [_area(area, units.binary(name), confidence) for area, name in zip(areas, names, strict=True)]
        return mean_interval(areas, ends, together=True), f"mean of the classes' ends by Newcombe's method 5: {SAME}"
    if metric in OF_CLASSES:
        shares = [_found(units, k, OF_CLASSES[metric]) for k in chosen]
        counts = [units.binary(name).n_patients(positive=True) for name in names]
        ends = [score_interval(share, n, confidence) for share, n in zip(shares, counts, strict=True)]
        return mean_interval(shares, ends, together=unit != "patient"), f"MOVER over the classes' Wilson: {SAME}"
    return None, "none"


def _area(area: float, side: Binary, confidence: float) -> Interval:
    n_positive, n_negative = (side.n_patients(positive=yes) for yes in (True, False))
    return newcombe_auroc(area, n_positive=n_positive, n_negative=n_negative, confidence=confidence)


def _found(units: Units, k: int, among: int) -> float:
    """The share of the units of class k whose class is the most probable, or among the two most probable."""
    own = units.y_true == k
    p = units.y_prob[own]
    right = p.argmax(axis=1) == k if among == 1 else in_top(units.y_true[own], p)
    return float(np.mean(right))
