"""comparison.json becomes comparison.html: what was compared, every difference, and what each of them says."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from csasn.documents import read_document
from csasn.evidence.compare_runs import RunComparison
from csasn.evidence.run_differences import RunDifference
from csasn.evidence.wording import LOWER_IS_BETTER
from csasn.files import write_bytes
from csasn.report.blocks import Block, Drawing, Listing, Section, Table, Words
from csasn.report.figures.forest import between_runs
from csasn.report.formatting import CLASS_METRICS, OVERALL_METRICS, ends_text, number, p_text
from csasn.report.html import rendered, write_blocks
from csasn.report.plotting import draw

Rows = Sequence[RunDifference]
HEAD = ("Figure", "A", "B", "A minus B", "p", "p, Holm", "Detectable", "n", "Note")
HOW_TO_READ = (
    "Both runs read the same patients, so a difference is judged by pairs: what both read alike says nothing about it.",
    "p is adjusted by Holm over a declared family: all figures over all classes of a unit are one, all figures of "
    "malignancy and of each class of a unit another. Found is what has a small enough adjusted p.",
    "Detectable is the smallest true difference that Holm's strictest step would have found in four of five such "
    "cohorts. No difference found is not no difference: smaller ones than that cannot be excluded.",
    "A figure of this table holds the trained models fixed. It tells which of these two runs reads these patients "
    "better, not which recipe would win when trained again, with another seed or on other patients.",
    "Sensitivity and specificity are those at each run's own thresholds, frozen on its tuning partitions: a run with a "
    "lower threshold has more of the one and less of the other.",
)


def report_comparison(path: Path) -> Path:
    """Write comparison.html, its figures (SVG, PNG) and tables (CSV) beside a comparison.json."""
    content = read_document(path, RunComparison)
    rows = content.differences
    simulated, level = content.simulated, f"{100 * content.confidence:.0f} %"
    sections = [
        _compared(content),
        *(_at_unit(unit, rows, level=level, simulated=simulated) for unit in ("patient", "nodule")),
        Section(id="reading", title="How to read this", short="How to read this", blocks=(Words(items=HOW_TO_READ),)),
        _made(content),
    ]
    write_blocks(path.parent, sections)
    page = path.with_name("comparison.html")
    runs = " · ".join(f"{run.name}: {run.folder}" for run in content.runs)
    write_bytes(
        page,
        rendered(
            sections,
            title="CSASN: two runs compared",
            heading="Two runs of CSASN on the same patients",
            source=runs,
            headline=_headline(content, rows, level),
            simulated=simulated,
        ),
    )
    return page


def _headline(content: RunComparison, rows: Rows, level: str) -> str:
    """Both macro AUROCs per patient, the verdict on them, and how many of all differences were found."""
    first = next(row for row in rows if (row.unit, row.metric) == ("patient", "macro_auroc"))
    whole = [row for row in rows if row.unit == "patient"]
    found = {name: sum(row.better == name for row in whole) for name in ("A", "B")}
    return (
        f"On {content.n_patients:,} patients that both runs tested, the macro AUROC per patient is "
        f"{number(first.first, digits=3)} in run A and {number(first.second, digits=3)} in run B. "
        f"{first.verdict} Of {len(whole)} figures per patient, {found['A']} are better in A and {found['B']} in B "
        f"after Holm's adjustment; brackets hold {level} intervals."
    )


def _compared(content: RunComparison) -> Section:
    rows = [
        [
            run.name,
            run.folder,
            run.scheme,
            f"{run.n_tested:,}",
            f"{run.n_left_out:,}",
        ]
        for run in content.runs
    ]
    table = Table(
        name="runs",
        caption=f"Compared on {content.n_patients:,} patients; classes: {', '.join(content.classes)}",
        head=("Run", "Folder", "Split", "Patients tested", "Left out"),
        rows=rows,
        wide=frozenset({1}),
    )
    alone = "Patients left out were not tested by the other run on the same pictures."
    blocks: tuple[Block, ...] = (table, *([Words(text=alone, quiet=True)] if any(r[4] != "0" for r in rows) else []))
    return Section(id="runs", title="What was compared", short="What was compared", blocks=blocks)


def _at_unit(unit: str, rows: Rows, *, level: str, simulated: bool) -> Section:
    """Verdicts, forest plots and tables of one unit; tables alone where it is the patient under another name."""
    own = [row for row in rows if row.unit == unit]
    overall, by_target = ([row for row in own if (row.target == "all") == whole] for whole in (True, False))
    same = unit == "nodule" and all(row.n == row.n_patients for row in own)
    told: list[Block] = [
        Words(text="Every patient has one nodule, so these figures are those per patient.", quiet=True)
    ]
    if not same:
        told = [Words(items=tuple(row.verdict for row in overall)), *_drawings(unit, own, level, simulated)]
    blocks: list[Block] = [
        *told,
        _table(f"{unit}-overall", f"Per {unit}, over all classes", overall, folded=same),
        _table(
            f"{unit}-by-target",
            f"Per {unit}, malignancy and each class against all others; after n the {unit}s that A alone and B alone "
            "has right",
            by_target,
            folded=same,
        ),
        Table(
            name=f"{unit}-verdicts",
            caption=f"Per {unit}, malignancy and each class, in words",
            head=("Figure", "Verdict"),
            rows=[[_label(row), row.verdict] for row in by_target],
            wide=frozenset({1}),
            folded=True,
        ),
    ]
    return Section(id=unit, title=f"Differences per {unit}", short=f"Per {unit}", blocks=tuple(blocks))


def _drawings(unit: str, rows: Rows, level: str, simulated: bool) -> list[Drawing]:
    """Two forest plots: probabilities and rankings; calls at the frozen thresholds."""
    panels: dict[bool, dict[str, list[tuple[str, RunDifference]]]] = {True: {}, False: {}}
    for row in rows:
        panels[row.first_alone is None].setdefault(_panel(row), []).append((_row_label(row), row))
    words = {
        True: f"A minus B per {unit} in what the probabilities are worth",
        False: f"A minus B per {unit} at each run's own thresholds; in brackets the {unit}s that the share is of",
    }
    names = {True: f"differences-{unit}", False: f"differences-{unit}-at-thresholds"}
    return [
        draw(
            names[ranked],
            f"{words[ranked]}; {level} intervals; blue: found after Holm's adjustment.",
            partial(between_runs, panels[ranked]),
            simulated=simulated,
        )
        for ranked in (True, False)
    ]


def _panel(row: RunDifference) -> str:
    if row.metric in LOWER_IS_BETTER:
        return "Lower is better: left of 0, A is better"
    name = "Over all classes" if row.target == "all" else _metric(row.metric).capitalize().replace("Auroc", "AUROC")
    return f"{name}: right of 0, A is better"


def _row_label(row: RunDifference) -> str:
    if row.target == "all":
        return _short(row)
    return row.target if row.first_alone is None else f"{row.target} ({row.n:,})"


def _table(name: str, caption: str, rows: Rows, *, folded: bool) -> Table:
    found = _methods(rows)
    several = len(found) > 1
    methods = ". ".join(f"{', '.join(of)}: {method}" if several else method for method, of in found.items())
    return Table(
        name=f"differences-{name}",
        caption=f"{caption}. {methods}",
        head=HEAD,
        rows=[_cells(row) for row in rows],
        wide=frozenset({8}),
        folded=folded,
    )


def _methods(rows: Rows) -> dict[str, list[str]]:
    """The methods, and which figures each is of, each said once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        names = found.setdefault(row.method, [])
        name = _short(row) if row.target == "all" else _metric(row.metric)
        names += [] if name in names else [name]
    return found


def _cells(row: RunDifference) -> list[str]:
    alone = f" ({row.first_alone:,} : {row.second_alone:,})" if row.first_alone is not None else ""
    return [
        _label(row),
        number(row.first, digits=3),
        number(row.second, digits=3),
        ends_text(row.estimate, row.low, row.high, digits=3),
        p_text(row.p),
        p_text(row.p_holm),
        number(row.detectable, digits=3),
        f"{row.n:,}{alone}",
        row.note,
    ]


def _label(row: RunDifference) -> str:
    return _short(row) if row.target == "all" else f"{row.target} {_metric(row.metric)}"


def _short(row: RunDifference) -> str:
    return OVERALL_METRICS[row.metric].split(" (")[0]


def _metric(metric: str) -> str:
    return CLASS_METRICS.get(metric, metric)


def _made(content: RunComparison) -> Section:
    runs = [
        "\n".join(
            f"{run.name} {name}: {value}" for name, value in asdict(run).items() if "sha256" in name or name == "csasn"
        )
        for run in content.runs
    ]
    settings = [
        f"confidence: {content.confidence}",
        f"n_bootstrap: {content.n_bootstrap}",
        f"calibration_bins: {content.calibration_bins}",
    ]
    listing = Listing(summary="Settings, versions and hashes", text="\n\n".join(["\n".join(settings), *runs]))
    return Section(id="made", title="How this was made", short="How this was made", blocks=(listing,))
