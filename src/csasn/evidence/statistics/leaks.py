"""The shortcut audit's statistics: does what should not matter tell the class, within sites and beyond chance?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from csasn.arrays import Array
from csasn.evidence.statistics.paired import holm

PERMUTATIONS_AT_ONCE = 200
READABLE_FOLDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """How one quantity that should not matter ranks malignant above other patients, within sites.

    `alarm`: p_holm is at most the false alarm rate and the AUROC at least the smallest one, in the direction asked
    (either, where `two_sided`). None is "not estimable", and the note says why.
    """

    question: str
    two_sided: bool
    auroc: float | None
    p: float | None
    p_holm: float | None
    alarm: bool
    n_patients: int
    n_malignant: int
    note: str


def within_sites_auroc(malignant: NDArray[np.bool_], quantity: Array, site: NDArray[Any]) -> float:
    """P(q+ > q-) + P(q+ = q-)/2 over pairs of patients of the same site; NaN where there is no such pair."""
    wins, pairs = 0.0, 0
    for name in np.unique(site):
        here = site == name
        n_positive, n = int(malignant[here].sum()), int(here.sum())
        ranks = rankdata(quantity[here])
        wins += float(ranks[malignant[here]].sum()) - n_positive * (n_positive + 1) / 2
        pairs += n_positive * (n - n_positive)
    return wins / pairs if pairs else float("nan")


def permutation_p(
    malignant: NDArray[np.bool_],
    quantity: Array,
    site: NDArray[Any],
    *,
    two_sided: bool,
    n_permutations: int,
    seed: int = 0,
) -> float:
    """Chance of so large an AUROC within sites where labels are dealt anew within each site: (1 + b) / (1 + B).

    Exact in the sense of Phipson and Smyth (2010): under "no relation within sites" it is at most alpha with
    probability at most alpha.
    """
    rng = np.random.default_rng(seed)
    excess, drawn = 0.0, np.zeros(n_permutations)
    for name in np.unique(site):
        here = site == name
        n_positive, n = int(malignant[here].sum()), int(here.sum())
        centred = rankdata(quantity[here]) - (n + 1) / 2
        excess += float(centred[malignant[here]].sum())
        for start in range(0, n_permutations, PERMUTATIONS_AT_ONCE):
            block = slice(start, min(start + PERMUTATIONS_AT_ONCE, n_permutations))
            order = rng.random((block.stop - block.start, n)).argsort(axis=1)[:, :n_positive]
            drawn[block] += centred[order].sum(axis=1)
    tolerance = 1e-9 * max(1, quantity.size)
    if two_sided:
        return float((1 + (np.abs(drawn) >= abs(excess) - tolerance).sum()) / (1 + n_permutations))
    return float((1 + (drawn >= excess - tolerance).sum()) / (1 + n_permutations))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Question:
    """One quantity a patient: what it is, malignant (n,), quantity (n,), site (n,)."""

    name: str
    two_sided: bool
    malignant: NDArray[np.bool_]
    quantity: Array
    site: NDArray[Any]


def leaks(
    questions: Sequence[Question], *, false_alarm_rate: float, smallest_auroc: float, n_permutations: int, seed: int = 0
) -> list[Leak]:
    """The answers, adjusted together by Holm, so that the chance of any false alarm is at most `false_alarm_rate`."""
    found: list[tuple[float, float]] = []
    for each in questions:
        auroc = within_sites_auroc(each.malignant, each.quantity, each.site) if each.quantity.size else float("nan")
        p = float("nan")
        if np.isfinite(auroc):
            p = permutation_p(
                each.malignant,
                each.quantity,
                each.site,
                two_sided=each.two_sided,
                n_permutations=n_permutations,
                seed=seed,
            )
        found.append((auroc, p))
    adjusted = holm([p if np.isfinite(p) else None for _, p in found])
    answers = []
    for each, (auroc, p), p_holm in zip(questions, found, adjusted, strict=True):
        estimable = bool(np.isfinite(p))
        size = max(auroc, 1 - auroc) if each.two_sided else auroc
        answers.append(
            Leak(
                question=each.name,
                two_sided=each.two_sided,
                auroc=auroc if estimable else None,
                p=p if estimable else None,
                p_holm=p_holm,
                alarm=p_holm is not None and p_holm <= false_alarm_rate and size >= smallest_auroc,
                n_patients=each.quantity.size,
                n_malignant=int(each.malignant.sum()),
                note="" if estimable else "not estimable: no site has both malignant and other patients to compare",
            )
        )
    return answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Readable:
    """Whether the site can be read from patients' embeddings: cross-validated balanced accuracy, chance, p."""

    balanced_accuracy: float | None
    chance: float | None
    p: float | None
    n_patients: int
    n_sites: int
    note: str


def site_readable(embedding: Array, site: NDArray[Any], *, n_permutations: int, seed: int = 0) -> Readable:
    """Logistic regression from a patient's mean embedding (n, D) to the site (n,), in 5 folds of patients.

    The null deals the sites anew among the patients, after the predictions: chance is what an unrelated answer of the
    same frequencies reaches. Sites with fewer than 5 patients are left out.
    """
    names, counts = np.unique(site, return_counts=True)
    kept = np.isin(site, names[counts >= READABLE_FOLDS])
    names, code = np.unique(site[kept], return_inverse=True)
    if names.size < 2:
        note = f"not estimable: fewer than two sites have {READABLE_FOLDS} patients"
        return Readable(
            balanced_accuracy=None, chance=None, p=None, n_patients=int(kept.sum()), n_sites=names.size, note=note
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
    folds = StratifiedKFold(READABLE_FOLDS, shuffle=True, random_state=seed)
    told = cross_val_predict(model, embedding[kept], code, cv=folds)
    rng = np.random.default_rng(seed)
    estimate = _balanced(code, told, names.size)
    drawn = np.array([_balanced(rng.permutation(code), told, names.size) for _ in range(n_permutations)])
    return Readable(
        balanced_accuracy=estimate,
        chance=float(drawn.mean()),
        p=float((1 + (drawn >= estimate - 1e-12).sum()) / (1 + n_permutations)),
        n_patients=int(kept.sum()),
        n_sites=names.size,
        note="",
    )


def _balanced(code: NDArray[np.int64], told: NDArray[np.int64], n_sites: int) -> float:
    right = np.bincount(code[told == code], minlength=n_sites)
    return float((right / np.bincount(code, minlength=n_sites)).mean())
