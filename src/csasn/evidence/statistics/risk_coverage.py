"""What abstaining costs and finds: false positive rate at a sensitivity, and risk by coverage."""

import numpy as np
from numpy.typing import NDArray

from csasn.arrays import Array


def fpr_at_sensitivity(novel: NDArray[np.bool_], novelty: Array, *, sensitivity: float = 0.95) -> float:
    """Share of the known that is refused where at least `sensitivity` of the novel is; novel (m,), novelty (m,).

    Refused is novelty >= threshold, the threshold the largest that reaches the sensitivity. Raises ValueError where
    one side is empty.
    """
    if novel.all() or not novel.any():
        raise ValueError("Novel and known images are both needed; received one side only.")
    ranked = np.sort(novelty[novel])[::-1]
    threshold = ranked[int(np.ceil(sensitivity * ranked.size - 1e-9)) - 1]
    return float((novelty[~novel] >= threshold).mean())


def risk_coverage(wrong: NDArray[np.bool_], novelty: Array) -> tuple[Array, Array]:
    """Coverage (m,) and risk (m,) as units are kept from the least novel on (El-Yaniv and Wiener 2010).

    Risk is the share read wrongly among those kept. Units of equal novelty are kept together: their risk is that of
    the whole tie.
    """
    order = np.argsort(novelty, kind="stable")
    kept = np.arange(1, novelty.size + 1)
    last = np.searchsorted(novelty[order], novelty[order], side="right") - 1  # of each tie
    errors = np.cumsum(wrong[order])[last]
    return kept / novelty.size, errors / kept[last]
