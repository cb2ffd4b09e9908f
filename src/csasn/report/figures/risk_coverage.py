"""What abstaining costs and brings: the share read wrongly among those kept."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from csasn.report.plotting import DASHES, PALETTE, blank


def risk_coverage(coverage: Sequence[float], risk: Mapping[str, Sequence[float]]) -> Figure:
    """A line a detector: risk by coverage, both shares of patients."""
    figure = blank(2.9)
    axes = figure.subplots()
    for number, (name, values) in enumerate(risk.items()):
        colour, dashes = PALETTE[number % len(PALETTE)], DASHES[number % len(DASHES)]
        axes.plot(coverage, values, color=colour, linestyle=dashes, linewidth=1.3, label=name)
    highest = max((max(values, default=0.0) for values in risk.values()), default=0.0)
    axes.set(xlim=(0, 1), ylim=(0, min(1.02, 1.08 * highest + 0.02)))
    axes.set(xlabel="Share of patients kept, the least novel first", ylabel="Share of those read wrongly")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
