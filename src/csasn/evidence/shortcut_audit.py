"""The shortcut audit of a run: from readings of altered pictures to answers and, where something leaks, an alarm."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from scipy.special import expit

from csasn.calibration.calibrate import EMBEDDINGS
from csasn.calibration.embeddings import read_embeddings
from csasn.evidence.statistics.leaks import Leak, Question, leaks, site_readable, within_sites_auroc
from csasn.frames import read_parquet
from csasn.runs import Run

MARKS_FOLLOW = "do marks away from the nodule follow malignancy?"
MODEL_FOLLOWS = "does what the marks add to the logit follow malignancy?"
BORDER_TELLS = "does the border alone tell malignancy?"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlteredReading:
    """Malignancy read from an altered picture, per patient; `median_change` is that of p(malignant)."""

    variant: str
    auroc_within_sites: float | None
    median_change: float | None
    n_patients: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteReadable:
    """Whether the site can be read from the embeddings of a fold's test patients; see `Readable`."""

    fold: int
    balanced_accuracy: float | None
    chance: float | None
    p: float | None
    n_patients: int
    n_sites: int
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortcuts:
    """Everything of shortcuts.json; `rule` says in words when a question raises an alarm."""

    rule: str
    false_alarm_rate: float
    smallest_auroc: float
    alarm: bool
    questions: Sequence[Leak]
    variants: Sequence[AlteredReading]
    n_without_border_check: int
    site_readable: Sequence[SiteReadable]


def shortcuts_content(run: Run) -> Shortcuts:
    """Everything of shortcuts.json: three questions and the variants per patient, and whether the site can be read."""
    settings = run.configuration.shortcuts
    patients = _per_patient(run)
    free = patients.filter("border_free")
    answers = leaks(
        [
            _question(MARKS_FOLLOW, patients, patients["marked_share"], two_sided=True),
            _question(MODEL_FOLLOWS, patients, patients["as-is"] - patients["without-marks"], two_sided=False),
            _question(BORDER_TELLS, free, free["border"], two_sided=False),
        ],
        false_alarm_rate=settings.false_alarm_rate,
        smallest_auroc=settings.smallest_auroc,
        n_permutations=settings.n_permutations,
        seed=run.configuration.fit.seed,
    )
    return Shortcuts(
        rule="an alarm: p, adjusted by Holm over the questions, is at most false_alarm_rate, and the AUROC "
        "within sites is at least smallest_auroc",
        false_alarm_rate=settings.false_alarm_rate,
        smallest_auroc=settings.smallest_auroc,
        alarm=any(each.alarm for each in answers),
        questions=answers,
        variants=[_variant(patients, name) for name in ("as-is", "without-marks", "without-nodule", "border")],
        n_without_border_check=len(patients) - len(free),
        site_readable=_site_readable(run),
    )


def _per_patient(run: Run) -> pl.DataFrame:
    """Patient, site, malignant, marked_share, border_free (every image), and the mean logit of each variant."""
    keys = run.manifest().select("image_path", "patient_id", "site", "malignant")
    images = read_parquet(run.require("altered.parquet")).join(keys, on="image_path", validate="m:1")
    grouped = images.group_by("patient_id")
    logits = images.pivot(on="variant", index="patient_id", values="malignancy", aggregate_function="mean")
    known = grouped.agg(
        pl.col("site").first(),
        pl.col("malignant").max(),
        pl.col("marked_share").mean(),
        pl.col("border_free").fill_null(False).min(),
    )
    table = known.join(logits, on="patient_id", validate="1:1").sort("patient_id")
    absent = [name for name in ("without-nodule",) if name not in table.columns]
    return table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in absent)


def _question(name: str, patients: pl.DataFrame, quantity: pl.Series, *, two_sided: bool) -> Question:
    return Question(
        name=name,
        two_sided=two_sided,
        malignant=patients["malignant"].to_numpy().astype(np.bool_),
        quantity=quantity.to_numpy().astype(np.float64),
        site=patients["site"].to_numpy().astype(np.str_),
    )


def _variant(patients: pl.DataFrame, name: str) -> AlteredReading:
    """AUROC within sites of malignancy from a variant, and how far p(malignant) moves from the whole picture."""
    read = patients.drop_nulls(name)
    if read.is_empty():
        note = "not estimable: there are no masks"
        return AlteredReading(variant=name, auroc_within_sites=None, median_change=None, n_patients=0, note=note)
    question = _question(name, read, read[name], two_sided=False)
    auroc = within_sites_auroc(question.malignant, question.quantity, question.site)
    change = np.abs(expit(read[name].to_numpy()) - expit(read["as-is"].to_numpy()))
    return AlteredReading(
        variant=name,
        auroc_within_sites=float(auroc) if np.isfinite(auroc) else None,
        median_change=float(np.median(change)),
        n_patients=len(read),
        note="",
    )


def _site_readable(run: Run) -> list[SiteReadable]:
    """A record a fold, of its test patients' mean embeddings by its own model; no fold mixes two models' spaces."""
    found = []
    for fold in sorted(run.split()["fold"].unique().to_list()):
        test = read_embeddings(run, EMBEDDINGS, fold).filter(pl.col("partition") == "test")
        patients = test.group_by("patient_id", maintain_order=True).agg(pl.col("site").first(), pl.col("embedding"))
        embedding = np.stack([np.mean(each.to_numpy(), axis=0) for each in patients["embedding"]])
        answer = site_readable(
            embedding.astype(np.float64),
            patients["site"].to_numpy().astype(np.str_),
            n_permutations=run.configuration.shortcuts.n_permutations,
            seed=run.configuration.fit.seed,
        )
        found.append(SiteReadable(fold=fold, **asdict(answer)))
    return found
