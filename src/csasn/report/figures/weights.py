"""How the loss weighed the classes and the tasks while it learned."""

from collections.abc import Mapping
from itertools import cycle

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import LineStyleType

from csasn.report.figures.training import STAGES
from csasn.report.plotting import DASHES, INK, PALETTE, QUIET, blank, shared_legend

# Which kinds of weight are shown, and the tasks' names in a reader's words.
KINDS = {
    "class": "Weight of a class\n(mean 1 over classes)",
    "task": "Weight of a task",
    "site": "Site head",
}
NAMES = {
    ("task", "malignancy"): "task: malignancy",
    ("task", "malignant"): "task: class if malignant",
    ("task", "non_malignant"): "task: class if not malignant",
    ("task", "flat"): "task: class",
    ("site", "loss"): "site: cross-entropy, nats",
    ("site", "reversal"): "site: reversal factor",
}
Style = tuple[str, LineStyleType]  # colour and dashes
STILL = 1e-6  # a weight that changes by less over a training stands still


def moving(weights: pl.DataFrame) -> pl.DataFrame:
    """The rows of weights.csv of CSASN's class and task weights, of those kinds in which any weight moves.

    A weight moves where it changes between two epochs of one stage and fold.
    """
    rows = weights.filter(pl.col("model") == "csasn", pl.col("kind").is_in(list(KINDS)))
    spread = rows.group_by("kind", "name", "stage", "fold").agg((pl.max("value") - pl.min("value")).alias("spread"))
    kinds = spread.filter(pl.col("spread") > STILL)["kind"].unique().to_list()
    return rows.filter(pl.col("kind").is_in(kinds))


def weights(moved: pl.DataFrame) -> Figure:
    """Weights by epoch as `moving` gives them: a row a kind, a column a stage, a colour a name, a line a fold."""
    kinds = [kind for kind in KINDS if kind in moved["kind"].to_list()]
    stages = [name for name in STAGES if name in moved["stage"].to_list()]
    names = moved.select("kind", "name").unique(maintain_order=True).rows()
    styles = dict(zip(names, zip(cycle((*PALETTE, INK)), cycle(DASHES), strict=False), strict=False))
    figure = blank(0.4 + 2.0 * len(kinds) + 0.2 * -(-len(names) // 2))
    grid = figure.subplots(len(kinds), len(stages), sharey="row", sharex="col", squeeze=False)
    for axes, stage in zip(grid[0], stages, strict=True):
        axes.set_title(STAGES[stage], loc="left")
    for row, kind in zip(grid, kinds, strict=True):
        row[0].set_ylabel(KINDS[kind])
        for axes, stage in zip(row, stages, strict=True):
            axes.axhline(1, color=QUIET, linewidth=0.7, linestyle=":")
            _lines(axes, moved.filter(pl.col("kind") == kind, pl.col("stage") == stage), styles)
    for axes in grid[-1]:
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    shared_legend(figure, grid.ravel().tolist())
    return figure


def _lines(axes: Axes, rows: pl.DataFrame, styles: Mapping[tuple[str, ...], Style]) -> None:
    for (kind, name, _), fold in rows.sort("epoch", maintain_order=True).group_by(
        "kind", "name", "fold", maintain_order=True
    ):
        colour, dashes = styles[str(kind), str(name)]
        label = NAMES.get((str(kind), str(name)), str(name))
        epochs, values = fold["epoch"].to_list(), fold["value"].to_list()
        axes.plot(epochs, values, label=label, color=colour, linestyle=dashes, linewidth=1.0, alpha=0.85)
