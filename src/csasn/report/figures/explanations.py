"""Maps measured against the nodule, and what is left of them when the weights are dealt anew."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from csasn.evidence.explanations import ANOTHER, EVERYONE, Alike, OnNodule
from csasn.report.figures.forest import Ends, ends_of, forest
from csasn.report.plotting import PALETTE, QUIET, blank, panels

MAP_COLOURS = {"cnn": PALETTE[0], "vit": PALETTE[1], "fused": PALETTE[2]}


def on_nodule(rows: Sequence[OnNodule], titles: Mapping[str, str], names: Mapping[str, str]) -> Figure:
    """A panel a measure, all patients: each map and baseline with its interval."""
    figure = blank(0.7 + len(titles) * (0.6 + 0.22 * len(names)))
    grid = figure.subplots(len(titles), 1, squeeze=False)[:, 0]
    for axes, (measure, title) in zip(grid, titles.items(), strict=True):
        chosen = [row for row in rows if row.measure == measure and row.group == EVERYONE]
        shown: list[tuple[str, Ends]] = [(names[row.map], ends_of(row)) for row in chosen]
        forest(axes, shown)
        axes.set_title(title, loc="left")
        highest = max((ends[2] for _, ends in shown if ends is not None), default=1.0)
        axes.set_xlim(0, min(1.02, 1.1 * highest))
    return figure


def cascade(rows: Sequence[Alike], names: Mapping[str, str], *, alike: float) -> Figure:
    """A panel a map: rank correlation with the trained map, level by level, over that between different pictures."""
    kinds = list(dict.fromkeys(row.map for row in rows))
    figure, grid = panels(len(kinds), 1.9, n_columns=len(kinds))
    for axes, kind in zip(grid, kinds, strict=True):
        known = [(row, ends) for row in rows if row.map == kind and (ends := ends_of(row)) is not None]
        levels = [(row, ends) for row, ends in known if row.randomised != ANOTHER]
        places = [row.level for row, _ in levels]
        axes.axhline(alike, color=QUIET, linewidth=0.8, linestyle=":", label="alike from here on")
        for _, (_, low, high) in ((row, ends) for row, ends in known if row.randomised == ANOTHER):
            axes.axhspan(low, high, color="#dfe5ea", label="maps of different pictures")
        middle, lowest, highest = ([ends[place] for _, ends in levels] for place in range(3))
        axes.fill_between(places, lowest, highest, color=MAP_COLOURS[kind], alpha=0.2, linewidth=0)
        axes.plot([0, *places], [1.0, *middle], color=MAP_COLOURS[kind], linewidth=1.3, marker="s", markersize=3)
        axes.set_title(names[kind], loc="left")
        axes.set(xlim=(-0.3, max(places, default=1) + 0.3), ylim=(-0.55, 1.05))
        axes.set_xticks([0, *places], ["trained", *(row.randomised for row, _ in levels)], rotation=90)
    for axes in grid[1:]:
        axes.set_yticklabels([])
    grid[0].set_ylabel("Rank correlation\nwith the trained map")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
