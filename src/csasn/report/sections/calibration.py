"""Whether the probabilities mean what they say, and what corrects them."""

from csasn.evidence.calibration_section import CalibrationSection
from csasn.report.blocks import Block, Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.reliability import calibration as reliability
from csasn.report.formatting import number, shown_targets

STAGES = {"raw": "as the model gives them", "calibrated": "after each fold's temperature"}


def calibration(evaluated: EvaluatedRun) -> Section:
    """Reliability diagrams, corrections, Brier's parts, and the shift to a declared population."""
    settings = evaluated.run.configuration.evaluate
    drawing = evaluated.drawing(
        "reliability",
        f"Reliability in bins of equally many patients, with {evaluated.level} Wilson intervals. Below the diagonal "
        "the probability is too high, above it too low.",
        lambda: reliability(
            evaluated.units, evaluated.records, n_bins=settings.calibration_bins, confidence=settings.confidence
        ),
    )
    found = evaluated.metrics.calibration
    blocks: list[Block] = [drawing]
    tables = (_corrections(found), _temperatures(found), _parts(found, shown_targets(evaluated.units)))
    blocks += [table for table in tables if table.rows]
    blocks += _population(found)
    return Section(
        id="reliability",
        title="Whether the probabilities mean what they say",
        short="Calibration",
        blocks=tuple(blocks),
    )


def _corrections(found: CalibrationSection) -> Table:
    rows = [
        [STAGES[row.stage], f"{row.n:,}", *(number(each, digits=3) for each in (row.brier, row.ece, row.nll))]
        for row in found.corrections
    ]
    caption = "Test patients before and after the temperature that each fold's tuning partition gave"
    head = ("Probabilities", "Patients", "Brier", "ECE", "Negative log-likelihood (nats)")
    return Table(name="corrections", caption=caption, head=head, rows=rows)


def _temperatures(found: CalibrationSection) -> Table:
    rows = [
        [
            str(row.fold),
            f"{row.n:,}",
            number(row.temperature, digits=3),
            number(row.nll_before, digits=3),
            number(row.nll_after, digits=3),
            row.note,
        ]
        for row in found.temperatures
    ]
    caption = "Temperature of each fold (above 1: the model was too sure)"
    head = ("Fold", "Tuning patients", "Temperature", "NLL before", "NLL after", "Note")
    return Table(name="temperatures", caption=caption, head=head, rows=rows, wide=frozenset({5}), folded=True)


def _parts(found: CalibrationSection, shown: tuple[str, ...]) -> Table:
    rows = [
        [
            row.target,
            *(number(each, digits=4) for each in (row.brier, row.reliability, row.resolution, row.uncertainty)),
        ]
        for row in found.murphy
        if row.target in shown
    ]
    caption = "Brier's parts: reliability (0 best) less resolution (more is better) plus uncertainty (of the cohort)"
    head = ("Target", "Brier", "Reliability", "Resolution", "Uncertainty")
    return Table(name="brier-parts", caption=caption, head=head, rows=rows, folded=True)


def _population(found: CalibrationSection) -> list[Block]:
    rows = [
        [
            row.target,
            *(number(each, digits=3) for each in (row.cohort, row.population, row.mean_before, row.mean_after)),
        ]
        for row in found.population
    ]
    if not rows:
        words = (
            "No population was declared (evaluate.population), so probabilities belong to this cohort's mix of classes."
        )
        return [Words(text=words, quiet=True)]
    caption = "Probabilities moved to the declared population by the ratio of prevalences (Saerens 2002)"
    head = ("Class", "Share in the cohort", "Share declared", "Mean probability before", "after")
    return [Table(name="population", caption=caption, head=head, rows=rows)]
