"""How training went: losses and tuning AUROC by epoch."""

from itertools import cycle

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from csasn.report.plotting import PALETTE, blank

STAGES = {"frozen": "Branches frozen", "finetune": "Fine-tuning"}


def training(history: pl.DataFrame) -> Figure:
    """Losses and tuning AUROC by epoch, a colour a fold, a column for each of the two stages."""
    rows = history.filter(pl.col("model") == "csasn")
    stages = [name for name in STAGES if name in rows["stage"].to_list()]
    folds = sorted(rows["fold"].unique().to_list())
    figure = blank(4.4 + 0.2 * (len(folds) // 3))
    grid = figure.subplots(2, max(1, len(stages)), sharey="row", sharex="col", squeeze=False)
    for column, stage in zip(grid.T, stages, strict=False):
        column[0].set_title(STAGES[stage], loc="left")
        column[1].set_xlabel("Epoch")
        column[1].xaxis.set_major_locator(MaxNLocator(integer=True))
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
    return figure
