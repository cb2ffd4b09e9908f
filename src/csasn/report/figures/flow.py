"""The flow of inclusion: from the items that were given to the patients that each partition holds."""

from collections import Counter

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from csasn.report.formatting import counted
from csasn.report.plotting import INK, WIDTH_IN, blank

MOST_CODES = 6  # reasons named one by one; the rest are counted together
LINE_IN, PAD_IN, GAP_IN = 0.155, 0.2, 0.3


def flow(manifest: pl.DataFrame, split: pl.DataFrame, ledger: pl.DataFrame) -> Figure:
    """Boxes from top to bottom: used images and patients, those set aside beside them, partitions below."""
    refused = Counter(ledger.filter(pl.col("outcome") == "refused")["code"].to_list())
    boxes = [_counted("Used", manifest), *_partitions(split)]
    aside = [f"Set aside: {refused.total():,}"] + [f"{code}: {n:,}" for code, n in refused.most_common(MOST_CODES)]
    if rest := refused.total() - sum(n for _, n in refused.most_common(MOST_CODES)):
        aside.append(f"other reasons: {rest:,}")
    given = [f"Given: {manifest.height + refused.total():,} images and items"]
    heights = [
        PAD_IN + LINE_IN * max(len(box), len(aside) if place == 0 else 0) for place, box in enumerate((given, *boxes))
    ]
    total = sum(heights) + GAP_IN * (len(heights) - 1) + 0.1
    figure = blank(total)
    axes = figure.add_subplot()
    axes.set(xlim=(0, WIDTH_IN), ylim=(0, total))
    axes.axis("off")
    top = total - 0.05
    for place, (box, height) in enumerate(zip((given, *boxes), heights, strict=True)):
        _box(axes, box, left=0.1, width=2.5, top=top, height=height)
        if place == 0:
            _box(axes, aside, left=2.95, width=1.4, top=top, height=height)
            _arrow(axes, (2.6, top - height / 2), (2.95, top - height / 2))
        if place + 1 < len(heights):
            _arrow(axes, (1.35, top - height), (1.35, top - height - GAP_IN))
        top -= height + GAP_IN
    return figure


def _counted(name: str, manifest: pl.DataFrame) -> list[str]:
    return [
        f"{name}: {counted(manifest.height, 'image')} of {counted(manifest['nodule_id'].n_unique(), 'nodule')}",
        f"{counted(manifest['patient_id'].n_unique(), 'patient')}, {counted(manifest['site'].n_unique(), 'site')}",
    ]


def _partitions(split: pl.DataFrame) -> list[list[str]]:
    """Patients of each partition: those tested in all, and the smallest to the largest fold for the others."""
    n_folds = split["fold"].n_unique()
    each = split.group_by("fold", "partition").agg(pl.col("patient_id").n_unique().alias("n"))
    lines = [counted(n_folds, "fold")]
    for partition in ("train", "tuning", "test"):
        counts: list[int] = each.filter(pl.col("partition") == partition)["n"].to_list()
        if not counts:
            continue
        ends = sorted({min(counts), max(counts)})
        lines.append(f"{partition}: {' to '.join(f'{n:,}' for n in ends)} patients a fold")
    tested = split.filter(pl.col("partition") == "test")["patient_id"].n_unique()
    return [lines, ["Read by a model that never saw them:", f"{tested:,} patients"]]


def _box(axes: Axes, lines: list[str], *, left: float, width: float, top: float, height: float) -> None:
    place = (left, top - height)
    axes.add_patch(Rectangle(place, width, height, linewidth=0.8, edgecolor=INK, facecolor="#f5f6f8"))
    axes.text(left + 0.08, top - height / 2, "\n".join(lines), va="center", fontsize=7.2, linespacing=1.35)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 0.8})
