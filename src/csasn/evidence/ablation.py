"""What each variant of a study is worth, and full minus variant on the same patients: figures, tests, verdicts.

The probabilities of a variant's seeds are averaged for each image before anything else: a study's figure is that of the
mean of its trainings, and how single trainings vary stands beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl

from csasn.arrays import Array, ratio
from csasn.config import EvaluateSettings
from csasn.errors import MismatchError, listing
from csasn.evidence.compare_runs import FEWEST_DRAWS
from csasn.evidence.comparison import Difference, Drawn, paired_difference
from csasn.evidence.estimates import Resampled
from csasn.evidence.metric_panel import EVERY_CLASS, too_few
from csasn.evidence.record import finite
from csasn.evidence.run_differences import Reading, read_at
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.intervals import wilson
from csasn.evidence.statistics.paired import detectable_difference, holm
from csasn.evidence.statistics.ranking import cuts, ranking
from csasn.evidence.study import (
    NOT_JUDGED,
    Ablation,
    ArmFigure,
    JudgedVariant,
    LevelBaseline,
    LevelDifference,
    SeedFigure,
)
from csasn.evidence.tirads_baseline import drawn_by_level
from csasn.evidence.wording import ArmDifference, paragraph
from csasn.files import file_sha256
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.schema import ClassList, rare_classes
from csasn.threads import one_thread
from csasn.units import MAIN_MODEL, MALIGNANCY, per_unit

RARE = "rare classes"  # the target whose figures are means over the rare classes
EQUAL = "sensitivity_at_specificity"  # at one specificity for all variants, where frozen thresholds have each its own
# What is tested, the first of it being what a module is judged by; each is a family of its own over all variants.
TESTED = (
    (EVERY_CLASS, "macro_auroc"),
    (RARE, "auroc"),
    (RARE, EQUAL),
    (RARE, "sensitivity"),
    (EVERY_CLASS, "macro_f1"),
)
OF_CLASS = ("auroc", EQUAL, "sensitivity")  # each rare class's own figures, in order
Key = tuple[str, str]  # target and metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A variant: the module that it gives up, what it has instead, and its finished runs by seed.

    `model` is the one of the runs' models whose predictions are the variant's.
    """

    name: str
    module: str
    instead: str
    runs: dict[int, Run]
    model: str = MAIN_MODEL


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmReading:
    """The mean of some seeds' readings: figures in order, and the draws of those that are estimable.

    `found` (n,) is what each patient adds to the mean sensitivity for the rare classes; `resampled` has the patients.
    """

    figures: tuple[ArmFigure, ...]
    draws: dict[Key, Drawn]
    found: Array
    resampled: Resampled


@one_thread
def ablation_content(arms: Sequence[Arm], *, full: str) -> Ablation:
    """The part of study.json that the predictions say: every variant's figures, differences and verdict.

    A variant is set against the full network over the seeds that both finished. Raises MismatchError where two runs
    were split in two ways.
    """
    runs = [run for arm in arms for run in arm.runs.values()]
    if not runs:
        return NOT_JUDGED
    _refuse_other_splits(runs)
    settings = _settings(runs[0], n_variants=len(arms) - 1)
    classes, rare = runs[0].classes(), rare_classes(runs[0].manifest())
    read = cache(partial(_read_runs, classes=classes, rare=rare, settings=settings))
    reference = next(arm for arm in arms if arm.name == full)
    of_arm: dict[str, ArmReading] = {}
    pairs: dict[str, tuple[ArmReading, ArmReading]] = {}
    for arm in (arm for arm in arms if arm.runs):
        of_arm[arm.name] = read(_frames(arm, sorted(arm.runs)), arm.model)
        shared = sorted(set(arm.runs) & set(reference.runs))
        if arm.name != full and shared:
            pairs[arm.name] = read(_frames(reference, shared), reference.model), read(_frames(arm, shared), arm.model)
    told = _differences(pairs, settings)
    by_level = _by_level(reference, of_arm.get(full), settings)
    return Ablation(
        confidence=settings.confidence,
        n_bootstrap=settings.n_bootstrap,
        fixed_specificity=settings.fixed_specificity,
        rare_classes=list(rare),
        n_patients=next(iter(of_arm.values())).figures[0].n,
        variants=[_described(arm, of_arm, told.get(arm.name, []), read, settings.confidence) for arm in arms],
        tirads=by_level,
    )


def _by_level(reference: Arm, full: ArmReading | None, settings: EvaluateSettings) -> LevelBaseline | None:
    """Malignancy told by the TI-RADS level alone, and the full network less it; None where a nodule has no level."""
    if full is None or (of_full := full.draws.get((MALIGNANCY, "auroc"))) is None:
        return None
    drawn = drawn_by_level(full.resampled, next(iter(reference.runs.values())).manifest(), settings)
    if drawn is None:
        return None
    estimate, low, high = finite(_ends(drawn, settings.confidence))
    difference = paired_difference(of_full, drawn, confidence=settings.confidence)
    n = int(full.resampled.units.malignant.size)
    return LevelBaseline(
        figure=ArmFigure(target=MALIGNANCY, metric="auroc", estimate=estimate, low=low, high=high, n=n),
        difference=LevelDifference(estimate=difference.estimate, low=difference.low, high=difference.high),
    )


def _described(
    arm: Arm,
    of_arm: dict[str, ArmReading],
    told: list[ArmDifference],
    read: Callable[[tuple[str, ...], str], ArmReading],
    confidence: float,
) -> JudgedVariant:
    by_seed = {seed: read(_frames(arm, [seed]), arm.model).figures for seed in sorted(arm.runs)}
    return JudgedVariant(
        name=arm.name,
        module=arm.module,
        instead=arm.instead,
        seeds=sorted(arm.runs),
        figures=list(of_arm[arm.name].figures) if arm.name in of_arm else [],
        by_seed=[
            SeedFigure(seed=seed, target=each.target, metric=each.metric, estimate=each.estimate)
            for seed, figures in by_seed.items()
            for each in figures
            if (each.target, each.metric) in TESTED
        ],
        differences=told,
        verdict=told[0].verdict if told else "",
        paragraph=paragraph(arm.module, arm.instead, told, level=f"{100 * confidence:.0f} %") if told else "",
    )


def _settings(run: Run, *, n_variants: int) -> EvaluateSettings:
    """The runs' own, with draws enough for the smallest p of Holm's strictest step to pass."""
    settings = run.configuration.evaluate
    enough = ceil(4 * n_variants / (1 - settings.confidence))
    return settings.model_copy(update={"n_bootstrap": max(settings.n_bootstrap, FEWEST_DRAWS, enough)})


def _refuse_other_splits(runs: Sequence[Run]) -> None:
    hashes = {str(run.folder): file_sha256(run.require("split.csv")) for run in runs}
    if len(set(hashes.values())) > 1:
        rows = [f"{folder}: {sha}" for folder, sha in hashes.items()]
        raise MismatchError(
            f"All units of a study have one split. Received several:\n{listing(rows)}\n"
            "Remove the folders of the units that differ, and run the study again."
        )


def _frames(arm: Arm, seeds: Sequence[int]) -> tuple[str, ...]:
    """The predictions of an arm's seeds, checked by hash."""
    return tuple(str(arm.runs[seed].require("predictions.parquet")) for seed in seeds)


def mean_predictions(frames: Sequence[pl.DataFrame], classes: ClassList, *, model: str = MAIN_MODEL) -> pl.DataFrame:
    """A model's predictions with each image's probabilities averaged over the frames, which hold the same rows.

    They are named after the main model, so that any model's are judged as its are.
    """
    rows = ["fold", "partition", "image_path"]
    first, *others = (frame.filter(pl.col("model") == model).sort(rows) for frame in frames)
    if any(not first.select(rows).equals(other.select(rows)) for other in others):
        raise MismatchError("The seeds of a variant read the same images in the same folds; these did not.")
    found = first.with_columns(model=pl.lit(MAIN_MODEL))
    for name in classes.names:
        column = f"probability_{name}"
        mean = np.mean([frame[column].to_numpy() for frame in (first, *others)], axis=0)
        mean = np.maximum(mean, np.finfo(np.float64).tiny)
        found = found.with_columns(pl.Series(column, mean), pl.Series(f"logit_{name}", np.log(mean)))
    return found


def _read_runs(
    paths: tuple[str, ...], model: str, *, classes: ClassList, rare: tuple[str, ...], settings: EvaluateSettings
) -> ArmReading:
    frames = [read_parquet(Path(path)) for path in paths]
    table = per_unit(mean_predictions(frames, classes, model=model), classes, unit="patient")
    return read_arm(read_at(table, classes, settings, "patient"), classes, rare, settings)


def read_arm(reading: Reading, classes: ClassList, rare: tuple[str, ...], settings: EvaluateSettings) -> ArmReading:
    """Figures of a reading per patient with their draws: over all classes, malignancy, each rare class, their means."""
    keys = [(EVERY_CLASS, "macro_auroc"), (EVERY_CLASS, "macro_f1"), (MALIGNANCY, "auroc")]
    keys += [(name, "auroc") for name in rare]
    draws = {key: drawn for key in keys if (drawn := reading.resampled.draws(*key)) is not None}
    shares = _sensitivities(reading, classes, rare, settings)
    draws |= {(name, "sensitivity"): each.drawn for name, each in shares.items()}
    draws |= {(name, EQUAL): drawn for name, drawn in _at_equal_specificity(reading, rare, settings).items()}
    for metric in OF_CLASS:
        own = [draws[name, metric] for name in rare if (name, metric) in draws]
        if own:
            draws[RARE, metric] = float(np.mean([each for each, _ in own])), np.mean([each for _, each in own], axis=0)
    units = reading.resampled.units
    n_of = {name: int((units.y_true == classes.names.index(name)).sum()) for name in rare}
    figures = []
    for key in (*TESTED, (MALIGNANCY, "auroc"), *((name, metric) for name in rare for metric in OF_CLASS)):
        ends, n = _ends(draws.get(key), settings.confidence), int(units.known.sum())
        if key[1] in (EQUAL, "sensitivity"):
            n = n_of.get(key[0], sum(n_of.values()))
        if key[1] == "sensitivity" and key[0] in shares:  # where all or none are found, draws have no width
            ends = shares[key[0]].ends(settings.confidence)
        estimate, low, high = finite(ends)
        figures.append(ArmFigure(target=key[0], metric=key[1], estimate=estimate, low=low, high=high, n=n))
    found = np.zeros(units.y_true.size)
    for each in shares.values():
        found += each.hits / each.n / len(shares)
    return ArmReading(figures=tuple(figures), draws=draws, found=found, resampled=reading.resampled)


def _ends(drawn: Drawn | None, confidence: float) -> tuple[float, float, float] | None:
    """Estimate and percentile interval; none where the draws have no width, and so know none."""
    if drawn is None or np.isnan(drawn[1]).all():
        return None
    low, high = np.nanquantile(drawn[1], [(1 - confidence) / 2, (1 + confidence) / 2])
    if low == high:
        low = high = np.nan
    return drawn[0], float(low), float(high)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Share:
    """A class's sensitivity with its draws; hits (n,) are its patients that were found, of `n` with a threshold."""

    drawn: Drawn
    hits: Array
    n: int

    def ends(self, confidence: float) -> tuple[float, float, float]:
        """The share with Wilson's interval."""
        return (self.drawn[0], *wilson(int(self.hits.sum()), self.n, confidence))


def _at_equal_specificity(reading: Reading, rare: tuple[str, ...], settings: EvaluateSettings) -> dict[str, Drawn]:
    """Each rare class's sensitivity where `fixed_specificity` of the other patients are not called, in every draw."""
    units, ranked = reading.resampled.units, {}
    for name in rare:
        binary = units.binary(name)
        if not too_few(name, binary):
            ranked[name] = ranking(binary.y_true, binary.y_prob)
    if not ranked:
        return {}

    def sensitivities(weights: Array) -> Array:
        known = weights[..., units.known]
        return np.stack(
            [cuts(each, known).sensitivity_at(settings.fixed_specificity) for each in ranked.values()], axis=-1
        )

    found = bootstrap(
        units.patients,
        sensitivities,
        strata=units.strata(),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
    )
    return {name: (float(found.estimate[k]), found.draws[:, k]) for k, name in enumerate(ranked)}


def _sensitivities(
    reading: Reading, classes: ClassList, rare: tuple[str, ...], settings: EvaluateSettings
) -> dict[str, Share]:
    """Each rare class's sensitivity at its frozen thresholds; those classes that have any."""
    units, sides = reading.resampled.units, {}
    for name in rare:
        called = reading.called(name, classes)
        if too_few(name, units.binary(name)) or not called.y_true.any():
            continue
        own = np.zeros((2, units.y_true.size))
        own[:, called.rows] = called.y_true & called.called, called.y_true
        sides[name] = own
    if not sides:
        return {}
    hits, within = np.stack(list(sides.values()), axis=2)
    found = bootstrap(
        units.patients,
        lambda weights: ratio(weights @ hits, weights @ within),
        strata=units.strata(),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
    )
    return {
        name: Share(drawn=(float(found.estimate[k]), found.draws[:, k]), hits=hits[:, k], n=int(within[:, k].sum()))
        for k, name in enumerate(sides)
    }


def exchanged_p(one: Array, other: Array, *, n_draws: int, seed: int = 0) -> float:
    """Two-sided p that two sums over the same patients are alike, (P,) each, the two exchanged at random a patient.

    (#{|T*| >= |T|} + 1) / (D + 1) with T = sum_i (one_i - other_i), whose terms have either sign equally often
    (Pitman 1937; the added one: Phipson & Smyth 2010). Unlike a bootstrap's p it holds with few patients.
    """
    terms = one - other
    terms = terms[terms != 0]
    signs = np.random.default_rng(seed).integers(0, 2, (n_draws, terms.size)) * 2 - 1
    beyond = np.abs(signs @ terms) >= abs(terms.sum()) - 1e-12
    return float((beyond.sum() + 1) / (n_draws + 1))


def _differences(
    pairs: dict[str, tuple[ArmReading, ArmReading]], settings: EvaluateSettings
) -> dict[str, list[ArmDifference]]:
    """Every variant's rows: tested ones with Holm's p over all variants, then the others without p."""
    told: dict[str, list[ArmDifference]] = {name: [] for name in pairs}
    if not pairs:
        return told
    keys = [(each.target, each.metric) for each in next(iter(pairs.values()))[0].figures]
    for key in keys:
        found = {name: _difference(key, *pair, settings) for name, pair in pairs.items()}
        tested = key in TESTED
        adjusted = dict(zip(found, holm([each.p if tested else None for each in found.values()]), strict=True))
        m = sum(p is not None for p in adjusted.values())
        for name, each in found.items():
            n = next(figure.n for figure in pairs[name][0].figures if (figure.target, figure.metric) == key)
            p_holm, detectable, needed = adjusted[name], None, None
            if p_holm is not None and each.error:
                detectable = detectable_difference(each.error, confidence=settings.confidence, family=m)
                needed = ceil(n * (detectable / abs(each.estimate)) ** 2) if each.estimate else None
            told[name].append(
                ArmDifference(
                    target=key[0],
                    metric=key[1],
                    estimate=each.estimate,
                    low=each.low,
                    high=each.high,
                    p=each.p if tested else None,
                    p_holm=p_holm,
                    detectable=detectable,
                    n=n,
                    needed=needed,
                    verdict=_verdict(each.estimate, p_holm, 1 - settings.confidence) if tested else "",
                )
            )
    return told


def _difference(key: Key, one: ArmReading, other: ArmReading, settings: EvaluateSettings) -> Difference:
    """Full minus variant in one figure; without an interval where the draws have no width and so know none."""
    each = paired_difference(one.draws.get(key), other.draws.get(key), confidence=settings.confidence)
    if each.estimate and not each.error:
        each = replace(each, low=None, high=None, p=None)
    if key == (RARE, "sensitivity") and each.estimate is not None:
        each = replace(each, p=exchanged_p(one.found, other.found, n_draws=settings.n_bootstrap))
    return each


def _verdict(estimate: float | None, p_holm: float | None, alpha: float) -> str:
    if estimate is None or p_holm is None or p_holm >= alpha:
        return "cannot be told"
    return "helps" if estimate > 0 else "hurts"
