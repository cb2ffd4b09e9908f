"""Whether the model notices what it was never trained on, and what abstaining would cost."""

from collections.abc import Sequence

from csasn.evidence.abstention import Abstained, Abstention, Recognised
from csasn.report.blocks import Block, Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.risk_coverage import risk_coverage
from csasn.report.formatting import ends_text, number


def abstention(evaluated: EvaluatedRun) -> Section | None:
    """Risk against coverage, what the thresholds abstain on, and, where tried, what is recognised as untrained."""
    found = evaluated.beyond("abstention.json", Abstention)
    if found is None:
        return None
    share = 100 * found.abstained_fraction
    text = (
        "Five detectors say how far a patient's pictures lie from the training ones: energy of the logits; distance of "
        "the embedding to the nearest class (mahalanobis) and to the nearest training images (neighbours); a gate on "
        "the grey levels and speckle of the picture alone; and the larger of mahalanobis and gate (combined). Each "
        f"threshold was frozen where it abstains on {share:.0f} % of the tuning patients."
    )
    tried, abstained, kept = found.recognised, found.abstained, found.risk_coverage
    blocks: list[Block] = [Words(text=text)]
    if beyond := abstains_too_often(abstained, found.abstained_fraction):
        blocks.append(Words(text=beyond))
    blocks += _never_trained_on(tried, evaluated.level)
    blocks += [
        evaluated.drawing(
            "risk-coverage",
            f"Errors among the patients kept, the most novel being set aside first, of {kept.n:,} patients. A "
            "detector whose line does not fall to the left says nothing about errors. Least probability: 1 minus the "
            "largest class probability, which needs no detector.",
            lambda: risk_coverage(kept.coverage, {name: each.risk for name, each in kept.curves.items()}),
        ),
        Table(
            name="abstained",
            caption="Known test patients beyond the frozen thresholds, with Wilson intervals",
            head=("Detector", "Class", "Patients", "Abstained"),
            rows=[_abstained(each) for each in abstained],
            folded=True,
        ),
    ]
    return Section(
        id="abstention", title="Whether it notices what it was not trained on", short="Abstention", blocks=tuple(blocks)
    )


def _never_trained_on(tried: Sequence[Recognised], level: str) -> list[Block]:
    """The tables of what was never trained on, or the words that it was not tried."""
    if not tried:
        words = (
            "Whether types that were never trained on are recognised was not tried in this run: "
            "`csasn abstention` trains without each rare class, and `csasn evaluate` then fills this section."
        )
        return [Words(text=words)]
    detectors = tuple(dict.fromkeys(each.detector for each in tried))
    return [
        Table(
            name="abstention-auroc",
            caption="AUROC of what was never trained on against the known test patients (0.5: not recognised), "
            f"with {level} bootstrap intervals",
            head=("Never trained on", "Novel", *detectors),
            rows=_side_by_side(tried),
        ),
        Table(
            name="abstention-recognised",
            caption="The same by detector, with the known patients abstained on where 95 % of the novel are (FPR "
            "at 95 %), and the novel beyond the frozen threshold",
            head=("Never trained on", "Detector", "Novel", "Known", "AUROC", "FPR at 95 %", "Abstained", "Note"),
            rows=[_recognised(each) for each in tried],
            wide=frozenset({7}),
            folded=True,
        ),
    ]


def abstains_too_often(abstained: Sequence[Abstained], promised: float) -> str:
    """Which detectors abstain on more of the known test patients than promised, in words; empty where none does."""
    every = [row for row in abstained if row.target == "all" and row.low > promised]
    if not every:
        return ""
    named = ", ".join(f"{row.detector} {ends_text(row.share, row.low, row.high)}" for row in every)
    return (
        f"The model abstains on MORE known test patients than the promised {promised:.2f}: {named}. The threshold, set "
        "on tuning patients, is too tight for them: where the model is to read, it has to be set on "
        "patients from there."
    )


def _novel(row: Recognised) -> str:
    return f"{row.novel} ({'left out of training' if row.kind == 'held-out class' else 'foreign pictures'})"


def _side_by_side(tried: Sequence[Recognised]) -> list[list[str]]:
    """A row a novelty, its detectors in columns."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in tried:
        cells = found.setdefault((_novel(row), f"{row.n_novel:,} {row.unit}s"), [])
        cells.append(ends_text(row.auroc, row.low, row.high))
    return [[*novel, *cells] for novel, cells in found.items()]


def _recognised(row: Recognised) -> list[str]:
    counts = [f"{row.n_novel:,} {row.unit}s", f"{row.n_known:,} patients"]
    figures = [ends_text(row.auroc, row.low, row.high), number(row.fpr_at_95), number(row.abstained)]
    return [_novel(row), row.detector, *counts, *figures, row.note]


def _abstained(row: Abstained) -> list[str]:
    target = "all patients" if row.target == "all" else row.target
    return [row.detector, target, f"{row.n:,}", ends_text(row.share, row.low, row.high)]
