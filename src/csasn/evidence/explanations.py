"""The maps of a run, measured: do they lie on the nodule, and do they depend on what was learned?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from csasn.arrays import Array
from csasn.config import EvaluateSettings
from csasn.evidence.comparison import UNDEFINED, paired_difference
from csasn.evidence.record import finite
from csasn.evidence.statistics.bootstrap import Bootstrapped, bootstrap
from csasn.evidence.statistics.intervals import is_flat, wilson
from csasn.evidence.statistics.paired import detectable_difference, holm
from csasn.evidence.statistics.pointing import (
    BASELINES,
    TOLERANCE,
    Place,
    Target,
    alike,
    baseline,
    energy,
    enlarged,
    pointing,
)
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.schema import MAPS

MEASURES = ("pointing", "energy")
EVERYONE = "all"
ANOTHER = "another picture"  # how alike the maps of different pictures are, by the same network
STILL_ALIKE = 0.5  # rank correlation from which on two maps are called alike
FEWEST = 2  # patients


@dataclass(frozen=True, kw_only=True, slots=True)
class OnNodule:
    """One measure of one map (or baseline) in a group of patients; None is "not estimable", and the note says why.

    The mean over patients of the mean over a patient's images. `difference` is to the better baseline, `against`, on
    the same patients; p_holm is adjusted over all maps and measures of the group "all", in which alone it is given.
    """

    map: str
    group: str
    measure: str
    estimate: float | None
    low: float | None
    high: float | None
    against: str | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    n_patients: int
    n_images: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alike:
    """Mean rank correlation of each image's map with the map of the same answer after weights were dealt anew.

    `randomised` is the last part that was dealt anew, or ANOTHER; n_flat maps ranked nothing and count as 0.
    """

    map: str
    level: int
    randomised: str
    estimate: float | None
    low: float | None
    high: float | None
    n_patients: int
    n_flat: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """Both measures of one map of one image."""

    pointing: float
    energy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownImage:
    """The image that stands for its class; `reached` has each map's measures, none without a nodule in a mask."""

    reached: Mapping[str, Reached]
    image_path: str
    target_class: str
    site: str
    patient_id: str
    malignant: bool
    reference: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanations:
    """Everything of explanations.json; `missing`: why a map was not made; `n_flat`: maps that rank nothing."""

    answer: str
    tolerance_share: float
    still_alike: float
    missing: Mapping[str, str]
    n_patients: int
    n_images: int
    n_images_with_nodule: int
    n_flat: Mapping[str, int]
    on_nodule: Sequence[OnNodule]
    alike: Sequence[Alike]
    shown: Sequence[ShownImage]


def explanations_content(run: Run) -> Explanations:
    """Everything of explanations.json, from explanations/ alone."""
    maps, keyed = read_parquet(run.require("explanations/maps.parquet")), _keys(run)
    trained = maps.filter(pl.col("level") == 0)
    images = _images(trained, read_parquet(run.require("explanations/masks.parquet"))).join(keyed, on="image_path")
    kinds = [kind for kind in MAPS if kind in trained["map"].to_list()]
    settings, seed = run.configuration.evaluate, run.configuration.fit.seed
    targets = trained.unique("image_path", maintain_order=True).select("image_path", "target_class")
    answers = targets.join(keyed, on="image_path")
    missing = run.stages()["explain"].get("missing", {})
    return Explanations(
        answer="log-odds of the most probable class",
        tolerance_share=TOLERANCE,
        still_alike=STILL_ALIKE,
        missing=missing if isinstance(missing, dict) else {},
        n_patients=answers["patient_id"].n_unique(),
        n_images=answers.height,
        n_images_with_nodule=images.height,
        n_flat={kind: _n_flat(trained.filter(pl.col("map") == kind)) for kind in kinds},
        on_nodule=_on_nodule(images, kinds, settings, seed=seed),
        alike=list(_alike(maps, keyed, kinds, settings, seed=seed)),
        shown=_shown(answers, images, kinds),
    )


def target_of(row: dict[str, Any]) -> Target | None:
    """A row of masks.parquet as a target; None where there is no mask, or no nodule in it."""
    packed, size_px = row["mask"], row["size_px"]
    if packed is None:
        return None
    mask = np.unpackbits(np.frombuffer(packed, np.uint8), count=size_px**2).reshape(size_px, size_px).astype(np.bool_)
    return Target(mask=mask, place=place_of(row)) if mask.any() else None


def place_of(row: dict[str, Any]) -> Place:
    """Where the picture of a row of masks.parquet lies in its square."""
    return row["top_px"], row["left_px"], row["height_px"], row["width_px"]


def cells_of(row: dict[str, Any]) -> Array:
    """A row of maps.parquet as a map (h, w)."""
    return np.array(row["cells"], dtype=np.float64).reshape(row["n_rows"], row["n_columns"])


def _keys(run: Run) -> pl.DataFrame:
    """Image, site, patient, malignant, and the reference: the class, or malignant or not where no more is known."""
    group = pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("not malignant"))
    told = run.manifest().with_columns(reference=pl.col("subtype").fill_null(group))
    return told.select("image_path", "site", "patient_id", "malignant", "reference")


def _n_flat(rows: pl.DataFrame) -> int:
    return int((rows["cells"].list.max() == rows["cells"].list.min()).sum())


def _images(trained: pl.DataFrame, masks: pl.DataFrame) -> pl.DataFrame:
    """Image, named, and "<map or baseline> <measure>" of every image with a nodule in its mask."""
    by_image = trained.partition_by("image_path", as_dict=True)
    found: list[dict[str, object]] = []
    for row in masks.iter_rows(named=True):
        target = target_of(row)
        if target is None:
            continue
        own = by_image[(row["image_path"],)]
        record: dict[str, object] = {"image_path": row["image_path"], "target_class": own["target_class"][0]}
        for each in own.iter_rows(named=True):
            square = enlarged(cells_of(each), len(target.mask))
            reached = (pointing(square, target), energy(square, target))
            record |= {f"{each['map']} {name}": value for name, value in zip(MEASURES, reached, strict=True)}
        for known in BASELINES:
            reached = baseline(known, target)
            record |= {f"{known} {name}": value for name, value in zip(MEASURES, reached, strict=True)}
        found.append(record)
    return pl.DataFrame(found, schema=None if found else {"image_path": pl.String, "target_class": pl.String})


def _on_nodule(images: pl.DataFrame, kinds: Sequence[str], settings: EvaluateSettings, *, seed: int) -> list[OnNodule]:
    """Every map and baseline in every group; Holm over the maps and measures of all patients."""
    right = pl.col("target_class") == pl.col("reference")
    groups = {
        EVERYONE: pl.lit(True),
        "malignant": pl.col("malignant"),
        "not malignant": ~pl.col("malignant"),
        "named as the reference": right,
        "named otherwise": ~right,
    }
    found = [
        each
        for name, chosen in groups.items()
        for each in _of_group(name, images.filter(chosen), kinds, settings, seed=seed)
    ]
    adjusted = holm([each.p if each.group == EVERYONE else None for each, _ in found])
    n = sum(p is not None for p in adjusted)
    return [
        replace(
            each,
            p_holm=p,
            detectable=None
            if p is None or error is None
            else detectable_difference(error, confidence=settings.confidence, family=n),
        )
        for (each, error), p in zip(found, adjusted, strict=True)
    ]


def _of_group(
    group: str, images: pl.DataFrame, kinds: Sequence[str], settings: EvaluateSettings, *, seed: int
) -> Iterator[tuple[OnNodule, float | None]]:
    """One group's records, each with its difference's standard error: what is detectable hangs on the family."""
    sources = (*kinds, *BASELINES)
    names = [f"{source} {measure}" for source in sources for measure in MEASURES]
    n_patients = images["patient_id"].n_unique()
    drawn = _means(images, names, settings, seed=seed) if n_patients >= FEWEST else None
    note = "" if drawn else f"not estimable: {n_patients} patient(s) with a nodule in the mask"
    for source in sources:
        for measure in MEASURES:
            own = names.index(f"{source} {measure}")
            against = None if drawn is None or source in BASELINES else _better(drawn, names, measure)
            ends = (None,) * 3 if drawn is None else _ends(drawn, own, n_patients, measure, settings.confidence)
            apart = UNDEFINED
            if drawn is not None and against is not None:
                columns = own, names.index(f"{against} {measure}")
                one, other = ((float(drawn.estimate[each]), drawn.draws[:, each]) for each in columns)
                apart = paired_difference(one, other, confidence=settings.confidence)
            record = OnNodule(
                map=source,
                group=group,
                measure=measure,
                estimate=ends[0],
                low=ends[1],
                high=ends[2],
                against=against,
                difference=apart.estimate,
                difference_low=apart.low,
                difference_high=apart.high,
                p=apart.p,
                p_holm=None,
                detectable=None,
                n_patients=n_patients,
                n_images=images.height,
                note="; ".join(filter(None, [note, apart.note])),
            )
            yield record, apart.error


def _means(table: pl.DataFrame, names: Sequence[str], settings: EvaluateSettings, *, seed: int) -> Bootstrapped:
    """Columns' means over patients of the means over a patient's rows; patients are drawn within their class."""
    ordered = table.sort("malignant", "reference").group_by("patient_id", maintain_order=True)
    patients = ordered.agg(pl.col("reference").last(), pl.col(names).mean()).sort("patient_id")
    values = patients.select(names).to_numpy().astype(np.float64)
    return bootstrap(
        patients["patient_id"].to_numpy().astype(np.str_),
        lambda w: np.asarray(w @ values / w.sum(axis=1, keepdims=True)),
        strata=patients["reference"].rank("dense").to_numpy().astype(np.int64),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
        seed=seed,
        method="bca",
    )


def _better(drawn: Bootstrapped, names: Sequence[str], measure: str) -> str:
    return max(BASELINES, key=lambda name: drawn.estimate[names.index(f"{name} {measure}")])


def _ends(
    drawn: Bootstrapped, column: int, n: int, measure: str, confidence: float
) -> tuple[float | None, float | None, float | None]:
    """Estimate with interval; Wilson's where every patient's pointing hits or misses and draws see no spread."""
    estimate = float(drawn.estimate[column])
    if measure == "pointing" and estimate in (0.0, 1.0):
        return (estimate, *wilson(round(estimate) * n, n, confidence))
    return _finite_ends(drawn, column)


def _finite_ends(drawn: Bootstrapped, column: int) -> tuple[float | None, float | None, float | None]:
    """Estimate with its resampled interval, without one where that has no width."""
    estimate, low, high = (float(each[column]) for each in (drawn.estimate, drawn.low, drawn.high))
    return finite((estimate, np.nan, np.nan) if is_flat(low, high) else (estimate, low, high))


def _alike(
    maps: pl.DataFrame, keyed: pl.DataFrame, kinds: Sequence[str], settings: EvaluateSettings, *, seed: int
) -> Iterator[Alike]:
    """Each level of each map, then the maps of other pictures of the same fold."""
    again = maps.filter(pl.col("level") > 0)
    for kind in kinds:
        own = maps.filter(pl.col("map") == kind, pl.col("image_path").is_in(again["image_path"].unique().to_list()))
        cells = {(row["image_path"], row["level"]): cells_of(row) for row in own.iter_rows(named=True)}
        fold = dict(own.select("image_path", "fold").iter_rows())
        levels = own.filter(pl.col("level") > 0).unique("level").sort("level").select("level", "randomised")
        for level, name in levels.iter_rows():
            values = {image: alike(cells[image, 0], cells[image, level]) for image in fold}
            n_flat = _n_flat(own.filter(pl.col("level") == level))
            yield _alike_record(kind, level, name, values, n_flat, keyed, settings, seed=seed)
        others = {
            image: float(np.mean([alike(cells[image, 0], cells[each, 0]) for each in near]))
            for image in fold
            if (near := [each for each in fold if each != image and fold[each] == fold[image]])
        }
        yield _alike_record(kind, 0, ANOTHER, others, 0, keyed, settings, seed=seed)


def _alike_record(
    kind: str,
    level: int,
    name: str,
    values: dict[str, float],
    n_flat: int,
    keyed: pl.DataFrame,
    settings: EvaluateSettings,
    *,
    seed: int,
) -> Alike:
    table = pl.DataFrame({"image_path": list(values), "alike": list(values.values())})
    ends: tuple[float | None, ...] = (None,) * 3
    if len(values) >= FEWEST:
        drawn = _means(table.join(keyed, on="image_path"), ["alike"], settings, seed=seed)
        ends = _finite_ends(drawn, 0)
    return Alike(
        map=kind,
        level=level,
        randomised=name,
        estimate=ends[0],
        low=ends[1],
        high=ends[2],
        n_patients=len(values),
        n_flat=n_flat,
    )


def _shown(answers: pl.DataFrame, images: pl.DataFrame, kinds: Sequence[str]) -> list[ShownImage]:
    """An image a class: the one whose energy is the median of its class's, so neither the best nor the worst."""
    found = []
    for _, own in answers.sort("malignant", "reference", "image_path").group_by("reference", maintain_order=True):
        measured = images.filter(pl.col("image_path").is_in(own["image_path"].to_list()))
        row, reached = own.row(0, named=True), {}
        if measured.height and kinds:
            order = measured.sort(f"{kinds[-1]} energy", "image_path")
            name = order["image_path"][(order.height - 1) // 2]
            row = own.row(by_predicate=pl.col("image_path") == name, named=True)
            values = measured.row(by_predicate=pl.col("image_path") == name, named=True)
            reached = {kind: Reached(**{each: values[f"{kind} {each}"] for each in MEASURES}) for kind in kinds}
        found.append(ShownImage(reached=reached, **row))
    return found
