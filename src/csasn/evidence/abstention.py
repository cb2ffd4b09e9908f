"""Abstention, evaluated: are untrained types and foreign pictures recognised, and what does abstaining cost?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.arrays import Array
from csasn.calibration.calibrate import EMBEDDINGS, read_gate
from csasn.calibration.embeddings import by_patient, images_of, read_embeddings
from csasn.calibration.fit import fit_gate, with_novelty
from csasn.calibration.novelty import DETECTORS
from csasn.config import Configuration
from csasn.evidence.run_tables import RunTables
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.intervals import is_flat, newcombe_auroc, wilson
from csasn.evidence.statistics.ranking import auroc
from csasn.evidence.statistics.risk_coverage import fpr_at_sensitivity, risk_coverage
from csasn.frames import read_parquet
from csasn.schema import rare_classes
from csasn.units import MAIN_MODEL, tested_rows, units_of

SENSITIVITY = 0.95
LEAST_PROBABILITY = "least probability"  # 1 - the largest class probability: the baseline that needs no detector
COVERAGES = np.linspace(0.05, 1.0, 96)
FEWEST = 2  # units on each side, below which nothing is estimated


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognised:
    """How well one detector tells one kind of novelty from the known test patients; None is "not estimable".

    `abstained` is the share of the novel beyond the frozen threshold; `unit` is what n_novel counts.
    """

    kind: str
    novel: str
    unit: str
    detector: str
    auroc: float | None
    low: float | None
    high: float | None
    fpr_at_95: float | None
    abstained: float | None
    n_novel: int
    n_known: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstained:
    """Known test patients of a class (or "all") beyond the frozen threshold of a detector, with Wilson's interval."""

    detector: str
    target: str
    share: float
    low: float
    high: float
    n_abstained: int
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskCurve:
    """Risk (share read wrongly among patients kept) at each coverage, and the area under it over all patients."""

    risk: Sequence[float]
    area: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskCoverage:
    """A curve a detector, and one of the least probability, over `n` patients of known class at the same coverages."""

    coverage: Sequence[float]
    n: int
    curves: Mapping[str, RiskCurve]


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """Everything of abstention.json; `asked` says whether `csasn abstention` ran."""

    abstained_fraction: float
    asked: bool
    recognised: Sequence[Recognised]
    abstained: Sequence[Abstained]
    risk_coverage: RiskCoverage


def abstention_content(tables: RunTables) -> Abstention:
    """Everything of abstention.json: from embeddings, statistics and, where `csasn abstention` ran, abstention/."""
    run = tables.run
    settings, folds = run.configuration, sorted(tables.by_unit["patient"]["fold"].unique().to_list())
    known = novelties(tables, EMBEDDINGS, folds)
    recognised: list[Recognised] = []
    asked = "abstention" in run.stages()
    if asked:
        for name in rare_classes(tables.manifest):
            found = novelties(tables, f"abstention/without-{name}", folds)
            recognised += _recognised("held-out class", name, "patient", found, _is(found, name), settings)
        foreign = _foreign(tables, folds)
        for group in foreign["target"].unique(maintain_order=True).to_list():
            both = pl.concat([known, foreign.filter(pl.col("target") == group)])
            recognised += _recognised("foreign", group, "image", both, _is(both, group), settings)
    return Abstention(
        abstained_fraction=settings.novelty.abstained_fraction,
        asked=asked,
        recognised=recognised,
        abstained=list(_abstained(known)),
        risk_coverage=_risk_coverage(tables, known),
    )


def novelties(tables: RunTables, folder: str, folds: Sequence[int]) -> pl.DataFrame:
    """A row a test patient: fold, unit (patient_id), target (class), novelty and threshold_<detector> by detector.

    The run's own models are measured by the detectors and thresholds that `calibrate` kept. A model trained without a
    class is an experiment: its gate is fitted here, in the same way, on the embeddings in `folder`.
    """
    found = []
    for fold in folds:
        frame = read_embeddings(tables.run, folder, fold)
        if folder == EMBEDDINGS:
            gate = read_gate(tables.run, tables.calibration, fold)
        else:
            gate, _ = fit_gate(frame, tables.run.configuration.novelty)
        test = by_patient(with_novelty(frame.filter(pl.col("partition") == "test"), gate.detectors))
        frozen = (pl.lit(gate.thresholds[name]).alias(f"threshold_{name}") for name in DETECTORS)
        found.append(test.select(pl.lit(fold, pl.Int64).alias("fold"), "unit", "target", *DETECTORS, *frozen))
    return pl.concat(found)


def _foreign(tables: RunTables, folds: Sequence[int]) -> pl.DataFrame:
    """The foreign pictures as rows of `novelties`, one a fold and picture; unit is the picture, target its group."""
    run = tables.run
    statistics = read_parquet(run.require("abstention/foreign_statistics.parquet"))
    found = []
    for fold in folds:
        gate = read_gate(run, tables.calibration, fold)
        pictures = read_parquet(run.require(f"abstention/foreign/fold{fold}.parquet")).rename({"partition": "group"})
        pictures = pictures.join(statistics, on=["group", "image_path"], validate="1:1", maintain_order="left")
        novelty = gate.detectors.novelty(images_of(pictures))
        found.append(
            pictures.select(
                pl.lit(fold, pl.Int64).alias("fold"),
                (pl.col("group") + "/" + pl.col("image_path")).alias("unit"),
                pl.col("group").alias("target"),
                *(pl.Series(name, novelty[name]) for name in DETECTORS),
                *(pl.lit(gate.thresholds[name]).alias(f"threshold_{name}") for name in DETECTORS),
            )
        )
    return pl.concat(found)


def _is(frame: pl.DataFrame, target: str) -> NDArray[np.bool_]:
    return np.asarray((frame["target"] == target).to_numpy(), dtype=np.bool_)


def _recognised(
    kind: str, name: str, unit: str, frame: pl.DataFrame, novel: NDArray[np.bool_], settings: Configuration
) -> Iterator[Recognised]:
    """A record a detector; the bootstrap draws patients and pictures, those of each side apart."""
    units = frame["unit"].to_numpy().astype(np.str_)
    n_novel, n_known = len(np.unique(units[novel])), len(np.unique(units[~novel]))
    table = frame.select(DETECTORS).to_numpy()
    if min(n_novel, n_known) < FEWEST:
        note = f"not estimable: {n_novel} {unit}(s) of {name} and {n_known} known patients"
        ends: list[tuple[float | None, ...]] = [(None,) * 3] * len(DETECTORS)
    else:
        note = ""
        drawn = bootstrap(
            units,
            lambda w: np.stack([auroc(novel, each, sample_weight=w) for each in table.T], axis=-1),
            strata=novel.astype(np.int64),
            n_draws=settings.evaluate.n_bootstrap,
            confidence=settings.evaluate.confidence,
            seed=settings.fit.seed,
        )
        ends = [
            (
                area,
                *newcombe_auroc(area, n_positive=n_novel, n_negative=n_known, confidence=settings.evaluate.confidence),
            )
            if is_flat(low, high)
            else (area, low, high)
            for area, low, high in zip(drawn.estimate.tolist(), drawn.low.tolist(), drawn.high.tolist(), strict=True)
        ]
    for detector, values, (estimate, low, high) in zip(DETECTORS, table.T, ends, strict=True):
        beyond = values[novel] > frame[f"threshold_{detector}"].to_numpy()[novel]
        yield Recognised(
            kind=kind,
            novel=name,
            unit=unit,
            detector=detector,
            auroc=estimate,
            low=low,
            high=high,
            fpr_at_95=None if note else fpr_at_sensitivity(novel, values, sensitivity=SENSITIVITY),
            abstained=float(beyond.mean()) if novel.any() else None,
            n_novel=n_novel,
            n_known=n_known,
            note=note,
        )


def _abstained(known: pl.DataFrame) -> Iterator[Abstained]:
    """What the frozen thresholds abstain on of the known test patients: all of them, then each class."""
    for detector in DETECTORS:
        beyond = (known[detector] > known[f"threshold_{detector}"]).to_numpy()
        for target in ["all", *sorted(known["target"].unique().to_list())]:
            chosen = np.ones(len(known), dtype=bool) if target == "all" else _is(known, target)
            k, n = int(beyond[chosen].sum()), int(chosen.sum())
            low, high = wilson(k, n)
            yield Abstained(detector=detector, target=target, share=k / n, low=low, high=high, n_abstained=k, n=n)


def _risk_coverage(tables: RunTables, known: pl.DataFrame) -> RiskCoverage:
    """Risk (share read wrongly among patients kept) at 96 coverages by detector, with the area under it.

    Patients of unknown class are left out: whether they were read wrongly is not known.
    """
    patients = tested_rows(tables.by_unit["patient"], MAIN_MODEL)
    units = units_of(patients, tables.classes)
    read = patients.select(pl.col("patient_id").alias("unit")).with_columns(
        wrong=pl.Series(units.y_prob.argmax(axis=1) != units.y_true),
        doubt=pl.Series(1 - units.y_prob.max(axis=1)),
        is_known=pl.Series(units.known),
    )
    joined = read.join(known, on="unit", validate="1:1").filter("is_known").sort("unit")
    wrong = joined["wrong"].to_numpy()
    curves: dict[str, RiskCurve] = {}
    for name in (*DETECTORS, LEAST_PROBABILITY):
        novelty: Array = joined["doubt" if name == LEAST_PROBABILITY else name].to_numpy()
        coverage, risk = risk_coverage(wrong, novelty)
        places = np.searchsorted(coverage, COVERAGES - 1e-9).clip(max=len(risk) - 1)
        curves[name] = RiskCurve(risk=risk[places].tolist(), area=float(risk.mean()))
    return RiskCoverage(coverage=COVERAGES.round(2).tolist(), n=len(joined), curves=curves)
