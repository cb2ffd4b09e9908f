"""What a study says of one module, as one paragraph of plain words made from the figures alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from csasn.evidence.verdict import adjusted_p, in_words


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
    if row.estimate is None or row.low is None or row.high is None:
        return f"{what} cannot be estimated."
    if row.low == row.high == 0:
        return f"{what} is the same, and not one patient tells the two apart."
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
