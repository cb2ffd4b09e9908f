"""What a variant costs: its parameters, the work of reading an image, and its training as its own records have it."""

from collections.abc import Callable

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from csasn.csv_cells import restored_cells
from csasn.evidence.study import Cost
from csasn.frames import read_csv
from csasn.network.csasn import Csasn, FusionHead
from csasn.network.weights import build_branches
from csasn.runs import Run
from csasn.schema import HISTORY_COLUMNS


def cost_of(run: Run) -> Cost:
    """The cost of a unit that was fitted."""
    history = restored_cells(read_csv(run.require("history.csv"), HISTORY_COLUMNS))
    n_train = run.split().filter(pl.col("partition") == "train").group_by("fold").len("n")
    seconds = history.join(n_train, on="fold").select(pl.col("n") / pl.col("images_per_s")).to_series().sum()
    parameters: dict[str, int] = run.stages()["fit"]["parameters"]  # type: ignore[assignment]
    return Cost(
        parameters=sum(parameters.values()),
        gflops=operations(run) / 1e9,
        images_per_s=float(history["images_per_s"].median()),  # type: ignore[arg-type]
        training_minutes=float(seconds) / 60,
    )


def cost_of_logistic_regression(run: Run) -> Cost:
    """The cost of the logistic regression that was fitted beside a unit's network: the transformer, and its line."""
    settings, size_px = run.configuration.network, run.configuration.imaging.size_px
    branches, _ = build_branches(settings, weights="none", size_px=size_px)
    line = nn.Linear(settings.vit_channels, len(run.classes().names))
    parameters = [*branches["vit"].parameters(), *line.parameters()]
    return Cost(
        parameters=sum(each.numel() for each in parameters),
        gflops=_counted(lambda image: line(branches["vit"].eval()(image).token), size_px) / 1e9,
        images_per_s=None,
        training_minutes=None,
    )


def operations(run: Run) -> int:
    """Floating-point operations of one image through the whole network, counted while it reads one."""
    settings, size_px = run.configuration.network, run.configuration.imaging.size_px
    branches, _ = build_branches(settings, weights="none", size_px=size_px)
    return _counted(Csasn(branches, FusionHead(settings, run.classes())).eval(), size_px)


def _counted(read: Callable[[Tensor], object], size_px: int) -> int:
    plain = sdpa_kernel(SDPBackend.MATH)  # a fused attention on a CPU is not counted
    with torch.inference_mode(), plain, FlopCounterMode(display=False) as counter:
        read(torch.zeros(1, 1, size_px, size_px))
    return int(counter.get_total_flops())
