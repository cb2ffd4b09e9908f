"""study.json becomes study.html: what was trained, what each module is worth, what it costs, and what failed."""

from collections.abc import Sequence
from pathlib import Path

from csasn.documents import read_document
from csasn.evidence.study import ArmFigure, JudgedVariant, LevelBaseline, Study
from csasn.evidence.wording import ArmDifference
from csasn.files import write_bytes
from csasn.report.blocks import Block, Drawing, Section, Table, Words
from csasn.report.figures.forest import ends_of
from csasn.report.figures.study import modules, quality_against_cost
from csasn.report.formatting import Estimated, ends_text, number, p_text, share
from csasn.report.html import rendered, write_blocks
from csasn.report.plotting import draw

Variants = Sequence[JudgedVariant]
MACRO, RARE_SENSITIVITY = ("all", "macro_auroc"), ("rare classes", "sensitivity_at_specificity")
NAMES = {
    MACRO: "Macro AUROC",
    ("rare classes", "auroc"): "Rare AUROC",
    RARE_SENSITIVITY: "Rare sensitivity at equal specificity",
    ("rare classes", "sensitivity"): "Rare sensitivity at frozen thresholds",
    ("all", "macro_f1"): "Macro F1",
}
METRICS = {
    "auroc": "AUROC",
    "sensitivity_at_specificity": "sensitivity at equal specificity",
    "sensitivity": "sensitivity at frozen thresholds",
}
HOW_TO_READ = (
    "All variants were trained and tested on one split, with the same seeds and the same settings but for those that "
    "the variant is named after.",
    "The probabilities of a variant's seeds are averaged for each image, and patients' figures are computed from "
    "these: a figure is that of the mean of the trainings. How far single trainings lie apart is in the table by seed.",
    "Intervals are over patients, drawn again within their classes, with the same draws for every variant. They hold "
    "the trained networks fixed: what another seed would add is in the table by seed, not in the interval.",
    "A difference is full minus variant: above 0, the full network is better and the module helps. The verdict is that "
    "of macro AUROC. p is adjusted by Holm over all variants, for each of the five figures apart.",
    "Cannot be told is not the same as no effect: which difference these patients would have shown four times in five, "
    "and how many patients the one seen would take, is said of macro AUROC in words and of every figure in the table.",
    "Rare figures are means over the rare classes, each against all other patients. Equal specificity: for every "
    "variant, the cut that leaves {specificity} of the other patients uncalled, found on the tested patients "
    "themselves. Frozen thresholds: each fold's own, from its tuning partition; p exchanges what both call a patient.",
    "At frozen thresholds a network that calls more patients finds more: at a site that training has not seen, that "
    "says where its probabilities lie and not what it can tell apart. Equal specificity does.",
)


def report_study(path: Path) -> Path:
    """Write study.html, its figures (SVG, PNG) and tables (CSV) beside a study.json."""
    content = read_document(path, Study)
    simulated = content.simulated
    variants = [row for row in content.variants if row.figures]
    sections = [_units(content)]
    if variants:
        sections += [
            _modules(content, variants, simulated),
            _figures(content, variants),
            _cost(content, variants, simulated),
            _reading(content),
        ]
    write_blocks(path.parent, sections)
    page = path.with_name("study.html")
    write_bytes(
        page,
        rendered(
            sections,
            title="CSASN: every module in turn",
            heading=f"Which module of CSASN helps: {content.cohort}",
            source=_source(content),
            headline=_headline(content, variants),
            simulated=simulated,
        ),
    )
    return page


def _source(content: Study) -> str:
    suite = content.suite
    changed = "; ".join(f"{name} {value}" for name, value in suite.changed.items() if name != "split.scheme")
    with_others = f", for all variants with {changed}" if changed else ""
    seeds = ", ".join(map(str, suite.seeds))
    return f"Suite {suite.file}, seeds {seeds}, split {content.scheme}{with_others}."


def _reading(content: Study) -> Section:
    items = tuple(each.format(specificity=number(content.fixed_specificity)) for each in HOW_TO_READ)
    return Section(id="reading", title="How to read this", short="How to read this", blocks=(Words(items=items),))


def _headline(content: Study, variants: Variants) -> str:
    units = content.units
    n = {state: sum(unit.state == state for unit in units) for state in ("finished", "failed", "waiting")}
    words = f"{n['finished']} of {len(units)} trainings are finished, {n['failed']} failed, {n['waiting']} wait."
    judged = [row for row in variants if row.verdict]
    if not judged:
        return f"{words} No module can be judged before the full network and a variant have a seed in common."
    full = next(row for row in variants if not row.module)
    macro = next(each for each in full.figures if (each.target, each.metric) == MACRO)
    count = {verdict: sum(row.verdict == verdict for row in judged) for verdict in ("helps", "hurts")}
    return (
        f"On {content.n_patients:,} tested patients the full network has a macro AUROC of {_ends(macro)}. Of "
        f"{len(judged)} variants, {count['helps']} are worse than it, so that the module helps, {count['hurts']} are "
        f"better, and of {len(judged) - sum(count.values())} it cannot be told. {words}"
    )


def _units(content: Study) -> Section:
    units = content.units
    failed = tuple(f"{unit.name}: {unit.error}" for unit in units if unit.state == "failed")
    table = Table(
        name="units",
        caption="Every training: a variant with a seed, on all folds",
        head=("Unit", "Variant", "Seed", "State", "Error"),
        rows=[[unit.name, unit.variant, unit.seed, unit.state, unit.error] for unit in units],
        wide=frozenset({4}),
        folded=True,
    )
    told = Words(text="These failed; the same command tries them again:" if failed else "None failed.", items=failed)
    return Section(id="units", title="What was trained", short="What was trained", blocks=(told, table))


def _modules(content: Study, variants: Variants, simulated: bool) -> Section:
    judged = [row for row in variants if row.verdict]
    blocks: list[Block] = []
    if judged:
        blocks.append(_drawing(content, judged, MACRO, "modules-macro-auroc", simulated))
        if any(_difference(row, RARE_SENSITIVITY).estimate is not None for row in judged):
            blocks.append(_drawing(content, judged, RARE_SENSITIVITY, "modules-rare-sensitivity", simulated))
        blocks += [Words(items=tuple(row.paragraph for row in judged)), _differences(judged)]
    return Section(id="modules", title="What each module is worth", short="Modules", blocks=tuple(blocks))


def _drawing(content: Study, judged: Variants, key: tuple[str, str], name: str, simulated: bool) -> Drawing:
    rows = [(row.module, row.instead, _difference(row, key)) for row in judged]
    level = "–" if content.confidence is None else f"{100 * content.confidence:.0f} %"
    words = (
        f"{NAMES[key]} per patient, full network minus each variant, in bold the module that the variant gives up; "
        f"{level} intervals; blue: found after Holm's adjustment over all variants."
    )
    return draw(name, words, lambda: modules(rows, axis=NAMES[key]), simulated=simulated)


def _difference(row: JudgedVariant, key: tuple[str, str]) -> ArmDifference:
    return next(each for each in row.differences if (each.target, each.metric) == key)


def _differences(judged: Variants) -> Table:
    rows = [
        [
            row.module,
            row.instead,
            _named(each),
            _ends(each),
            p_text(each.p),
            p_text(each.p_holm),
            number(each.detectable, digits=3),
            f"{each.n:,}",
            "–" if each.needed is None else f"{each.needed:,}",
            each.verdict,
        ]
        for row in judged
        for each in row.differences
    ]
    head = (
        "Module",
        "Instead",
        "Figure",
        "Full minus variant",
        "p",
        "p, Holm",
        "Detectable",
        "n",
        "n needed",
        "Verdict",
    )
    return Table(name="differences", caption="Every difference", head=head, rows=rows, folded=True)


def _named(row: ArmFigure | ArmDifference) -> str:
    """What a figure or a difference is called in a table."""
    return NAMES.get((row.target, row.metric)) or f"{row.target} {METRICS[row.metric]}"


def _figures(content: Study, variants: Variants) -> Section:
    names = [_named(each) for each in variants[0].figures]
    table = Table(
        name="figures",
        caption=f"Every variant on {content.n_patients:,} patients; "
        f"rare classes: {', '.join(content.rare_classes) or 'none'}",
        head=("Variant", "Seeds", *names),
        rows=[[row.name, len(row.seeds), *(_ends(each) for each in row.figures)] for row in variants],
    )
    by_seed = [
        [row.name, each.seed, NAMES[each.target, each.metric], number(each.estimate, digits=3)]
        for row in variants
        for each in row.by_seed
    ]
    seeds = Table(
        name="by-seed",
        caption="Each training alone",
        head=("Variant", "Seed", "Figure", "Estimate"),
        rows=by_seed,
        folded=True,
    )
    level = Words(text=_by_level(content.tirads))
    return Section(id="figures", title="Every variant", short="Every variant", blocks=(table, level, seeds))


def _by_level(told: LevelBaseline | None) -> str:
    """The TI-RADS level beside the full network, in words."""
    if told is None:
        return "No TI-RADS level to compare with: not every nodule of the cohort has one, or one class is missing."
    figure, less = told.figure, told.difference
    words = f"The TI-RADS level alone tells malignancy with an AUROC of {_ends(figure)} on {figure.n:,} patients"
    if less.estimate is None:
        return f"{words}."
    higher, sign = ("higher", 1) if less.estimate >= 0 else ("lower", -1)
    low, high = (None if each is None else sign * each for each in (less.low, less.high)[::sign])
    return f"{words}; the full network's is {higher} by {ends_text(sign * less.estimate, low, high, digits=3)}."


def _cost(content: Study, variants: Variants, simulated: bool) -> Section:
    costs = content.costs
    table = Table(
        name="costs",
        caption="What each variant costs: all parameters, the work of reading one image, training images a second "
        "(median over epochs, on cached maps while the branches are frozen), and minutes of training over all folds of "
        "one seed",
        head=("Variant", "Parameters", "GFLOPs", "Images/s", "Training, min"),
        rows=[
            [
                row.name,
                f"{each.parameters:,}",
                number(each.gflops),
                "–" if each.images_per_s is None else f"{each.images_per_s:,.0f}",
                number(each.training_minutes, digits=1),
            ]
            for row in variants
            if (each := costs[row.name])
        ],
    )
    points = [(row.name, costs[row.name].gflops, ends) for row in variants if (ends := ends_of(row.figures[0]))]
    words = (
        "Macro AUROC per patient, with its interval, against the work of reading one image, its feature maps included; "
        "blue: no cheaper variant is as good, and none of its cost is better. Square: the full network."
    )
    pareto = draw("quality-against-cost", words, lambda: quality_against_cost(points), simulated=simulated)
    return Section(id="cost", title="What each variant costs", short="Cost", blocks=(pareto, table))


def _ends(row: Estimated) -> str:
    return share(row, digits=3)
