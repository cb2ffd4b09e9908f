"""What nodules of each class look like: the published frequencies that the simulated cohort is drawn from.

Frequencies are midpoints of published series, read as abstracts or single tables: Moon 2008 (PMID 18403624), Jeh 2007,
Sillery 2010 (PMID 20028904), Lin 2022 (PMC9122875), Wolinski 2014 (10.5603/EP.2014.0043), Guo 2019 (PMC6595859), Suh
2013 (PMC3809886), PMC4541664 (shape of PTC by size). Halos, and all of ATC, rest on few nodules. How a nodule lies to
the capsule is inferred: Kamaya 2015 (10.7863/ultra.15.02006, abstract: 16 of 62 PTC extend beyond the capsule, 35 % of
the others look so) and Borowczyk 2021 (PMC7956257: protrusion is commoner in FTC than in adenoma) bound PTC and FTC;
the cells of the other classes are guesses.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

from scipy.stats import norm

Subtype = Literal["benign", "PTC", "FTC", "MTC", "ATC"]
SUBTYPES: tuple[Subtype, ...] = ("benign", "PTC", "FTC", "MTC", "ATC")
COMPOSITION = ("solid", "mixed", "spongiform-or-cystic")
ECHOGENICITY = ("iso-or-hyper", "hypo", "marked")
MARGIN = ("smooth", "ill-defined", "irregular")
FOCI = ("none", "macro", "rim", "punctate")
HALO = ("thin", "thick", "absent")
CAPSULE = ("away", "contact", "bulging", "extension")

SMALL_MM = 10.0
SIZE_RANGE_MM = (4.0, 45.0)
COMMON_SIZE_MM = 14.5
SIZE_OVERLAP = 0.78  # how far each class's log size is drawn towards the common one, so that size alone tells little
LEAST_LOG_SD = 0.45
SMALL_TILT = 1.6  # how much likelier a small nodule is taller than wide, where no figure by size is published


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Published frequencies of one class; probabilities in the order of the names above, sizes in mm, age in years."""

    composition: tuple[float, float, float]
    echogenicity: tuple[float, float, float]
    taller_than_wide: float
    published_by_size: tuple[float, float] | None = None  # taller than wide below and from 10 mm
    margin: tuple[float, float, float]
    foci: tuple[float, float, float, float]
    halo: tuple[float, float, float]
    capsule: tuple[float, float, float, float]
    size_mm: tuple[float, float]  # mean, standard deviation
    age: tuple[float, float]
    female: float

    def log_size(self) -> tuple[float, float]:
        """Mean and standard deviation of the log of the size in mm, drawn towards the common size."""
        mean, deviation = self.size_mm
        variance = log(1 + (deviation / mean) ** 2)
        centre = (1 - SIZE_OVERLAP) * (log(mean) - variance / 2) + SIZE_OVERLAP * log(COMMON_SIZE_MM)
        return centre, max(sqrt(variance), LEAST_LOG_SD)

    def taller_by_size(self) -> tuple[float, float]:
        """Probability of taller-than-wide below and from 10 mm: published for PTC, else tilted, overall share kept."""
        if self.published_by_size is not None:
            return self.published_by_size
        centre, spread = self.log_size()
        small = float(norm.cdf((log(SMALL_MM) - centre) / spread))
        below = SMALL_TILT * self.taller_than_wide
        return below, (self.taller_than_wide - small * below) / (1 - small)


LOOKS: dict[Subtype, Look] = {
    "benign": Look(
        composition=(0.58, 0.31, 0.11),
        echogenicity=(0.62, 0.34, 0.04),
        taller_than_wide=0.08,
        margin=(0.85, 0.07, 0.08),
        foci=(0.80, 0.11, 0.03, 0.06),
        halo=(0.35, 0.15, 0.50),
        capsule=(0.58, 0.31, 0.10, 0.01),
        size_mm=(25, 12),
        age=(51, 13),
        female=0.77,
    ),
    "PTC": Look(
        composition=(0.95, 0.047, 0.003),
        echogenicity=(0.18, 0.56, 0.26),
        taller_than_wide=0.40,
        published_by_size=(0.73, 0.24),
        margin=(0.22, 0.10, 0.68),
        foci=(0.45, 0.10, 0.02, 0.43),
        halo=(0.13, 0.13, 0.74),
        capsule=(0.40, 0.36, 0.12, 0.12),
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
        capsule=(0.45, 0.31, 0.22, 0.02),
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
        capsule=(0.45, 0.33, 0.13, 0.09),
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
        capsule=(0.15, 0.30, 0.20, 0.35),
        size_mm=(52, 13),
        age=(65, 11),
        female=0.63,
    ),
}
