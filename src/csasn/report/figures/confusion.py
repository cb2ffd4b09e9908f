"""What is taken for what: the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from csasn.report.plotting import INK, blank


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Counts and row shares, rows the reference class and columns the most probable one, per patient."""
    table = np.asarray(counts, dtype=np.float64)
    rows = table.sum(axis=1, keepdims=True)
    share = np.divide(table, rows, out=np.zeros_like(table), where=rows > 0)
    figure = blank(0.9 + 0.66 * len(names))
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        text = f"{value:,.0f}\n{100 * share[i, j]:.0f} %" if rows[i, 0] else "0\n–"
        axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 0.55 else INK)
    axes.set_xticks(range(len(names)), list(names), rotation=30 if max(map(len, names)) > 9 else 0)
    labels = [f"{name}\nn = {n:,.0f}" for name, n in zip(names, rows[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), labels)
    axes.set(xlabel="Most probable class", ylabel="Reference class")
    axes.set_title(f"Patients and share of the row, n = {table.sum():,.0f}", loc="left")
    return figure
