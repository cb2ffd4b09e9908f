"""Forest plots: a row a model, a difference or a site, each a point with its interval and its numbers."""

from collections.abc import Collection, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from csasn.evidence.comparison import Comparison
from csasn.evidence.run_differences import RunDifference
from csasn.report.formatting import Estimated, Index
from csasn.report.plotting import INK, PALETTE, QUIET, blank
from csasn.units import MAIN_MODEL

Ends = tuple[float, float, float] | None


def comparison(records: Index, differences: Sequence[Comparison]) -> Figure:
    """Macro AUROC of every model with its interval, and CSASN minus each baseline, per patient."""
    models = [key[0] for key in records if key[1:] == ("all", "patient", "all", "macro_auroc")]
    first = [
        (name.replace("csasn", "CSASN"), ends_of(records[name, "all", "patient", "all", "macro_auroc"]))
        for name in models
    ]
    second = [
        (f"minus {row.baseline}", ends_of(row))
        for row in differences
        if row.unit == "patient" and row.metric == "macro_auroc"
    ]
    figure = blank(1.7 + 0.27 * (len(first) + len(second)) + (0.4 if second else 0))
    heights = [len(first) + 1, len(second) + 1] if second else [1]
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    forest(grid[0], first, marked=(0,))
    grid[0].set_title("Macro AUROC per patient", loc="left")
    if second:
        forest(grid[1], second, signed=True)
        grid[1].axvline(0, color=QUIET, linewidth=0.8, linestyle=":")
        grid[1].set_title("CSASN minus each baseline, same patients", loc="left")
        grid[1].set_xlabel("Difference in macro AUROC (right of 0: CSASN higher)")
    return figure


def ends_of(row: Estimated) -> Ends:
    """Estimate and interval of a record; None where they are not estimable."""
    if row.estimate is None or row.low is None or row.high is None:
        return None
    return row.estimate, row.low, row.high


def forest(axes: Axes, rows: Sequence[tuple[str, Ends]], *, signed: bool = False, marked: Collection[int] = ()) -> None:
    """Points with intervals, first row on top, some rows marked, and the numbers in the right margin."""
    for place, (_, ends) in enumerate(rows):
        text = "not estimable"
        if ends is not None:
            estimate, low, high = ends
            colour = PALETTE[0] if place in marked else INK
            axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
            axes.plot([estimate], [place], "s", color=colour, markersize=4.5)
            form = "{:+.3f} ({:+.3f} to {:+.3f})" if signed else "{:.3f} ({:.3f}–{:.3f})"
            text = form.format(estimate, low, high).replace("-", "−")
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def by_site(records: Index, sites: Sequence[str]) -> Figure:
    """Macro AUROC and malignancy AUROC of CSASN at each site, the pooled one last."""
    shown = (("all", "macro_auroc", "Macro AUROC"), ("malignancy", "auroc", "Malignancy AUROC"))
    figure = blank(1.1 + 2 * 0.27 * (len(sites) + 2))
    for axes, (target, metric, title) in zip(figure.subplots(2, 1, sharex=True), shown, strict=True):
        rows: list[tuple[str, Ends]] = []
        for site, name in zip((*sites, "all"), (*sites, "all sites"), strict=True):
            record = records.get((MAIN_MODEL, site, "patient", target, metric))
            rows.append((f"{name} (n = {record.n if record else 0:,})", ends_of(record) if record else None))
        forest(axes, rows, marked=(len(rows) - 1,))
        axes.set_title(f"{title} per patient", loc="left")
        axes.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    return figure


def between_runs(panels: Mapping[str, Sequence[tuple[str, RunDifference]]]) -> Figure:
    """A minus B in panels by title, a labelled row a figure; those that Holm's p settles are marked."""
    sizes = [len(rows) for rows in panels.values()]
    figure = blank(0.35 + sum(0.62 + 0.24 * n for n in sizes))
    figure.set_layout_engine("constrained", hspace=0.1)
    grid = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=[n + 0.6 for n in sizes])[:, 0]
    for axes, (title, rows) in zip(grid, panels.items(), strict=True):
        settled = {place for place, (_, row) in enumerate(rows) if row.better}
        forest(axes, [(label, ends_of(row)) for label, row in rows], signed=True, marked=settled)
        axes.axvline(0, color=QUIET, linewidth=0.8, linestyle=":")
        axes.set_title(title, loc="left")
    grid[-1].set_xlabel("Run A minus run B")
    return figure
