"""Whether something that should not matter tells the class."""

from collections.abc import Sequence

from csasn.evidence.shortcut_audit import AlteredReading, Shortcuts, SiteReadable
from csasn.evidence.statistics.leaks import Leak
from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.formatting import NOT_ESTIMABLE, counted, number

FEWEST_DIGITS = 0.0001


def shortcuts(evaluated: EvaluatedRun) -> Section | None:
    """The verdict first, then the questions, the altered pictures, and whether the site can be read."""
    found = evaluated.beyond("shortcuts.json", Shortcuts)
    if found is None:
        return None
    how = (
        "Test pictures were read again without marks (text, calipers), without the nodule, and from their border "
        "alone. Patients are compared within their site only, so that differing class mixes raise no alarm. An alarm "
        f"needs a p, adjusted by Holm over the questions, of at most {found.false_alarm_rate:g} (the chance of any "
        f"false alarm) and an AUROC within sites of at least {found.smallest_auroc:g}."
    )
    left_out = found.n_without_border_check
    limit = "No alarm is no proof: a leak smaller than so few patients can show, or of another kind, stays unseen."
    if left_out:
        unjudged = counted(left_out, "patient")
        limit += f" The border of {unjudged} is not judged: no mask, or a nodule that reaches into it."
    return Section(
        id="shortcuts",
        title="Whether something that should not matter tells the class",
        short="Shortcuts",
        blocks=(
            Words(text=verdict(found.questions, alarm=found.alarm)),
            Words(text=how),
            Table(
                name="shortcut-questions",
                caption="Questions of the shortcut audit",
                head=("Question", "Patients", "Malignant", "AUROC within sites", "p (Holm)", "Answer"),
                rows=[_question(each) for each in found.questions],
                wide=frozenset({0, 5}),
            ),
            Table(
                name="shortcut-variants",
                caption="Malignancy read from altered pictures, and how far its probability moves",
                head=("Picture", "Patients", "AUROC within sites", "Median change of p(malignant)", "Note"),
                rows=[_variant(each) for each in found.variants],
                wide=frozenset({4}),
            ),
            Table(
                name="shortcut-site",
                caption="Whether the site can be read from the embedding of a fold's test patients; to read it is no "
                "shortcut by itself, as scanners differ, but it makes one possible",
                head=("Fold", "Sites", "Patients", "Balanced accuracy", "By chance", "p", "Note"),
                rows=[_site(each) for each in found.site_readable],
                wide=frozenset({6}),
                folded=True,
            ),
            Words(text=limit, quiet=True),
        ),
    )


def verdict(questions: Sequence[Leak], *, alarm: bool) -> str:
    """One line: alarm and what raised it, or no alarm and what was not measurable."""
    if alarm:
        return "ALARM. The answer is yes to: " + " ".join(each.question for each in questions if each.alarm)
    unasked = [each.question for each in questions if each.p is None]
    if len(unasked) == len(questions):
        return "Not measurable: no question of the audit could be answered in this cohort."
    return "No alarm." + (f" Not measurable: {' '.join(unasked)}" if unasked else "")


def _question(row: Leak) -> list[str]:
    answer = row.note or ("yes: alarm" if row.alarm else "no alarm")
    auroc = NOT_ESTIMABLE if row.auroc is None else number(row.auroc)
    return [row.question, f"{row.n_patients:,}", f"{row.n_malignant:,}", auroc, _p(row.p_holm), answer]


def _variant(row: AlteredReading) -> list[str]:
    auroc = NOT_ESTIMABLE if row.auroc_within_sites is None else number(row.auroc_within_sites)
    return [row.variant, f"{row.n_patients:,}", auroc, number(row.median_change, digits=3), row.note]


def _site(row: SiteReadable) -> list[str]:
    figures = [number(row.balanced_accuracy), number(row.chance), _p(row.p)]
    return [str(row.fold), f"{row.n_sites:,}", f"{row.n_patients:,}", *figures, row.note]


def _p(value: float | None) -> str:
    return "–" if value is None else f"{max(value, FEWEST_DIGITS):.4f}"
