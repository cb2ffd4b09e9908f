"""ROC and precision-recall curves per patient."""

from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from csasn.report.formatting import HEADLINE, Index, shown_targets, with_interval
from csasn.report.plotting import DASHES, INK, PALETTE, QUIET, blank, label_columns, panels, shared_legend
from csasn.units import Units


def roc(units: Units, records: Index) -> Figure:
    """ROC curves of malignancy and of every class against the rest, with AUROC and n in the key."""
    targets = shown_targets(units)
    figure = blank(4.9 + 0.17 * len(targets))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":", label="chance, 0.50")
    styles = zip(targets, cycle((INK, *PALETTE)), cycle(DASHES), strict=False)
    for target, colour, dashes in styles:
        binary, found = units.binary(target), records.get((*HEADLINE, target, "auroc"))
        if found is None or found.estimate is None:
            axes.plot([], [], color=colour, linestyle=dashes, label=f"{target}: not estimable")
            continue
        false_rate, true_rate, _ = roc_curve(binary.y_true, binary.y_prob)
        label = f"{target} (n = {binary.y_true.sum():,}): {with_interval(found)}"
        axes.plot(false_rate, true_rate, color=colour, linestyle=dashes, linewidth=1.3, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="Sensitivity")
    axes.set_aspect("equal")
    axes.set_title(f"ROC per patient, n = {units.y_true.size:,}", loc="left")
    figure.legend(loc="outside lower center", frameon=False, title="AUROC (interval)", alignment="left")
    return figure


def precision_recall(units: Units, records: Index) -> Figure:
    """Precision against sensitivity, a panel a target, with the prevalence as the line of no knowledge."""
    targets = shown_targets(units)
    figure, grid = panels(len(targets), 1.75)
    for axes, target in zip(grid, targets, strict=True):
        binary, found = units.binary(target), records.get((*HEADLINE, target, "auprc"))
        n, n_positive = binary.y_true.size, int(binary.y_true.sum())
        axes.set_title(f"{target}, {n_positive:,} of {n:,}\n{with_interval(found)}", loc="left")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if found is not None and found.estimate is not None:
            precision, recall, _ = precision_recall_curve(binary.y_true, binary.y_prob)
            start = int(np.flatnonzero(recall == 1)[-1])  # thresholds below the last positive add nothing
            axes.plot(
                recall[start:],
                precision[start:],
                color=PALETTE[0],
                linewidth=1.3,
                drawstyle="steps-post",
                label="CSASN",
            )
            axes.axhline(n_positive / n, color=PALETTE[1], linewidth=1, linestyle="--", label="prevalence")
    label_columns(grid, "Sensitivity (recall)")
    figure.supylabel("PPV (precision)", fontsize=8)
    shared_legend(figure, grid)
    return figure
