"""A cohort of 27 patients made by hand, two models' readings of it, and its units and figures by plain loops.

Three sites (one with a single malignant patient), two folds, a class (FA) that one fold alone tests, so that it has no
tuning threshold there, patients with several nodules and images, and labels that are known in part.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from sklearn.metrics import cohen_kappa_score, f1_score, matthews_corrcoef

from csasn.config import EvaluateSettings
from csasn.evidence.evaluate import Evaluation
from csasn.evidence.statistics.bootstrap import patient_weights
from csasn.schema import ClassList, complete_columns
from tests.support.evaluation import evaluate
from tests.support.plain_statistics import auprc_of, auroc_of, brier_of, cuts_of, ece_of

NAMES = ("benign", "FA", "PTC", "FTC")
CLASSES = ClassList(names=NAMES, n_non_malignant=2)
SETTINGS = EvaluateSettings(
    confidence=0.9, n_bootstrap=100, calibration_bins=3, fixed_specificity=0.75, fixed_sensitivity=0.6, set_alpha=0.3
)
POPULATION = {"benign": 0.6, "FA": 0.25, "PTC": 0.1, "FTC": 0.05}
RIVAL, NOT_READ = "vit-only", "P05"  # the patient that the baseline did not read
# Site, fold that tests the patient, and its nodules: label and number of images.
COHORT: tuple[tuple[str, int, tuple[tuple[str, int], ...]], ...] = (
    ("Alm", 0, (("benign", 1),)),
    ("Alm", 0, (("benign", 2),)),
    ("Alm", 1, (("benign", 1), ("benign", 1))),
    ("Alm", 1, (("benign", 1),)),
    ("Alm", 0, (("FA", 1),)),
    ("Alm", 0, (("FA", 2),)),
    ("Alm", 0, (("PTC", 1),)),
    ("Alm", 0, (("PTC", 2), ("benign", 1))),
    ("Alm", 1, (("PTC", 1),)),
    ("Alm", 1, (("FTC", 1),)),
    ("Alm", 0, (("FTC", 3),)),
    ("Alm", 1, (("malignant", 1),)),  # of unknown class, as is "not malignant"
    ("Birk", 0, (("benign", 1),)),
    ("Birk", 1, (("benign", 1),)),
    ("Birk", 1, (("benign", 1), ("FTC", 1))),
    ("Birk", 0, (("FA", 1),)),
    ("Birk", 0, (("PTC", 1),)),
    ("Birk", 1, (("PTC", 1),)),
    ("Birk", 1, (("PTC", 2),)),
    ("Birk", 0, (("FTC", 1),)),
    ("Birk", 1, (("not malignant", 1),)),
    ("Birk", 1, (("benign", 1),)),
    ("Ceder", 0, (("benign", 1),)),
    ("Ceder", 1, (("benign", 1),)),
    ("Ceder", 1, (("PTC", 1),)),
    ("Alm", 1, (("PTC", 1), ("FTC", 1))),
    ("Birk", 0, (("benign", 1),)),
)


def _rows(model: str, seed: int, strength: float) -> list[dict[str, object]]:
    """Each image as a test row of its patient's fold and as a tuning row of the other, with other logits."""
    rng, rows = np.random.default_rng(seed), []
    for number, (site, fold, nodules) in enumerate(COHORT, start=1):
        for place, (label, n_images) in enumerate(nodules):
            known = label in NAMES
            for image in range(n_images):
                for partition, of_fold in (("test", fold), ("tuning", 1 - fold)):
                    logits = np.round(rng.normal(size=len(NAMES)), 2)
                    if known:
                        logits[NAMES.index(label)] += strength
                    p = np.exp(logits) / np.exp(logits).sum()
                    rows.append(
                        {"model": model, "fold": of_fold, "partition": partition}
                        | {"image_path": f"{(7 * number) % 27:02d}{place}{image}.png", "site": site}
                        | {"nodule_id": f"N{number:02d}{place}", "patient_id": f"P{number:02d}"}
                        | {"malignant": label in (*CLASSES.malignant, "malignant")}
                        | {"subtype": label if known else None}
                        | {f"logit_{name}": logits[k] for k, name in enumerate(NAMES)}
                        | {f"probability_{name}": p[k] for k, name in enumerate(NAMES)}
                    )
    return rows


OWN = _rows("csasn", seed=4, strength=1.2)
OTHER = [row for row in _rows(RIVAL, seed=5, strength=0.8) if row["patient_id"] != NOT_READ]
PREDICTIONS = pl.DataFrame([*OTHER, *OWN], schema_overrides={"fold": pl.Int32, "subtype": pl.String})


def manifest() -> pl.DataFrame:
    """The cohort's manifest; ages and sizes lie on, below and above the edges of their bands."""
    ages = (39.9, 40.0, 40.5, 54.9, 55.0, 55.5, 70.0, 70.5, None)
    sizes = (9.9, 10.0, 10.5, 19.9, 20.0, 20.5, 40.0, 40.5, 3.0)
    rows = []
    for place, row in enumerate(each for each in OWN if each["partition"] == "test"):
        number = int(str(row["patient_id"])[1:])
        rows.append(
            {key: row[key] for key in ("image_path", "site", "patient_id", "nodule_id", "malignant", "subtype")}
            | {"sha256": f"{place:064d}", "frame": 0}
            | {"age_years": ages[number % 9], "nodule_size_mm": sizes[number % 9] + (place % 2) / 100}
            | {"sex": "female" if number % 3 else None, "tirads_level": 1 + (2 * number + place) % 5}
            | {"device": "old" if number == 2 and place % 2 else "new" if number % 2 else "old"}
        )
    return complete_columns(pl.DataFrame(rows, infer_schema_length=None))


@cache
def evaluation() -> Evaluation:
    """What csasn makes of it, for a declared population."""
    settings = EvaluateSettings(**(SETTINGS.model_dump() | {"population": POPULATION}))
    return evaluate(PREDICTIONS, manifest(), CLASSES, settings)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One image, nodule or patient as a model read it."""

    key: str
    patient: str
    site: str
    fold: int
    malignant: bool
    subtype: str | None
    p: tuple[float, ...]

    def is_of(self, target: str) -> bool | None:
        """Whether it is of the target; None where that is not known."""
        if target == "malignancy":
            return self.malignant
        return None if self.subtype is None else self.subtype == target

    def p_of(self, target: str) -> float:
        """The probability of the target."""
        return sum(self.p[2:]) if target == "malignancy" else self.p[NAMES.index(target)]


def _softmax(logits: Sequence[float]) -> tuple[float, ...]:
    total = sum(math.exp(each) for each in logits)
    return tuple(math.exp(each) / total for each in logits)


def _images(model: str, partition: str) -> list[Unit]:
    return [
        Unit(
            key=str(row["image_path"]),
            patient=str(row["patient_id"]),
            site=str(row["site"]),
            fold=int(str(row["fold"])),
            malignant=bool(row["malignant"]),
            subtype=None if row["subtype"] is None else str(row["subtype"]),
            p=_softmax([float(str(row[f"logit_{name}"])) for name in NAMES]),
        )
        for row in (OWN if model == "csasn" else OTHER)
        if row["partition"] == partition
    ]


@cache
def units(unit: str, model: str = "csasn", partition: str = "test") -> tuple[Unit, ...]:
    """The units of a model in the order of their keys, put together as the documentation says."""
    images = _images(model, partition)
    if unit == "image":
        return tuple(sorted(images, key=lambda each: each.key))
    nodule_of = {str(row["image_path"]): str(row["nodule_id"]) for row in OWN}
    nodules = []
    for name in sorted({nodule_of[each.key] for each in images}):
        own = [each for each in images if nodule_of[each.key] == name]
        means = [sum(math.log(each.p[k]) for each in own) / len(own) for k in range(len(NAMES))]
        nodules.append(Unit(**(own[0].__dict__ | {"key": name, "p": _softmax(means)})))
    if unit == "nodule":
        return tuple(nodules)
    patients = []
    for name in sorted({each.patient for each in nodules}):
        own = [each for each in nodules if each.patient == name]
        read = max(own, key=lambda each: sum(each.p[2:]))
        label = max(own, key=_severity)
        told = {"key": name, "p": read.p, "malignant": label.malignant, "subtype": label.subtype}
        patients.append(Unit(**(own[0].__dict__ | told)))
    return tuple(patients)


def _severity(each: Unit) -> tuple[bool, int]:
    """Malignant before not; the later malignant class, the earlier other one; known before unknown."""
    if each.subtype is None:
        return each.malignant, -len(NAMES)
    place = NAMES.index(each.subtype)
    return each.malignant, place if each.malignant else -place


def sides(own: Sequence[Unit], target: str) -> tuple[list[bool], list[float], list[Unit]]:
    """Truth, probability and unit of all units of which it is known whether they are of the target."""
    kept = [each for each in own if each.is_of(target) is not None]
    return [bool(each.is_of(target)) for each in kept], [each.p_of(target) for each in kept], kept


def n_patients(own: Sequence[Unit], target: str, *, positive: bool) -> int:
    """Patients with a unit on that side."""
    return len({each.patient for each in own if each.is_of(target) is positive})


def short_of(own: Sequence[Unit], target: str) -> str:
    """Why a target cannot be estimated."""
    for positive, word in ((True, "with"), (False, "without")):
        n = n_patients(own, target, positive=positive)
        if n < 2:
            return f"not estimable: {n} patient{'s' if n != 1 else ''} {word} {target}"
    return ""


def threshold_of(
    unit: str, fold: int, target: str, model: str = "csasn"
) -> tuple[float | None, float | None, int, int]:
    """The highest tuning probability with the largest Youden index, that index, and how many units were tuned on."""
    tuning = [each for each in units(unit, model, "tuning") if each.fold == fold]
    y, p, _ = sides(tuning, target)
    best: tuple[float | None, float | None] = (None, None)
    if 0 < sum(y) < len(y):
        scored = []
        for cut in set(p):
            hit = sum(1 for a, b in zip(y, p, strict=True) if a and b >= cut) / sum(y)
            spared = sum(1 for a, b in zip(y, p, strict=True) if not a and b < cut) / (len(y) - sum(y))
            scored.append((round(hit + spared - 1, 12), cut))
        best = max(scored)[1], max(scored)[0]
    return *best, len(y), sum(y)


def called(unit: str, own: Sequence[Unit], target: str, model: str = "csasn") -> list[tuple[Unit, bool]]:
    """The units with a threshold in their fold, and whether they are called positive."""
    _, _, kept = sides(own, target)
    cut = {fold: threshold_of(unit, fold, target, model)[0] for fold in (0, 1)}
    return [(each, each.p_of(target) >= at) for each in kept if (at := cut[each.fold]) is not None]


BINARY: dict[str, Callable[[Sequence[bool], Sequence[float], Sequence[float]], float]] = {
    "auroc": auroc_of,
    "auprc": auprc_of,
    "sensitivity_at_specificity": lambda y, p, w: max(a for a, b in cuts_of(y, p, w) if b >= 0.75 - 1e-9),
    "specificity_at_sensitivity": lambda y, p, w: max(b for a, b in cuts_of(y, p, w) if a >= 0.6 - 1e-9),
    "brier": brier_of,
    "ece": ece_of,
}


def binary_of(own: Sequence[Unit], target: str, metric: str, w: Sequence[float] | None = None) -> float:
    """A figure of one target; weights go with the units `own`."""
    if metric == "auroc_vs_benign":
        kept = [(place, each) for place, each in enumerate(own) if each.subtype == target or not each.malignant]
        y = [each.subtype == target for _, each in kept]
        p = [each.p_of(target) / (each.p_of(target) + each.p[0] + each.p[1]) for _, each in kept]
        return BINARY["auroc"](y, p, [1.0 if w is None else w[place] for place, _ in kept])
    y, p, kept_units = sides(own, target)
    weights = dict(zip((each.key for each in own), w or [1.0] * len(own), strict=True))
    return BINARY[metric](y, p, [weights[each.key] for each in kept_units])


def overall_of(own: Sequence[Unit], metric: str, w: Sequence[float] | None = None) -> float:
    """A figure over all classes; macro means run over the classes that can be estimated in `own`."""
    chosen = [name for name in NAMES if not short_of(own, name)]
    per_class = {"macro_auroc": "auroc", "macro_auprc": "auprc", "classwise_ece": "ece"}
    if metric in per_class:
        return float(np.mean([binary_of(own, name, per_class[metric], w) for name in chosen]))
    kept = [(each, wi) for each, wi in zip(own, w or [1.0] * len(own), strict=True) if each.subtype is not None]
    y = [NAMES.index(str(each.subtype)) for each, _ in kept]
    answer = [max(range(len(NAMES)), key=lambda k, p=each.p: p[k]) for each, _ in kept]
    weights = [wi for _, wi in kept]
    numbers = [NAMES.index(name) for name in chosen]
    if metric in ("balanced_accuracy", "top2_sensitivity"):
        right = [
            a == b if metric == "balanced_accuracy" else b in sorted(range(4), key=lambda k, p=each.p: -p[k])[:2]
            for (each, _), a, b in zip(kept, answer, y, strict=True)
        ]
        shares = []
        for k in numbers:
            inside = [(hit, wi) for hit, b, wi in zip(right, y, weights, strict=True) if b == k]
            shares.append(sum(wi for hit, wi in inside if hit) / sum(wi for _, wi in inside))
        return sum(shares) / len(shares)
    if metric == "macro_f1":
        return float(f1_score(y, answer, labels=numbers, average="macro", sample_weight=weights))
    if metric == "mcc":
        return float(matthews_corrcoef(y, answer, sample_weight=weights))
    if metric == "kappa":
        return float(cohen_kappa_score(y, answer, sample_weight=weights))
    if metric == "brier":
        squared = [sum((pk - (k == b)) ** 2 for k, pk in enumerate(e.p)) for (e, _), b in zip(kept, y, strict=True)]
        return sum(s * wi for s, wi in zip(squared, weights, strict=True)) / sum(weights)
    return ece_of([a == b for a, b in zip(answer, y, strict=True)], [max(e.p) for e, _ in kept], weights)


def figure_of(own: Sequence[Unit], target: str, metric: str, w: Sequence[float] | None = None) -> float:
    """Any figure that is resampled."""
    return overall_of(own, metric, w) if target == "all" else binary_of(own, target, metric, w)


def strata_of(own: Sequence[Unit]) -> dict[str, int]:
    """The stratum of each patient: its last class, malignant ones of unknown class apart."""
    found: dict[str, int] = {}
    for each in own:
        code = NAMES.index(each.subtype) if each.subtype else len(NAMES) if each.malignant else -1
        found[each.patient] = max(found.get(each.patient, -1), code)
    return dict(sorted(found.items()))


def draws_of(own: Sequence[Unit], target: str, metric: str) -> list[float]:
    """The figure in every one of 100 draws of patients within their strata."""
    return _draws_of(tuple(own), target, metric)


@cache
def _draws_of(own: tuple[Unit, ...], target: str, metric: str) -> list[float]:
    strata = strata_of(own)
    weights = patient_weights(np.array(list(strata.values())), n_draws=100, seed=0)
    place = {name: number for number, name in enumerate(strata)}
    return [figure_of(own, target, metric, [float(row[place[each.patient]]) for each in own]) for row in weights]


def left_out_of(own: Sequence[Unit], target: str, metric: str) -> dict[int, list[float]]:
    """By stratum, the figure without each patient, the rest of the stratum weighted up to its size."""
    strata, found = strata_of(own), {}
    for stratum in sorted(set(strata.values())):
        members = [name for name, code in strata.items() if code == stratum]
        for gone in members if len(members) > 1 else []:
            up = len(members) / (len(members) - 1)
            w = [0.0 if e.patient == gone else up if strata[e.patient] == stratum else 1.0 for e in own]
            found.setdefault(stratum, []).append(figure_of(own, target, metric, w))
    return found
