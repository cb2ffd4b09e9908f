"""What a difference between two runs says, in one sentence of plain words."""

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
