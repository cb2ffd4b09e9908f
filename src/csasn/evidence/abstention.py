"""Abstention, evaluated: are untrained types and foreign pictures recognised, and what does abstaining cost?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.arrays import Array
from csasn.calibration.novelty import DETECTORS, Detectors, Images, fit_detectors
from csasn.config import Configuration
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.intervals import wilson
from csasn.evidence.statistics.ranking import auroc
from csasn.evidence.statistics.risk_coverage import fpr_at_sensitivity, risk_coverage
from csasn.runs import Run
from csasn.schema import STATISTICS, rare_classes
from csasn.units import MAIN_MODEL, per_unit, tested_rows, units_of

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
class Abstention:
    """Everything of abstention.json; `risk_coverage` has `coverage`, `n` (patients) and a curve a detector."""

    abstained_fraction: float
    asked: bool
    recognised: Sequence[Recognised]
    abstained: Sequence[Abstained]
    risk_coverage: Mapping[str, RiskCurve | Sequence[float] | int]

    def curves(self) -> dict[str, RiskCurve]:
        """The curve of each detector, and of the least probability."""
        return {name: each for name, each in self.risk_coverage.items() if isinstance(each, RiskCurve)}

    def coverages(self) -> Sequence[float]:
        """The shares of patients kept at which each curve has its risk."""
        coverages = self.risk_coverage["coverage"]
        return coverages if isinstance(coverages, Sequence) else ()

    def n_in_curves(self) -> int:
        """Patients that the curves are of: those of known class."""
        n = self.risk_coverage["n"]
        return n if isinstance(n, int) else 0


def abstention_content(run: Run) -> Abstention:
    """Everything of abstention.json: from embeddings, statistics and, where `csasn abstention` ran, abstention/."""
    settings, folds = run.configuration, sorted(run.split()["fold"].unique().to_list())
    known = novelties(run, "embeddings", folds)
    recognised: list[Recognised] = []
    asked = "abstention" in run.stages()
    if asked:
        for name in rare_classes(run.manifest()):
            found = novelties(run, f"abstention/without-{name}", folds)
            recognised += _recognised("held-out class", name, "patient", found, _is(found, name), settings)
        foreign = _foreign(run, folds)
        for group in foreign["target"].unique(maintain_order=True).to_list():
            both = pl.concat([known, foreign.filter(pl.col("target") == group)])
            recognised += _recognised("foreign", group, "image", both, _is(both, group), settings)
    return Abstention(
        abstained_fraction=settings.novelty.abstained_fraction,
        asked=asked,
        recognised=recognised,
        abstained=list(_abstained(known)),
        risk_coverage=_risk_coverage(run, known),
    )


def novelties(run: Run, folder: str, folds: Sequence[int]) -> pl.DataFrame:
    """A row a test patient: fold, unit (patient_id), target (class), novelty and threshold_<detector> by detector.

    Detectors are fitted on the fold's training images and thresholds frozen on its tuning patients. A patient's
    novelty is that of the strangest nodule, a nodule's the mean over its images.
    """
    found = []
    for fold in folds:
        fitted = _fitted(run, folder, fold)
        test = by_patient(fitted.read.filter(pl.col("partition") == "test"))
        frozen = (pl.lit(fitted.thresholds[name]).alias(f"threshold_{name}") for name in DETECTORS)
        found.append(test.select(pl.lit(fold, pl.Int64).alias("fold"), "unit", "target", *DETECTORS, *frozen))
    return pl.concat(found)


def by_patient(frame: pl.DataFrame) -> pl.DataFrame:
    """Image rows with patient_id, nodule_id, malignant, subtype and detectors -> unit, target and detectors."""
    nodules = frame.group_by("patient_id", "nodule_id").agg(
        pl.col(DETECTORS).mean(), pl.col("malignant").first(), pl.col("subtype").first()
    )
    named = nodules.sort("malignant", "nodule_id", descending=[True, False])
    return (
        named.group_by("patient_id", maintain_order=True)
        .agg(pl.col(DETECTORS).max(), pl.col("subtype").first(), pl.col("malignant").first())
        .select(pl.col("patient_id").alias("unit"), _named.alias("target"), *DETECTORS)
        .sort("unit")
    )


_named = pl.col("subtype").fill_null(pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("benign")))


def _images(frame: pl.DataFrame) -> Images:
    return Images(
        energy=frame["energy"].to_numpy(),
        embedding=frame["embedding"].to_numpy().astype(np.float64),
        statistics=frame.select(STATISTICS).to_numpy(),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fitted:
    """A fold's detectors, the tuning and test images they read with novelty by detector, and the frozen thresholds."""

    detectors: Detectors
    read: pl.DataFrame
    thresholds: dict[str, float]


def _fitted(run: Run, folder: str, fold: int) -> Fitted:
    """Detectors of a fold's training images, and thresholds from its tuning patients."""
    frame = read_embeddings(run, folder, fold)
    train, tuning = (frame.filter(pl.col("partition") == part) for part in ("train", "tuning"))
    novelty = run.configuration.novelty
    group = train.select(_named).to_series().to_numpy()
    detectors = fit_detectors(_images(train), group, _images(tuning), n_neighbours=novelty.n_neighbours)
    read = frame.filter(pl.col("partition") != "train")
    read = read.with_columns(pl.Series(name, each) for name, each in detectors.novelty(_images(read)).items())
    patients, level = by_patient(read.filter(pl.col("partition") == "tuning")), 1 - novelty.abstained_fraction
    thresholds = {name: float(np.quantile(patients[name], level, method="higher")) for name in DETECTORS}
    return Fitted(detectors=detectors, read=read, thresholds=thresholds)


def read_embeddings(run: Run, folder: str, fold: int) -> pl.DataFrame:
    """A fold's embeddings with the manifest's keys and labels and the statistics of each image, in a fixed order."""
    keys = run.manifest().select("image_path", "patient_id", "nodule_id", "site", "malignant", "subtype")
    statistics = pl.read_parquet(run.require("image_statistics.parquet"))
    frame = pl.read_parquet(run.require(f"{folder}/fold{fold}.parquet"))
    joined = frame.join(keys, on="image_path", validate="m:1").join(statistics, on="image_path", validate="m:1")
    return joined.sort("partition", "image_path")


def _foreign(run: Run, folds: Sequence[int]) -> pl.DataFrame:
    """The foreign pictures as rows of `novelties`, one a fold and picture; unit is the picture, target its group."""
    statistics = pl.read_parquet(run.require("abstention/foreign_statistics.parquet"))
    found = []
    for fold in folds:
        fitted = _fitted(run, "embeddings", fold)
        pictures = pl.read_parquet(run.require(f"abstention/foreign/fold{fold}.parquet")).rename({"partition": "group"})
        pictures = pictures.join(statistics, on=["group", "image_path"], validate="1:1", maintain_order="left")
        novelty = fitted.detectors.novelty(_images(pictures))
        found.append(
            pictures.select(
                pl.lit(fold, pl.Int64).alias("fold"),
                (pl.col("group") + "/" + pl.col("image_path")).alias("unit"),
                pl.col("group").alias("target"),
                *(pl.Series(name, novelty[name]) for name in DETECTORS),
                *(pl.lit(fitted.thresholds[name]).alias(f"threshold_{name}") for name in DETECTORS),
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
        ends = list(zip(drawn.estimate.tolist(), drawn.low.tolist(), drawn.high.tolist(), strict=True))
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


def _risk_coverage(run: Run, known: pl.DataFrame) -> dict[str, RiskCurve | Sequence[float] | int]:
    """Risk (share read wrongly among patients kept) at 96 coverages by detector, with the area under it.

    Patients of unknown class are left out: whether they were read wrongly is not known.
    """
    classes = run.classes()
    predictions = pl.read_parquet(run.require("predictions.parquet"))
    patients = tested_rows(per_unit(predictions, classes, unit="patient"), MAIN_MODEL)
    units = units_of(patients, classes)
    read = patients.select(pl.col("patient_id").alias("unit")).with_columns(
        wrong=pl.Series(units.y_prob.argmax(axis=1) != units.y_true),
        doubt=pl.Series(1 - units.y_prob.max(axis=1)),
        is_known=pl.Series(units.known),
    )
    joined = read.join(known, on="unit", validate="1:1").filter("is_known").sort("unit")
    wrong = joined["wrong"].to_numpy()
    curves: dict[str, RiskCurve | Sequence[float] | int] = {
        "coverage": COVERAGES.round(2).tolist(),
        "n": len(joined),
    }
    for name in (*DETECTORS, LEAST_PROBABILITY):
        novelty: Array = joined["doubt" if name == LEAST_PROBABILITY else name].to_numpy()
        coverage, risk = risk_coverage(wrong, novelty)
        places = np.searchsorted(coverage, COVERAGES - 1e-9).clip(max=len(risk) - 1)
        curves[name] = RiskCurve(risk=risk[places].tolist(), area=float(risk.mean()))
    return curves
