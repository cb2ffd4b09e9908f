"""The figures of a report as SVG text: deterministic, colour-blind safe, and stamped where the cohort is simulated."""

import io
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from sklearn.metrics import precision_recall_curve, roc_curve

from csasn.evidence.aggregation import Units
from csasn.evidence.calibration import reliability, top_label
from csasn.evidence.evaluate import Record

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
INK, QUIET, STAMP = "#1a1a1a", "#6b6b6b", "#9c1c1c"
WIDTH_IN = 4.4
FONTS: dict[Any, Any] = {
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
Index = dict[tuple[str, str, str, str, str], Record]  # model, site, unit, target, metric


def index(records: Sequence[Record]) -> Index:
    """Records by model, site, unit, target and metric."""
    return {(each.model, each.site, each.unit, each.target, each.metric): each for each in records}


def with_interval(record: Record | None, *, digits: int = 2) -> str:
    """Estimate and interval as text: "0.84 (0.81–0.87)", or "not estimable"."""
    if record is None or record.estimate is None:
        return "not estimable"
    if record.low is None or record.high is None:
        return f"{record.estimate:.{digits}f} (interval not estimable)"
    return f"{record.estimate:.{digits}f} ({record.low:.{digits}f}–{record.high:.{digits}f})"


def roc(units: Units, records: Index, *, simulated: bool) -> str:
    """ROC curves of malignancy and of every class against the rest, with AUROC and n in the key."""
    with mpl.rc_context(FONTS):
        figure = _figure(WIDTH_IN, 4.9 + 0.17 * len(units.targets))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":", label="chance, 0.50")
        styles = zip(units.targets, cycle((INK, *PALETTE)), cycle(DASHES), strict=False)
        for target, colour, dashes in styles:
            binary, found = units.binary(target), records.get((*_HEADLINE, target, "auroc"))
            if found is None or found.estimate is None:
                axes.plot([], [], color=colour, linestyle=dashes, label=f"{target}: not estimable")
                continue
            false_rate, true_rate, _ = roc_curve(binary.y_true, binary.y_prob)
            label = f"{target} (n = {binary.y_true.sum():,}): {with_interval(found)}"
            axes.plot(false_rate, true_rate, color=colour, linestyle=dashes, linewidth=1.3, label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="Sensitivity")
        axes.set_aspect("equal")
        axes.set_title(f"ROC per patient, n = {units.y_true.size:,}", loc="left")
        figure.legend(loc="outside lower center", frameon=False, title="AUROC (95 % interval)", alignment="left")
        return _svg(figure, "roc", simulated=simulated)


_HEADLINE = ("csasn", "all", "patient")


def precision_recall(units: Units, records: Index, *, simulated: bool) -> str:
    """Precision against sensitivity, a panel a target, with the prevalence as the line of no knowledge."""
    with mpl.rc_context(FONTS):
        figure, panels = _panels(len(units.targets), 1.75)
        for axes, target in zip(panels, units.targets, strict=True):
            binary, found = units.binary(target), records.get((*_HEADLINE, target, "auprc"))
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
        _label_columns(panels, "Sensitivity (recall)")
        figure.supylabel("PPV (precision)", fontsize=8)
        _shared_legend(figure, panels)
        return _svg(figure, "precision-recall", simulated=simulated)


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]], *, simulated: bool) -> str:
    """Counts and row shares, rows the reference class and columns the most probable one, per patient."""
    table = np.asarray(counts, dtype=np.float64)
    rows = table.sum(axis=1, keepdims=True)
    share = np.divide(table, rows, out=np.zeros_like(table), where=rows > 0)
    with mpl.rc_context(FONTS | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = _figure(WIDTH_IN, 0.9 + 0.66 * len(names))
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
        return _svg(figure, "confusion", simulated=simulated)


def calibration(units: Units, records: Index, *, n_bins: int, confidence: float, simulated: bool) -> str:
    """Observed share against mean probability in equal-mass bins with Wilson intervals, a panel a target."""
    known = units.known
    right, top = top_label(units.y_true[known], units.y_prob[known])
    with mpl.rc_context(FONTS):
        figure, panels = _panels(len(units.targets) + 1, 1.95)
        for axes, target in zip(panels, ("most probable class", *units.targets), strict=True):
            whole = target == "most probable class"
            found = records.get((*_HEADLINE, "all" if whole else target, "ece"))
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
        _label_columns(panels, "Mean probability in the bin")
        figure.supylabel("Observed share of patients", fontsize=8)
        _shared_legend(figure, panels)
        return _svg(figure, "reliability", simulated=simulated)


def training(history: pl.DataFrame, *, simulated: bool) -> str:
    """Losses and tuning AUROC by epoch, a colour a fold, a column for each of the two stages."""
    rows = history.filter(pl.col("model") == "csasn")
    stages = [name for name in ("frozen", "finetune") if name in rows["stage"].to_list()]
    folds = sorted(rows["fold"].unique().to_list())
    with mpl.rc_context(FONTS):
        figure = _figure(WIDTH_IN, 4.4 + 0.2 * (len(folds) // 3))
        grid = figure.subplots(2, max(1, len(stages)), sharey="row", sharex="col", squeeze=False)
        for column, stage in zip(grid.T, stages, strict=False):
            column[0].set_title({"frozen": "Branches frozen", "finetune": "Fine-tuning"}[stage], loc="left")
            column[1].set_xlabel("Epoch")
            for fold, colour in zip(folds, cycle(PALETTE), strict=False):
                curve = rows.filter(pl.col("stage") == stage, pl.col("fold") == fold).sort("epoch")
                if curve.is_empty():
                    continue
                epoch = curve["epoch"].to_list()
                column[0].plot(epoch, curve["train_loss"].to_list(), color=colour, linestyle="--", linewidth=0.9)
                column[0].plot(epoch, curve["tuning_loss"].to_list(), color=colour, linewidth=1.2)
                auroc = curve["tuning_auroc"].to_list()
                column[1].plot(epoch, auroc, color=colour, linewidth=1.2, label=f"fold {fold}")
        grid[0][0].set_ylabel("Loss (dashed: training,\nsolid: tuning)")
        grid[1][0].set_ylabel("Macro AUROC\nper tuning image")
        handles, labels = grid[1][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        return _svg(figure, "training", simulated=simulated)


def comparison(records: Index, differences: Sequence[dict[str, object]], *, simulated: bool) -> str:
    """Macro AUROC of every model with its interval, and CSASN minus each rival, per patient."""
    models = [key[0] for key in records if key[1:] == ("all", "patient", "all", "macro_auroc")]
    first = [
        (name.replace("csasn", "CSASN"), _ends(records[name, "all", "patient", "all", "macro_auroc"]))
        for name in models
    ]
    second = [
        (f"minus {row['rival']}", _ends(row))
        for row in differences
        if row["unit"] == "patient" and row["metric"] == "macro_auroc"
    ]
    with mpl.rc_context(FONTS | {"axes.spines.left": False}):
        figure = _figure(WIDTH_IN, 1.7 + 0.27 * (len(first) + len(second)) + (0.4 if second else 0))
        heights = [len(first) + 1, len(second) + 1] if second else [1]
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _forest(panels[0], first, signed=False)
        panels[0].set_title("Macro AUROC per patient", loc="left")
        if second:
            _forest(panels[1], second, signed=True)
            panels[1].axvline(0, color=QUIET, linewidth=0.8, linestyle=":")
            panels[1].set_title("CSASN minus each rival, same patients", loc="left")
            panels[1].set_xlabel("Difference in macro AUROC (right of 0: CSASN higher)")
        return _svg(figure, "comparison", simulated=simulated)


Ends = tuple[float, float, float] | None


def _ends(row: Record | dict[str, object]) -> Ends:
    fields = ("estimate", "low", "high")
    values = [row.get(name) if isinstance(row, dict) else getattr(row, name) for name in fields]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def _forest(axes: Axes, rows: Sequence[tuple[str, Ends]], *, signed: bool) -> None:
    """Points with intervals, first row on top, and the numbers in the right margin."""
    for place, (_, ends) in enumerate(rows):
        text = "not estimable"
        if ends is not None:
            estimate, low, high = ends
            colour = PALETTE[0] if place == 0 and not signed else INK
            axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
            axes.plot([estimate], [place], "s", color=colour, markersize=4.5)
            form = "{:+.3f} ({:+.3f} to {:+.3f})" if signed else "{:.3f} ({:.3f}–{:.3f})"
            text = form.format(estimate, low, high).replace("-", "−")
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


def _figure(width_in: float, height_in: float) -> Figure:
    return Figure(figsize=(width_in, height_in), layout="constrained")


def _panels(n: int, height_in: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in two columns, equal scales, unused places left blank."""
    n_rows = (n + 1) // 2
    figure = _figure(WIDTH_IN, 0.7 + height_in * n_rows)
    grid = figure.subplots(n_rows, 2, squeeze=False).ravel().tolist()
    for spare in grid[n:]:
        spare.remove()
    return figure, grid[:n]


def _label_columns(panels: Sequence[Axes], words: str) -> None:
    """The horizontal label below the last panel of each of two columns."""
    for axes in panels[-2:]:
        axes.set_xlabel(words)


def _shared_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    keyed = dict(pair[::-1] for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    if keyed:
        figure.legend(list(keyed.values()), list(keyed), loc="outside lower center", ncols=2, frameon=False)


def _svg(figure: Figure, name: str, *, simulated: bool) -> str:
    """The figure as SVG text whose ids begin with `name`, so that several can share one page."""
    if simulated:
        _stamp(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": name})
    text = buffer.getvalue()
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    return re.sub(r"(url\(|href=\")#", rf"\1#{name}-", text)


def _stamp(figure: Figure) -> None:
    """SIMULATED in the margin above the panels, and faintly across each of them."""
    height_in = figure.get_size_inches()[1] + 0.3
    figure.set_size_inches(figure.get_size_inches()[0], height_in)
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
