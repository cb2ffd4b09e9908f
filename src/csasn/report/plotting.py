"""How figures are drawn: deterministic, colour-blind safe, sized for a journal's column, stamped where simulated."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.typing import LineStyleType

from csasn.report.blocks import Drawing

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008
DASHES: tuple[LineStyleType, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
INK, QUIET, STAMP = "#1a1a1a", "#6b6b6b", "#9c1c1c"
WIDTH_IN = 4.4
DOTS_AN_INCH = 300


def draw(name: str, words: str, build: Callable[[], Figure], *, simulated: bool) -> Drawing:
    """The figure that `build` makes, in the house style, with ids that begin with `name` so that many share a page."""
    with _house_style():
        figure = build()
        if simulated:
            _stamp(figure)
        vector, dots = io.StringIO(), io.BytesIO()
        figure.savefig(vector, format="svg", metadata={"Date": None, "Title": name})
        figure.savefig(dots, format="png", dpi=DOTS_AN_INCH, metadata={"Software": None})
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', vector.getvalue())
    svg = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)
    return Drawing(name=name, words=words, svg=svg, png=dots.getvalue())


def _house_style() -> AbstractContextManager[None]:
    """Matplotlib's settings for every figure, as long as it is drawn."""
    return mpl.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 8.0,
            "axes.titlesize": 8.5,
            "axes.labelsize": 8.0,
            "legend.fontsize": 7.5,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "svg.fonttype": "path",
            "svg.hashsalt": "csasn",
        }
    )


def blank(height_in: float, *, width_in: float = WIDTH_IN) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def panels(n: int, height_in: float, *, n_columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in columns, unused places left blank."""
    n_rows = -(-n // n_columns)
    figure = blank(0.7 + height_in * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for spare in grid[n:]:
        spare.remove()
    return figure, grid[:n]


def label_columns(axes: Sequence[Axes], words: str, *, n_columns: int = 2) -> None:
    """The horizontal label below the last panel of each column."""
    for each in axes[-n_columns:]:
        each.set_xlabel(words)


def shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, each label once."""
    keyed = dict(pair[::-1] for each in axes for pair in zip(*each.get_legend_handles_labels(), strict=True))
    if keyed:
        figure.legend(list(keyed.values()), list(keyed), loc="outside lower center", ncols=2, frameon=False)


def _stamp(figure: Figure) -> None:
    """SIMULATED in the margin above the panels, and faintly across each of them."""
    height_in = figure.get_size_inches()[1] + 0.3
    figure.set_size_inches(figure.get_size_inches()[0], height_in)
    if figure.get_layout_engine() is not None:
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.3 / height_in)))
    words, badge = "SIMULATED COHORT · not clinical evidence", {"boxstyle": "square,pad=0.3", "edgecolor": STAMP}
    figure.text(0.5, 1 - 0.15 / height_in, words, color=STAMP, weight="bold", fontsize=8, ha="center", va="center")
    figure.texts[-1].set_bbox({**badge, "facecolor": "#fdf0f0", "linewidth": 0.8})
    for axes in figure.axes:
        axes.text(
            0.5,
            0.5,
            "SIMULATED",
            transform=axes.transAxes,
            color=STAMP,
            alpha=0.13,
            fontsize=13,
            weight="bold",
            rotation=30,
            ha="center",
            va="center",
        )
