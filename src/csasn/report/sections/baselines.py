"""CSASN beside simpler models on the same folds, whichever way it falls."""

from csasn.evidence.comparison import Comparison
from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.forest import comparison
from csasn.report.formatting import OVERALL_METRICS, figure_name, number, p_text, with_interval

COMPARED = ("macro_auroc", "balanced_accuracy", "macro_f1")


def baselines(evaluated: EvaluatedRun) -> Section:
    """Every model's figures, and the paired differences."""
    differences = evaluated.metrics.comparisons
    blocks: list[Table | Words] = [
        Table(
            name="models",
            caption="Every model, per patient; bootstrap intervals over patients",
            head=("Model", *(OVERALL_METRICS[each] for each in COMPARED)),
            rows=_models(evaluated),
        )
    ]
    if differences:
        table = Table(
            name="differences",
            caption="Paired differences, printed whichever way they fall; the same bootstrap draws for both models; p "
            "adjusted by Holm over all baselines and metrics of a unit; detectable: what four of five such cohorts "
            "would have found",
            head=("Baseline", "Unit and metric", "CSASN minus baseline", "p", "p, Holm", "Detectable", "Reading"),
            rows=[_difference(row, confidence=evaluated.run.configuration.evaluate.confidence) for row in differences],
        )
        blocks += [table, *_tests(evaluated)]
    else:
        blocks.append(Words(text="No baseline was trained in this run."))
    drawing = evaluated.drawing(
        "comparison",
        "Macro AUROC of each model, and the paired difference to CSASN, per patient, with "
        f"{evaluated.level} bootstrap intervals.",
        lambda: comparison(evaluated.records, differences),
    )
    return Section(
        id="baselines",
        title="Comparison with simpler models on the same folds",
        short="Comparison with baselines",
        blocks=(*blocks, drawing),
    )


def _tests(evaluated: EvaluatedRun) -> tuple[Table, ...]:
    """DeLong's and McNemar's tests."""
    rows = [
        [
            row.baseline,
            figure_name(row.target, row.metric),
            row.method,
            number(row.estimate, digits=3),
            p_text(row.p),
            p_text(row.p_holm),
            row.note,
        ]
        for row in evaluated.metrics.paired_tests
    ]
    caption = "Tests of CSASN against each baseline on the same patients; Holm over all of these"
    head = ("Baseline", "Figure", "Test", "Difference", "p", "p, Holm", "Note")
    table = Table(name="paired-tests", caption=caption, head=head, rows=rows, wide=frozenset({6}))
    return (table,) if rows else ()


def _models(evaluated: EvaluatedRun) -> list[list[str]]:
    """Model and its overall metrics, per patient."""
    found = evaluated.records
    names = [key[0] for key in found if key[1:] == ("all", "patient", "all", "macro_auroc")]
    return [
        [
            "CSASN" if name == "csasn" else name,
            *(with_interval(found.get((name, "all", "patient", "all", each)), digits=3) for each in COMPARED),
        ]
        for name in names
    ]


def _difference(row: Comparison, *, confidence: float) -> list[str]:
    """One comparison in words and numbers, whichever way it falls; it is settled by the p that Holm adjusted."""
    label = f"{row.unit}: {OVERALL_METRICS[row.metric]}"
    if row.estimate is None or row.low is None or row.high is None:
        return [row.baseline, label, "not estimable", "–", "–", "–", row.note or "–"]
    ends = f"{row.estimate:+.3f} ({row.low:+.3f} to {row.high:+.3f})".replace("-", "−")
    verdict = "not settled"
    if row.p_holm is not None and row.p_holm < 1 - confidence:
        verdict = "CSASN higher" if row.estimate > 0 else "baseline higher"
    return [
        row.baseline,
        label,
        ends,
        p_text(row.p),
        p_text(row.p_holm),
        number(row.detectable, digits=3),
        verdict,
    ]
