"""What a study says of one module, as one paragraph of plain words made from the figures alone."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmDifference:
    """Full minus variant on the same patients; above 0 the module helps.

    p_holm, only for the figures that are tested, is adjusted over all variants. `detectable` is the smallest true
    difference that Holm's strictest step would have found in four of five such cohorts; `needed` the number of patients
    that would find the difference seen, were it the true one. `verdict`: helps, hurts, or cannot be told.
    """

    target: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    n: int
    needed: int | None
    verdict: str


MOST_NEEDED = 1_000_000  # beyond this a number of patients says only that the difference is next to nothing


def paragraph(module: str, instead: str, rows: Sequence[ArmDifference], *, level: str) -> str:
    """The verdict on a module by its first row, and what these patients could have shown; then the other rows."""
    first, *others = [row for row in rows if row.verdict]
    told = f" with {first.n:,} patients" if first.verdict == "cannot be told" else ""
    words = [f"{module}, against {instead}: {first.verdict}{told}.", sentence(first, level=level)]
    words += [sentence(row, level=level, reached=False) for row in others if row.estimate is not None]
    return " ".join(words)


def sentence(row: ArmDifference, *, level: str, reached: bool = True) -> str:
    """One difference in words, with what could have been found where nothing was if `reached`."""
    what = in_words(row.target, row.metric)
    if row.metric == "sensitivity":
        what = what.replace("sensitivity", "sensitivity at frozen thresholds")
    what = what[0].upper() + what[1:]
    if (row.estimate == 0 and row.low is None) or row.low == row.high == 0:
        return f"{what} is the same, and not one patient tells the two apart."
    if row.estimate is None or row.low is None or row.high is None:
        return f"{what} cannot be estimated."
    sign = 1 if row.estimate >= 0 else -1
    low, high = sorted(sign * each for each in (row.low, row.high))
    found = row.verdict in ("helps", "hurts")
    p = "" if row.p_holm is None else f"; {adjusted_p(row.p_holm)}"
    words = (
        f"{what} of the full network is {abs(row.estimate):.3f} {'higher' if sign > 0 else 'lower'} "
        f"({level} interval {low:.3f} to {high:.3f}{p})"
    )
    if found or row.detectable is None:
        return (words + ".").replace("-", "−")
    return (words + ", which settles nothing" + (f": {reach(row)}." if reached else ".")).replace("-", "−")


def reach(row: ArmDifference) -> str:
    """What these patients could have shown, and how many could tell."""
    of_these = " of these classes" if row.metric.startswith("sensitivity") else ""
    words = (
        f"with these {row.n:,} patients{of_these} a true difference of {row.detectable:.3f} would have been found four "
        "times in five"
    )
    if row.needed is None or row.needed > MOST_NEEDED:
        return f"{words}, and the one seen is too small for any cohort to tell"
    return f"{words}, and about {rounded_up(row.needed):,} could tell if the one seen is the true one"


def rounded_up(n: int) -> int:
    """The number to two significant digits, rounded up: 1234 becomes 1300."""
    step = int(10 ** max(0, len(str(n)) - 2))
    return -(-n // step) * step


LOWER_IS_BETTER = ("brier", "ece")


WORDS = {
    "macro_auroc": "macro AUROC",
    "macro_auprc": "macro AUPRC",
    "macro_f1": "macro F1",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "auroc": "AUROC",
    "sensitivity": "sensitivity",
    "sensitivity_at_specificity": "sensitivity at equal specificity",
    "specificity": "specificity",
}


def in_words(target: str, metric: str) -> str:
    """A figure's name within a sentence: "macro AUROC", "sensitivity for FTC"."""
    return WORDS[metric] if target == "all" else f"{WORDS[metric]} for {target}"


def better_of(metric: str, estimate: float) -> str:
    """The run that a difference, A minus B, speaks for: "A" or "B"."""
    return "A" if (estimate > 0) != (metric in LOWER_IS_BETTER) else "B"


def adjusted_p(p_holm: float) -> str:
    """Holm's p within a sentence."""
    return f"p by Holm {'below 0.001' if p_holm < 0.001 else f'{p_holm:.3f}'}"


def found(what: str, metric: str, ends: tuple[float, float, float], *, p_holm: float, level: str) -> str:
    """The sentence of a difference that was found; ends are estimate, low and high of A minus B."""
    better = better_of(metric, ends[0])
    sign = 1 if ends[0] > 0 else -1
    low, high = sorted(sign * each for each in ends[1:])
    way = "higher" if sign == (1 if better == "A" else -1) else "lower"
    return (
        f"{better} is better: its {what} is {abs(ends[0]):.3f} {way} ({level} interval {low:.3f} to {high:.3f}; "
        f"{adjusted_p(p_holm)})."
    ).replace("-", "−")


def not_found(what: str, *, n_patients: int, detectable: float | None, alike: bool) -> str:
    """The sentence of a difference that was not found; `alike` where nothing varies that could tell the two apart."""
    if alike:
        return f"A and B have the same {what}, and not one patient tells them apart."
    if detectable is None:
        return f"No difference in {what} could have been found, however large: {n_patients} patients are too few."
    return (
        f"No difference in {what} was found; with these {n_patients:,} patients a true one of {detectable:.3f} would "
        "have been found four times in five, and smaller ones cannot be excluded."
    )


def untold(what: str, note: str) -> str:
    """The sentence of a difference that cannot be estimated."""
    return f"Which of the two has the better {what} cannot be told ({note})."
