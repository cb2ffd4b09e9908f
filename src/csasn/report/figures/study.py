"""Figures of a study: full minus each variant as a forest plot, and quality against cost."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from csasn.evidence.wording import ArmDifference
from csasn.report.figures.forest import Ends, ends_of, forest
from csasn.report.plotting import INK, PALETTE, QUIET, blank

ALIKE = 0.05  # relative difference of two costs that are told as one
SPREAD = 3.0  # of the costs, beyond which their axis is logarithmic
Point = tuple[str, float, tuple[float, float, float]]  # variant, its cost, its quality with the interval
Row = tuple[str, str, ArmDifference]  # module, what a variant has instead, its difference


def modules(rows: Sequence[Row], *, axis: str) -> Figure:
    """Full minus variant, a row a variant under its module's name; those that Holm's p settles are marked."""
    labels: list[tuple[str, Ends]] = []
    settled: set[int] = set()
    heads: list[int] = []
    last = ""
    for module, instead, row in rows:
        if module != last:
            heads.append(len(labels))
            labels.append((module, None))
            last = module
        if row.verdict in ("helps", "hurts"):
            settled.add(len(labels))
        labels.append((f"{instead}   ", ends_of(row)))
    figure = blank(0.9 + 0.2 * len(labels), width_in=5.6)
    axes = figure.subplots()
    forest(axes, labels, signed=True, marked=settled)
    for place in heads:  # a module's name is a heading, not a row without a figure
        axes.texts[place].set_visible(False)
        axes.get_yticklabels()[place].set_fontweight("bold")
    axes.axvline(0, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set_xlabel(f"{axis},\nfull minus variant (right of 0: the module helps)")
    return figure


def quality_against_cost(points: Sequence[Point]) -> Figure:
    """Macro AUROC with its interval against the work of reading one image, GFLOPs; the front is joined.

    A variant is on the front where none that costs as little or less has a higher macro AUROC.
    """
    figure = blank(3.0, width_in=5.6)
    axes = figure.subplots()
    front = on_front([(cost, ends[0]) for _, cost, ends in points])
    for place, (name, cost, (estimate, low, high)) in enumerate(points):
        colour = PALETTE[0] if place in front else INK
        axes.plot([cost, cost], [low, high], color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(
            [cost], [estimate], "s" if name == "full" else "o", color=colour, markersize=5 if name == "full" else 3.5
        )
    ordered = sorted(front, key=lambda place: points[place][1])
    axes.step(
        [points[place][1] for place in ordered],
        [points[place][2][0] for place in ordered],
        where="post",
        color=PALETTE[0],
        linewidth=0.9,
    )
    for place in named(points, front):
        name, cost, ends = points[place]
        side = (-6, -3, "right") if name == "full" else (6, 4, "left")
        axes.annotate(name, (cost, ends[0]), xytext=side[:2], textcoords="offset points", ha=side[2], fontsize=7)
    costs = [cost for _, cost, _ in points]
    if max(costs) > SPREAD * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Work of reading one image, GFLOPs")
    axes.set_ylabel("Macro AUROC per patient")
    axes.margins(x=0.15)
    return figure


def named(points: Sequence[Point], front: Sequence[int]) -> list[int]:
    """The points whose names have room: the full network, and on the front the best of those of about one cost."""
    found: list[int] = []
    for place in sorted(front, key=lambda each: -points[each][2][0]):
        if all(abs(points[place][1] / points[other][1] - 1) > ALIKE for other in found):
            found.append(place)
    return sorted({*found, *(place for place, (name, *_) in enumerate(points) if name == "full")})


def on_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The (cost, quality) points that no other beats: as cheap or cheaper and better, or cheaper and as good."""
    return [
        place
        for place, (cost, quality) in enumerate(points)
        if not any((c <= cost and q > quality) or (c < cost and q >= quality) for c, q in points)
    ]
