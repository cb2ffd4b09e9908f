"""Probabilities moved from the prevalences they were learned under to those of another population."""

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from csasn.arrays import Array, ratio
from csasn.errors import BadInputError, listing
from csasn.schema import ClassList
from csasn.units import MALIGNANCY


def shifted(y_prob: Array, *, source: Array, target: Array) -> Array:
    """Probabilities (n, K) moved from the prevalences (K,) they were learned under to those of another population.

    p'(k) ~ p(k) target(k) / source(k), normalised (Saerens 2002, eq. 4): right where only the mix of classes differs.
    Raises ValueError where a source prevalence is not positive.
    """
    if (source <= 0).any():
        raise ValueError(f"Every class needs a prevalence above 0 to be shifted from; received {source.tolist()}.")
    return np.asarray(softmax(np.log(np.maximum(y_prob, 1e-300)) + np.log(target / source), axis=1))


def declared_prevalence(population: Mapping[str, float], classes: ClassList, source: Array) -> Array | None:
    """The prevalence of each class (K,) in the declared population, or None where none is declared.

    Where malignancy alone is declared, the classes of each group keep the mix of `source` (K,), the cohort's shares or
    counts; NaN where it has no class of a group.
    Raises BadInputError where names or sum are wrong.
    """
    if not population:
        return None
    if set(population) == {MALIGNANCY}:
        group = np.arange(len(classes.names)) >= classes.n_non_malignant
        total = np.where(group, population[MALIGNANCY], 1 - population[MALIGNANCY])
        return ratio(total * source, np.where(group, source[group].sum(), source[~group].sum()))
    wrong = sorted(set(population) ^ set(classes.names))
    if wrong or abs(sum(population.values()) - 1) > 1e-6:
        raise BadInputError(
            f"evaluate.population declares {MALIGNANCY!r} alone, or every class with a sum of 1; received a sum of "
            f"{sum(population.values()):g}, and these names are missing or unknown:\n{listing(wrong or ['none'])}"
        )
    return np.array([population[name] for name in classes.names], dtype=np.float64)
