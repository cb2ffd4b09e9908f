"""The patients of a simulated cohort: dealt to sites by class, with all that is drawn before any picture is made."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from csasn.errors import BadInputError
from csasn.phantom.attributes import Attributes, draw_attributes
from csasn.phantom.looks import SUBTYPES, Subtype
from csasn.phantom.nodule import Diameters, draw_diameters

Mix = Literal["enriched", "natural"]
# Natural: of 100 operated nodules 40 are carcinomas, and of these PTC makes about .90, FTC .045, MTC .016, ATC < .02
# (here .015; the four are scaled to one).
CARCINOMAS = {"PTC": 0.90, "FTC": 0.045, "MTC": 0.016, "ATC": 0.015}
CLASS_MIXES: dict[Mix, dict[str, float]] = {
    "enriched": {"benign": 0.40, "PTC": 0.24, "FTC": 0.14, "MTC": 0.12, "ATC": 0.10},
    "natural": {"benign": 0.60} | {name: 0.40 * share / sum(CARCINOMAS.values()) for name, share in CARCINOMAS.items()},
}
MIX_SPREAD = 0.25  # SD of the log by which a site's mix differs from the whole
LEAST_A_CLASS = 2  # patients, at every site that has enough of them; of an enriched cohort only
MOST_SITES = 26
_DEALING, _PATIENTS = 9_002, 9_003  # streams of the seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """One simulated patient with one nodule; `number` counts from 0 and fixes, with the seed, every picture."""

    number: int
    patient_id: str
    nodule_id: str
    site_number: int
    attributes: Attributes
    diameters: Diameters

    @property
    def site(self) -> str:
        """The site's name: site-a, site-b, ..."""
        return f"site-{chr(ord('a') + self.site_number)}"


def draw_patients(*, n_patients: int, n_sites: int, seed: int, mix: Mix = "enriched") -> list[Patient]:
    """The patients of a cohort, site by site; BadInputError where the numbers make no cohort.

    The nodules of a class are drawn together, so that every attribute has its published frequency within the class.
    """
    _refuse_impossible(n_patients, n_sites, seed)
    dealt = deal_classes(n_patients=n_patients, n_sites=n_sites, seed=seed, mix=mix)
    drawn = {}
    for number, subtype in enumerate(SUBTYPES):
        n_here = sum(name == subtype for _, name in dealt)
        rng = np.random.default_rng(np.random.SeedSequence([seed, _PATIENTS, number]))
        drawn[subtype] = iter(draw_attributes(subtype, n_here, rng))
    patients = []
    for number, (site_number, subtype) in enumerate(dealt):
        attributes = next(drawn[subtype])
        pseudonym = "sim-" + hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:12]
        patients.append(
            Patient(
                number=number,
                patient_id=pseudonym,
                nodule_id=f"{pseudonym}-n1",
                site_number=site_number,
                attributes=attributes,
                diameters=draw_diameters(attributes, stream(seed, number, 0)),
            )
        )
    return patients


def stream(seed: int, number: int, part: int) -> np.random.Generator:
    """Random numbers of one part of one patient, the same whichever process asks for them."""
    return np.random.default_rng(np.random.SeedSequence([seed, _PATIENTS, len(SUBTYPES) + number, part]))


def deal_classes(*, n_patients: int, n_sites: int, seed: int, mix: Mix = "enriched") -> list[tuple[int, Subtype]]:
    """Site number and class of every patient, site by site, in random order within a site.

    A site of 10 patients or more has a mix of its own about the cohort's; of an enriched one at least 2 of each class.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, _DEALING]))
    dealt: list[tuple[int, Subtype]] = []
    for site in range(n_sites):
        n_here = n_patients // n_sites + (site < n_patients % n_sites)
        shares = np.array([CLASS_MIXES[mix][name] for name in SUBTYPES])
        is_large = n_here >= LEAST_A_CLASS * len(SUBTYPES)
        if is_large:
            shares *= np.exp(rng.normal(0, MIX_SPREAD, len(SUBTYPES)))
        least = LEAST_A_CLASS if is_large and mix == "enriched" else 0
        wanted = np.maximum(n_here * shares / shares.sum() - least, 0)
        counts = least + _apportion(n_here - least * len(SUBTYPES), wanted)
        names = [name for name, count in zip(SUBTYPES, counts, strict=True) for _ in range(count)]
        dealt += [(site, names[at]) for at in rng.permutation(n_here)]
    return dealt


def _refuse_impossible(n_patients: int, n_sites: int, seed: int) -> None:
    if n_patients < 1 or not 1 <= n_sites <= MOST_SITES or seed < 0:
        raise BadInputError(
            f"A simulated cohort has at least 1 patient, 1 to {MOST_SITES} sites and a seed of 0 or more; "
            f"received --patients {n_patients} --sites {n_sites} --seed {seed}."
        )
    if n_patients < 2 * n_sites:
        raise BadInputError(
            "Every site needs a benign and a malignant patient; "
            f"received {n_patients} patients for {n_sites} {'site' if n_sites == 1 else 'sites'}. "
            f"Give {LEAST_A_CLASS * len(SUBTYPES) * n_sites} or more, so that each class has two at each site."
        )


def _apportion(n: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """n whole patients in proportion to the weights, by largest remainder."""
    if n == 0:
        return np.zeros(len(weights), dtype=np.int64)
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]] += 1
    return np.asarray(counts, dtype=np.int64)
