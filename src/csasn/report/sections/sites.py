"""How it does at each site, and whether the site was new to the model."""

from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.forest import by_site
from csasn.report.formatting import CLASS_METRICS, ends_text, figure_name, number, with_interval
from csasn.units import MAIN_MODEL

SHOWN = (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("malignancy", "auroc"))
UNSEEN = {
    True: "Each site below was read by a model that had not seen any patient of it. This is the figure to expect at a "
    "new hospital with a like mix of patients; one with other scanners or patients may differ more.",
    False: "Patients of each site below also stood in training, so this table does not tell how the model reads at a "
    "site that it has never seen. Run the same cohort with --split.scheme leave-one-site-out for that.",
}


def sites(evaluated: EvaluatedRun) -> Section | None:
    """Table and forest plot by site; nothing where the cohort has one site."""
    names = sorted({key[1] for key in evaluated.records if key[0] == MAIN_MODEL} - {"all"})
    if not names:
        return None
    unseen = evaluated.run.configuration.split.scheme == "leave-one-site-out"
    table = Table(
        name="sites",
        caption="By site, per patient; bootstrap intervals over patients",
        head=("Site", "Patients", "Macro AUROC", "Balanced accuracy", "Malignancy AUROC", "Note"),
        rows=[_row(evaluated, name) for name in (*names, "all")],
        wide=frozenset({5}),
    )
    drawing = evaluated.drawing(
        "sites",
        f"AUROC by site, per patient, with {evaluated.level} bootstrap intervals; the last row pools the sites.",
        lambda: by_site(evaluated.records, names),
    )
    return Section(
        id="sites",
        title="How it reads at sites that it has not seen" if unseen else "How it reads at each site",
        short="Unseen sites" if unseen else "Sites",
        blocks=(Words(text=UNSEEN[unseen]), drawing, table, *_spread(evaluated), *_beside(evaluated)),
    )


def _spread(evaluated: EvaluatedRun) -> tuple[Table, ...]:
    """Random-effects mean over the sites, the range to expect at a further one, and the spread between them."""
    rows = [
        [
            figure_name(row.target, row.metric),
            f"{row.n_sites}",
            ends_text(row.estimate, row.low, row.high),
            _range(row.prediction_low, row.prediction_high),
            "–" if row.i2 is None else f"{100 * row.i2:.0f} %",
            number(row.q_p, digits=3),
            row.note,
        ]
        for row in evaluated.metrics.sites
    ]
    head = ("Figure", "Sites", "Mean over sites", "Range at a further site", "I²", "p of Cochran's Q", "Note")
    caption = "Spread between sites: random effects on the logit scale (Paule-Mandel, Hartung-Knapp)"
    return (Table(name="heterogeneity", caption=caption, head=head, rows=rows, wide=frozenset({6})),) if rows else ()


def _range(low: float | None, high: float | None) -> str:
    return "not estimable" if low is None or high is None else f"{low:.2f}–{high:.2f}"


def _beside(evaluated: EvaluatedRun) -> tuple[Words | Table, ...]:
    """The drop between this run's split and another's on the same patients."""
    found = evaluated.metrics.beside
    if not found:
        return ()
    rows = [
        [
            "all sites" if row.site == "all" else row.site,
            figure_name(row.target, row.metric),
            f"{row.n:,}",
            number(row.here, digits=3),
            number(row.other, digits=3),
            ends_text(row.estimate, row.low, row.high, digits=3),
            row.note,
        ]
        for row in found.drops
    ]
    words = Words(
        text=f"The same patients read under {found.scheme} ({found.run}): the difference is "
        f"this run ({found.scheme_here}) less that one, paired by patient."
    )
    head = ("Site", "Figure", "Patients", "Here", "There", "Difference", "Note")
    caption = f"This run ({found.scheme_here}) beside {found.scheme}, per patient"
    return words, Table(name="beside", caption=caption, head=head, rows=rows, wide=frozenset({6}))


def subgroups(evaluated: EvaluatedRun) -> Section | None:
    """Malignancy figures by device, age band, sex and nodule size."""
    found = evaluated.metrics.subgroups
    if not found:
        return None
    groups = list(dict.fromkeys((row.by, row.group) for row in found))
    names = list(dict.fromkeys(by for by, _ in groups))
    groups.sort(key=lambda each: (names.index(each[0]), not each[1].startswith("below ")))  # the lowest band first
    metrics = list(dict.fromkeys(row.metric for row in found))
    cells = {(row.by, row.group, row.metric): row for row in found}
    rows = []
    for by, group in groups:
        first = next(row for row in found if (row.by, row.group) == (by, group))
        shown = [cells.get((by, group, metric)) for metric in metrics]
        rows.append([by.replace("_", " "), group, f"{first.n:,}", *(with_interval(each) for each in shown), first.note])
    table = Table(
        name="subgroups",
        caption=f"Malignancy per patient in each group; {evaluated.level} intervals",
        head=("By", "Group", "Patients", *(CLASS_METRICS.get(each, each.capitalize()) for each in metrics), "Note"),
        rows=rows,
        wide=frozenset({3 + len(metrics)}),
    )
    words = Words(
        text="Groups are small and many: a difference between two rows is a question, not a finding.", quiet=True
    )
    return Section(id="subgroups", title="How it reads in groups of patients", short="Subgroups", blocks=(table, words))


def _row(evaluated: EvaluatedRun, site: str) -> list[str]:
    found = [evaluated.records.get((MAIN_MODEL, site, "patient", *each)) for each in SHOWN]
    n, note = (found[0].n, found[0].note) if found[0] else (0, "")
    return ["all sites" if site == "all" else site, f"{n:,}", *(with_interval(each) for each in found), note]
