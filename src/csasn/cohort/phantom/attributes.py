"""What a simulated nodule looks like: attributes drawn from published frequencies, conditionally and not one by one.

Frequencies are midpoints of published series, read as abstracts or single tables: Moon 2008 (PMID 18403624), Jeh 2007,
Sillery 2010 (PMID 20028904), Lin 2022 (PMC9122875), Wolinski 2014 (10.5603/EP.2014.0043), Guo 2019 (PMC6595859), Suh
2013 (PMC3809886), PMC4541664 (shape of PTC by size). Halos, and all of ATC, rest on few nodules.
"""

from dataclasses import dataclass
from math import erf, exp, log, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Subtype = Literal["benign", "PTC", "FTC", "MTC", "ATC"]
SUBTYPES: tuple[Subtype, ...] = ("benign", "PTC", "FTC", "MTC", "ATC")
COMPOSITION = ("solid", "mixed", "spongiform-or-cystic")
ECHOGENICITY = ("iso-or-hyper", "hypo", "marked")
MARGIN = ("smooth", "ill-defined", "irregular")
FOCI = ("none", "macro", "rim", "punctate")
HALO = ("thin", "thick", "absent")

SMALL_MM = 10.0
SIZE_RANGE_MM = (4.0, 45.0)
COMMON_SIZE_MM = 20.0
SIZE_OVERLAP = 0.5  # how far each class's log size is drawn towards the common one, so that size alone tells little
LEAST_LOG_SD = 0.45
SMALL_TILT = 1.6  # how much likelier a small nodule is taller than wide, where no figure by size is published
NOT_SOLID_TILT = (2.0, 1.0, 1.0)  # iso-or-hyper, hypo, marked: fluid goes with brighter solid parts
BRIGHT_TILT = (1.0, 0.8, 1.0, 0.5)  # none, macro, rim, punctate: fewer foci where the nodule is not hypoechoic


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Published frequencies of one class; probabilities in the order of the names above, sizes in mm, age in years."""

    composition: tuple[float, float, float]
    echogenicity: tuple[float, float, float]
    taller_than_wide: float
    taller_by_size: tuple[float, float] | None = None  # below and from 10 mm
    margin: tuple[float, float, float]
    foci: tuple[float, float, float, float]
    halo: tuple[float, float, float]
    size_mm: tuple[float, float]  # mean, standard deviation
    age: tuple[float, float]
    female: float


LOOKS: dict[Subtype, Look] = {
    "benign": Look(
        composition=(0.58, 0.31, 0.11),
        echogenicity=(0.62, 0.34, 0.04),
        taller_than_wide=0.08,
        margin=(0.85, 0.07, 0.08),
        foci=(0.80, 0.11, 0.03, 0.06),
        halo=(0.35, 0.15, 0.50),
        size_mm=(25, 12),
        age=(51, 13),
        female=0.77,
    ),
    "PTC": Look(
        composition=(0.95, 0.047, 0.003),
        echogenicity=(0.18, 0.56, 0.26),
        taller_than_wide=0.40,
        taller_by_size=(0.73, 0.24),
        margin=(0.22, 0.10, 0.68),
        foci=(0.45, 0.10, 0.02, 0.43),
        halo=(0.13, 0.13, 0.74),
        size_mm=(11, 7.4),
        age=(44, 16),
        female=0.66,
    ),
    "FTC": Look(
        composition=(0.85, 0.14, 0.01),
        echogenicity=(0.62, 0.36, 0.02),
        taller_than_wide=0.03,
        margin=(0.66, 0.08, 0.26),
        foci=(0.82, 0.12, 0.03, 0.03),
        halo=(0.30, 0.32, 0.38),
        size_mm=(30, 15),
        age=(48, 16),
        female=0.62,
    ),
    "MTC": Look(
        composition=(0.91, 0.09, 0.0),
        echogenicity=(0.17, 0.46, 0.37),
        taller_than_wide=0.14,
        margin=(0.50, 0.10, 0.40),
        foci=(0.45, 0.25, 0.02, 0.28),
        halo=(0.08, 0.03, 0.89),
        size_mm=(19, 14),
        age=(50, 15),
        female=0.60,
    ),
    "ATC": Look(
        composition=(0.65, 0.35, 0.0),
        echogenicity=(0.10, 0.60, 0.30),
        taller_than_wide=0.02,
        margin=(0.12, 0.20, 0.68),
        foci=(0.28, 0.30, 0.02, 0.40),
        halo=(0.01, 0.01, 0.98),
        size_mm=(52, 13),
        age=(65, 11),
        female=0.63,
    ),
}


# The share of a class that is drawn with another's look; without it attributes alone would tell the classes apart too
# well. With it a logistic regression on the attributes has, against benign, AUROC .91 for PTC, .76 for FTC, .90 for MTC
# and .95 for ATC, and .77 for MTC against PTC.
ATYPICAL: dict[Subtype, tuple[Subtype, float]] = {
    "PTC": ("FTC", 0.16),
    "MTC": ("benign", 0.06),
    "ATC": ("benign", 0.07),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """The drawn attributes of one nodule: the ACR TI-RADS lexicon, largest diameter in mm, patient's age and sex.

    `look` is the class whose frequencies were used: that of ATYPICAL for some, else the subtype itself.
    """

    subtype: Subtype
    look: Subtype
    composition: str
    echogenicity: str
    taller_than_wide: bool
    margin: str
    foci: str
    halo: str
    size_mm: float
    age: int
    female: bool


def draw_attributes(subtype: Subtype, rng: np.random.Generator) -> Attributes:
    """One nodule of a class: size before shape, composition before echogenicity before foci."""
    other, share = ATYPICAL.get(subtype, (subtype, 0.0))
    name = other if rng.random() < share else subtype
    look = LOOKS[name]
    size_mm = _draw_size(look, rng)
    composition = _pick(COMPOSITION, look.composition, rng)
    echogenicity = _pick(ECHOGENICITY, _echogenicity(look, solid=composition == "solid"), rng)
    foci = _pick(FOCI, _foci(look, bright=echogenicity == "iso-or-hyper"), rng)
    below, above = taller_by_size(look)
    return Attributes(
        subtype=subtype,
        look=name,
        composition=composition,
        echogenicity=echogenicity,
        taller_than_wide=bool(rng.random() < (below if size_mm < SMALL_MM else above)),
        margin=_pick(MARGIN, look.margin, rng),
        foci=foci,
        halo=_pick(HALO, look.halo, rng),
        size_mm=round(size_mm, 1),
        age=int(np.clip(round(rng.normal(*LOOKS[subtype].age)), 18, 90)),
        female=bool(rng.random() < LOOKS[subtype].female),
    )


def small_share(look: Look) -> float:
    """Probability that a nodule of this look measures less than 10 mm."""
    centre, spread = _log_size(look)
    return 0.5 * (1 + erf((log(SMALL_MM) - centre) / (spread * sqrt(2))))


def taller_by_size(look: Look) -> tuple[float, float]:
    """Probability of taller-than-wide below and from 10 mm: published for PTC, else tilted, overall share kept."""
    if look.taller_by_size is not None:
        return look.taller_by_size
    small = small_share(look)
    below = SMALL_TILT * look.taller_than_wide
    return below, (look.taller_than_wide - small * below) / (1 - small)


def _log_size(look: Look) -> tuple[float, float]:
    """Mean and standard deviation of the log of the size in mm, drawn towards the common size."""
    mean, deviation = look.size_mm
    variance = log(1 + (deviation / mean) ** 2)
    centre = (1 - SIZE_OVERLAP) * (log(mean) - variance / 2) + SIZE_OVERLAP * log(COMMON_SIZE_MM)
    return centre, max(sqrt(variance), LEAST_LOG_SD)


def _draw_size(look: Look, rng: np.random.Generator) -> float:
    centre, spread = _log_size(look)
    return float(np.clip(exp(rng.normal(centre, spread)), *SIZE_RANGE_MM))


def _echogenicity(look: Look, *, solid: bool) -> NDArray[np.float64]:
    tilted, rest = _conditional(look.echogenicity, NOT_SOLID_TILT, share=1 - look.composition[0])
    return rest if solid else tilted


def _foci(look: Look, *, bright: bool) -> NDArray[np.float64]:
    tilted, rest = _conditional(look.foci, BRIGHT_TILT, share=look.echogenicity[0])
    return tilted if bright else rest


def _conditional(
    marginal: tuple[float, ...], tilt: tuple[float, ...], *, share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies within a tilted group of this share, and in the rest, such that together they keep the marginal."""
    whole = np.array(marginal)
    tilted = whole * np.array(tilt)
    tilted /= tilted.sum()
    return tilted, (whole - share * tilted) / (1 - share)


def _pick(
    names: tuple[str, ...], frequencies: tuple[float, ...] | NDArray[np.float64], rng: np.random.Generator
) -> str:
    return names[int(rng.choice(len(names), p=np.asarray(frequencies)))]
