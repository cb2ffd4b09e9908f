"""Decision curves: net benefit against the threshold probability."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from csasn.evidence.decision import NetBenefit
from csasn.report.plotting import INK, PALETTE, QUIET, label_columns, panels, shared_legend


def decision(rows: Sequence[NetBenefit]) -> Figure:
    """A panel a target: the model with its band, biopsying everyone, no one, and the rule where there is one."""
    targets = list(dict.fromkeys(row.target for row in rows))
    figure, grid = panels(len(targets), 1.9)
    for axes, target in zip(grid, targets, strict=True):
        own = [row for row in rows if row.target == target]
        t = [row.threshold for row in own]
        bands = [(row.threshold, row.low, row.high) for row in own if row.low is not None and row.high is not None]
        axes.set_title(f"{target}, {own[0].n_positive:,} of {own[0].n:,}", loc="left")
        if bands:
            place, low, high = (list(side) for side in zip(*bands, strict=True))
            axes.fill_between(place, low, high, color=PALETTE[0], alpha=0.18, linewidth=0)
        axes.plot(t, [row.model for row in own], color=PALETTE[0], linewidth=1.4, label="CSASN")
        axes.plot(t, [row.treat_all for row in own], color=INK, linewidth=1, linestyle="--", label="everyone")
        axes.axhline(0, color=QUIET, linewidth=0.9, linestyle=":", label="no one")
        if own[0].rule is not None:
            rule = [row.rule for row in own if row.rule is not None]
            axes.plot(t, rule, color=PALETTE[1], linewidth=1.1, linestyle="-.", label="TI-RADS rule")
        prevalence = own[0].n_positive / own[0].n
        axes.set(xlim=(0, max(t)), ylim=(-0.35 * prevalence, 1.1 * prevalence))
    label_columns(grid, "Threshold probability")
    figure.supylabel("Net benefit a patient", fontsize=8)
    shared_legend(figure, grid)
    return figure
