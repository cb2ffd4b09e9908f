"""Whether acting on the model would do more good than harm: decision curves and biopsies saved."""

from csasn.evidence.decision import Biopsies
from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.decision import decision
from csasn.report.formatting import ends_text, number, shown_targets


def value(evaluated: EvaluatedRun) -> Section | None:
    """Net benefit by threshold, and biopsies a hundred patients at equal sensitivity."""
    found = evaluated.metrics.decision
    if not found.curves:
        return None
    shown = shown_targets(evaluated.units)
    curves = [row for row in found.curves if row.target in shown]
    with_rule = any(row.rule is not None for row in curves)
    rule = "and a rule of TI-RADS level and size, " if with_rule else ""
    text = (
        "Net benefit weighs patients rightly biopsied against those biopsied in vain, at the rate of exchange that a "
        "threshold probability stands for. A model is worth using where its curve lies above biopsying everyone "
        f"{rule}and no one. The prevalence is the cohort's: a surgical or enriched cohort flatters biopsying everyone."
    )
    table = Table(
        name="biopsies",
        caption="Biopsies a hundred patients, against a reference policy at the sensitivity that it has on the tuning "
        "partition",
        head=(
            "Reference",
            "Its sensitivity",
            "Model's sensitivity",
            "Its biopsies / 100",
            "Model's biopsies / 100",
            "Saved / 100",
            "Note",
        ),
        rows=[_biopsies(row) for row in found.biopsies],
        wide=frozenset({6}),
    )
    drawing = evaluated.drawing(
        "decision",
        f"Net benefit per patient by threshold probability, with {evaluated.level} bootstrap intervals.",
        lambda: decision(curves),
    )
    return Section(
        id="value",
        title="Whether acting on it would do more good than harm",
        short="Clinical value",
        blocks=(Words(text=text), drawing, table),
    )


def _biopsies(row: Biopsies) -> list[str]:
    shares = [number(each) for each in (row.reference_sensitivity, row.model_sensitivity)]
    counts = [number(each, digits=1) for each in (row.reference_biopsies, row.model_biopsies)]
    return [row.reference, *shares, *counts, ends_text(row.saved, row.low, row.high, digits=1), row.note]
