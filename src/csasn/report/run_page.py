"""One self-contained page that tells what a run found, how surely, and what it cannot tell."""

from collections.abc import Callable
from pathlib import Path

from csasn.files import write_bytes
from csasn.report.blocks import Section
from csasn.report.checklists import CHECKLISTS, checklist
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.facts import Facts
from csasn.report.html import rendered, write_blocks
from csasn.report.model_card import model_card
from csasn.report.sections.abstention import abstention
from csasn.report.sections.baselines import baselines
from csasn.report.sections.calibration import calibration
from csasn.report.sections.cohort import checks, cohort
from csasn.report.sections.decision import value
from csasn.report.sections.errors import errors
from csasn.report.sections.explanations import explanations
from csasn.report.sections.gated_attention import aggregation
from csasn.report.sections.limits import limits
from csasn.report.sections.prediction_sets import sets
from csasn.report.sections.provenance import made
from csasn.report.sections.results import curves, headline, mistaken, results
from csasn.report.sections.shortcut_audit import shortcuts
from csasn.report.sections.similar import similar
from csasn.report.sections.sites import sites, subgroups
from csasn.report.sections.training import training
from csasn.runs import Run

# In a reader's order; a section that has nothing to say in a run is None there.
SECTIONS: tuple[Callable[[EvaluatedRun], Section | None], ...] = (
    cohort,
    checks,
    results,
    curves,
    mistaken,
    sites,
    subgroups,
    calibration,
    sets,
    abstention,
    value,
    shortcuts,
    explanations,
    baselines,
    aggregation,
    errors,
    similar,
    training,
    limits,
    made,
)


def report_run(run: Run) -> Path:
    """Write report.html, every figure (SVG, PNG) and table (CSV) of it, model_card.md and the checklists."""
    evaluated = EvaluatedRun(run=run)
    sections = [found for section in SECTIONS if (found := section(evaluated)) is not None]
    for name in ("figures", "tables"):
        run.path(name)  # refused where it is a link: what is written would lie elsewhere
    write_blocks(run.folder, sections)
    source, citation = (str(evaluated.certificate.get(name) or "not stated") for name in ("source", "citation"))
    page = rendered(
        sections,
        title=f"CSASN on {evaluated.name}",
        heading=f"Carcinoma recognition in ultrasound by CSASN: {evaluated.name}",
        source=f"Source: {source}. Citation: {citation.rstrip('.')}.",
        headline=headline(evaluated),
        simulated=evaluated.simulated,
    )
    write_bytes(run.path("report.html"), page)
    facts = Facts(evaluated=evaluated)
    write_bytes(run.path("model_card.md"), model_card(facts).encode())
    for name in CHECKLISTS:
        write_bytes(run.path(f"{name}.md"), checklist(name, facts).encode())
    inputs = ("metrics.json", "predictions.parquet", "history.csv", "weights.csv")
    run.finish("report", inputs=inputs, outputs=("report.html",))
    return run.path("report.html")
