"""The reliability diagram."""

from matplotlib.figure import Figure

from csasn.evidence.statistics.reliability import reliability, top_label
from csasn.report.formatting import HEADLINE, Index, shown_targets
from csasn.report.plotting import PALETTE, QUIET, label_columns, panels, shared_legend
from csasn.units import Units


def calibration(units: Units, records: Index, *, n_bins: int, confidence: float) -> Figure:
    """Observed share against mean probability in equal-mass bins with Wilson intervals, a panel a target."""
    known = units.known
    right, top = top_label(units.y_true[known], units.y_prob[known])
    targets = ("most probable class", *shown_targets(units))
    figure, grid = panels(len(targets), 1.95)
    for axes, target in zip(grid, targets, strict=True):
        whole = target == "most probable class"
        found = records.get((*HEADLINE, "all" if whole else target, "ece"))
        binary = None if whole else units.binary(target)
        y_true, y_prob = (right, top) if binary is None else (binary.y_true, binary.y_prob)
        ece = "not estimable" if found is None or found.estimate is None else f"ECE {found.estimate:.3f}"
        axes.set_title(f"{target}\nn = {y_true.size:,}, {ece}", loc="left")
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":", label="perfect calibration")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if found is None or found.estimate is None:
            continue
        bins = reliability(y_true, y_prob, n_bins=n_bins, confidence=confidence)
        x, y = [b.mean_probability for b in bins], [b.observed for b in bins]
        reach = [[max(0.0, b.observed - b.low) for b in bins], [max(0.0, b.high - b.observed) for b in bins]]
        label = f"observed, {100 * confidence:.0f} % Wilson interval"
        axes.errorbar(x, y, reach, fmt="o", color=PALETTE[0], markersize=3, linewidth=0.9, label=label)
    label_columns(grid, "Mean probability in the bin")
    figure.supylabel("Observed share of patients", fontsize=8)
    shared_legend(figure, grid)
    return figure
