"""Coverage of the prediction sets by class, and by site where there are several."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from csasn.evidence.coverage import Coverage
from csasn.report.figures.forest import ends_of
from csasn.report.plotting import INK, PALETTE, QUIET, blank, shared_legend


def coverage(rows: Sequence[Coverage], *, wanted: float) -> Figure:
    """A panel a class: a point a site with its interval, over the band that is to be expected there."""
    targets = list(dict.fromkeys(row.target for row in rows))
    sites = list(dict.fromkeys(row.site for row in rows))
    figure = blank(0.6 + len(targets) * (0.35 + 0.2 * len(sites)))
    grid = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    for axes, target in zip(grid, targets, strict=True):
        axes.set_title(target, loc="left")
        axes.axvline(wanted, color=QUIET, linewidth=0.9, linestyle="--")
        for row in (row for row in rows if row.target == target):
            ends, place = ends_of(row), sites.index(row.site)
            if ends is None or row.expected_low is None or row.expected_high is None:
                continue
            width = row.expected_high - row.expected_low
            axes.barh(place, width, left=row.expected_low, height=0.7, color="#dfe5ea", label="expected")
            colour, label = (PALETTE[1], "observed: breaks") if row.breaks else (INK, "observed")
            axes.plot(ends[1:], [place, place], color=colour, linewidth=1.3)
            axes.plot(ends[:1], [place], "s", color=colour, markersize=4, label=label)
        axes.set_yticks(range(len(sites)), ["all sites" if site == "all" else site for site in sites])
        axes.set(xlim=(-0.02, 1.02), ylim=(len(sites) - 0.4, -0.6))
    grid[-1].set_xlabel("Share of the class whose set holds it")
    shared_legend(figure, grid.tolist())
    return figure
