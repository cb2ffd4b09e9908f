"""The attributes of a class's nodules: published frequencies kept cell by cell, drawn together and not one by one.

A Gaussian copula with one factor: each nodule has a suspicion z ~ N(0, 1), and each attribute follows its own
x = LOAD z + sqrt(1 - LOAD^2) e, whose rank within the class is cut at the published cumulative frequencies, from the
most harmless level to the most suspicious. Ranks are a systematic sample: every level's count is n times its published
frequency, rounded up or down. A PTC of low z looks like an FTC, a benign nodule of high z like a PTC.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from csasn.phantom.looks import (
    CAPSULE,
    COMPOSITION,
    ECHOGENICITY,
    FOCI,
    HALO,
    LOOKS,
    MARGIN,
    SIZE_RANGE_MM,
    SMALL_MM,
    Look,
    Subtype,
)

Draws = NDArray[np.float64]

# Correlation of every attribute with the suspicion. Without it attributes alone would tell PTC from benign with AUROC
# .97; with it .93-.94, and MTC .90.
LOAD = 0.5
SIZE_LOAD = 0.5  # of the relation to the capsule with log size: larger nodules reach it more often
POSTERIOR_SHARE = 0.35  # of nodules that lie towards the gland's back
# From the most harmless level to the most suspicious.
SUSPICION: dict[str, tuple[str, ...]] = {
    "composition": COMPOSITION[::-1],
    "echogenicity": ECHOGENICITY,
    "margin": MARGIN,
    "foci": ("none", "rim", "macro", "punctate"),
    "halo": HALO,
    "capsule": CAPSULE,
}
LEVELS = {
    "composition": COMPOSITION,
    "echogenicity": ECHOGENICITY,
    "margin": MARGIN,
    "foci": FOCI,
    "halo": HALO,
    "capsule": CAPSULE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """The drawn attributes of one nodule: the ACR TI-RADS lexicon, largest diameter in mm, patient's age and sex.

    `capsule` says how the nodule lies to the gland's capsule, `posterior` whether it does so at the gland's back.
    """

    subtype: Subtype
    composition: str
    echogenicity: str
    taller_than_wide: bool
    margin: str
    foci: str
    halo: str
    capsule: str
    posterior: bool
    size_mm: float
    age: int
    female: bool


def draw_attributes(subtype: Subtype, n: int, rng: np.random.Generator) -> list[Attributes]:
    """n nodules of a class, in random order."""
    look = LOOKS[subtype]
    suspicion = rng.standard_normal(n)
    size = norm.ppf(_systematic(rng.standard_normal(n), rng))
    centre, spread = look.log_size()
    size_mm = np.clip(np.exp(centre + spread * size), *SIZE_RANGE_MM).round(1)
    levels = {name: _levels(look, name, suspicion, size, rng) for name in SUSPICION}
    taller = _taller(look, size_mm < SMALL_MM, suspicion, rng)
    mean, deviation = look.age
    age = np.clip(np.rint(mean + deviation * norm.ppf(_systematic(rng.standard_normal(n), rng))), 18, 90)
    female = _systematic(rng.standard_normal(n), rng) < look.female
    posterior = rng.random(n) < POSTERIOR_SHARE
    return [
        Attributes(
            subtype=subtype,
            **{name: names[at] for name, names in levels.items()},
            taller_than_wide=bool(taller[at]),
            posterior=bool(posterior[at]),
            size_mm=float(size_mm[at]),
            age=int(age[at]),
            female=bool(female[at]),
        )
        for at in range(n)
    ]


def frequencies(look: Look, name: str) -> dict[str, float]:
    """Published frequency of each level of an attribute, from the most harmless to the most suspicious."""
    published = dict(zip(LEVELS[name], getattr(look, name), strict=True))
    return {level: published[level] for level in SUSPICION[name]}


def _levels(look: Look, name: str, suspicion: Draws, size: Draws, rng: np.random.Generator) -> list[str]:
    """One attribute's level for each nodule of a class."""
    with_size = SIZE_LOAD if name == "capsule" else 0.0
    own = np.sqrt(1 - LOAD**2 - with_size**2) * rng.standard_normal(len(suspicion))
    share = _systematic(LOAD * suspicion + with_size * size + own, rng)
    published = frequencies(look, name)
    cuts = np.cumsum(list(published.values()))[:-1]
    names = tuple(published)
    return [names[at] for at in np.searchsorted(cuts, share, side="right")]


def _taller(look: Look, small: NDArray[np.bool_], suspicion: Draws, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Taller than wide or not, with the published frequency below and from 10 mm."""
    drawn = LOAD * suspicion + np.sqrt(1 - LOAD**2) * rng.standard_normal(len(suspicion))
    taller = np.zeros(len(suspicion), dtype=np.bool_)
    for group, share in zip((small, ~small), look.taller_by_size(), strict=True):
        taller[group] = _systematic(drawn[group], rng) > 1 - share
    return taller


def _systematic(values: Draws, rng: np.random.Generator) -> Draws:
    """Ranks of `values` (n,) as evenly spaced shares of 1 with one random offset, so that any range has its due."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray((ranks + rng.uniform(0.001, 0.999)) / max(len(values), 1), dtype=np.float64)
