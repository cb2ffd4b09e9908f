"""Whether acting on a probability does more good than harm: decision curves, and biopsies at equal sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.arrays import Array
from csasn.config import EvaluateSettings
from csasn.evidence.flat_figures import WITHOUT_DIFFERENCE
from csasn.evidence.metric_panel import too_few
from csasn.evidence.record import finite
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.intervals import is_flat
from csasn.schema import ClassList
from csasn.units import MALIGNANCY, Units, units_of

THRESHOLDS = np.arange(1, 100) / 100  # risk at which a patient or physician would act
# ACR TI-RADS (Tessler 2017): a nodule of this level is biopsied from this largest diameter in mm on.
BIOPSY_FROM_MM = {3: 25.0, 4: 15.0, 5: 10.0}
RULE, EVERYONE = "TI-RADS rule", "everyone"


@dataclass(frozen=True, kw_only=True, slots=True)
class NetBenefit:
    """Net benefit a patient at one threshold probability: of the model with its interval, and of the plain policies.

    None where it is not estimable, and for the rule where it speaks of another target or the manifest lacks it.
    Treating no one has a net benefit of 0.
    """

    target: str
    threshold: float
    model: float
    low: float | None
    high: float | None
    treat_all: float
    rule: float | None
    n: int
    n_positive: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Biopsies:
    """Biopsies a hundred patients by the model and by a reference policy of equal sensitivity on the tuning partition.

    `saved` is the reference's less the model's, with its interval; both sensitivities are those on the test rows.
    """

    reference: str
    reference_sensitivity: float | None
    model_sensitivity: float | None
    reference_biopsies: float | None
    model_biopsies: float | None
    saved: float | None
    low: float | None
    high: float | None
    n: int
    note: str


def net_benefit(n_true: Array, n_false: Array, n: int, threshold: Array) -> Array:
    """TP / n - FP / n * t / (1 - t) (Vickers & Elkin 2006)."""
    return np.asarray(n_true / n - n_false / n * threshold / (1 - threshold), dtype=np.float64)


def would_biopsy(patients: pl.DataFrame, manifest: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What the TI-RADS rule says of each patient (n,), and for whom it can say anything (n,).

    A patient is biopsied where any nodule is; known where each of its nodules has a level and, from 3 on, a size.
    """
    least = pl.col("tirads_level").replace_strict(BIOPSY_FROM_MM, default=None, return_dtype=pl.Float64)
    level = pl.col("tirads_level")
    known = level.is_not_null() & ((level < min(BIOPSY_FROM_MM)) | pl.col("nodule_size_mm").is_not_null())
    rule = manifest.group_by("patient_id").agg(
        called=(pl.col("nodule_size_mm") >= least).fill_null(value=False).any(), known=known.all()
    )
    joined = patients.select("patient_id").join(rule, on="patient_id", how="left", maintain_order="left")
    return joined["called"].fill_null(value=False).to_numpy(), joined["known"].fill_null(value=False).to_numpy()


def decision_curves(
    test: pl.DataFrame,
    manifest: pl.DataFrame,
    classes: ClassList,
    settings: EvaluateSettings,
) -> list[NetBenefit]:
    """Net benefit of malignancy and of each malignant class at every threshold; `test` has one row a patient."""
    units, found = units_of(test, classes), []
    called, known = would_biopsy(test, manifest)
    for target in (MALIGNANCY, *classes.malignant):
        binary = units.binary(target)
        if too_few(target, binary):
            continue
        odds = THRESHOLDS / (1 - THRESHOLDS)
        acted = (binary.y_prob[:, np.newaxis] >= THRESHOLDS).astype(np.float64)
        gain = acted * np.where(binary.y_true[:, np.newaxis], 1.0, -odds)
        within = bootstrap(
            binary.patients,
            partial(_weighted_means, gain),
            strata=units.strata()[binary.rows],
            n_draws=settings.n_bootstrap,
            confidence=settings.confidence,
        )
        prevalence = float(binary.y_true.mean())
        treat_all = prevalence - (1 - prevalence) * odds
        by_rule = [None] * THRESHOLDS.size
        if target == MALIGNANCY and known.all():
            true, false = (called & binary.y_true).sum(), (called & ~binary.y_true).sum()
            by_rule = net_benefit(true, false, called.size, THRESHOLDS).tolist()
        for place, t in enumerate(THRESHOLDS.tolist()):
            model, low, high = finite((within.estimate[place], within.low[place], within.high[place]))
            if is_flat(within.low[place], within.high[place]):  # everyone or no one is treated in every draw
                low = high = None
            found.append(
                NetBenefit(
                    target=target,
                    threshold=t,
                    model=0.0 if model is None else model,
                    low=low,
                    high=high,
                    treat_all=float(treat_all[place]),
                    rule=by_rule[place],
                    n=binary.y_true.size,
                    n_positive=int(binary.y_true.sum()),
                )
            )
    return found


def _weighted_means(values: Array, weights: Array) -> Array:
    """Means of the columns of values (n, m) under weights (d, n) -> (d, m)."""
    return np.asarray(weights @ values / weights.sum(axis=-1, keepdims=True), dtype=np.float64)


def threshold_for(y_true: NDArray[np.bool_], y_prob: Array, sensitivity: float) -> float:
    """The highest threshold whose sensitivity is at least the given one; y_true must hold a positive.

    Raises ValueError where it does not.
    """
    positives = np.sort(y_prob[y_true])[::-1]
    if not positives.size:
        raise ValueError("A threshold for a sensitivity needs positives; received none.")
    return float(positives[max(int(np.ceil(sensitivity * positives.size - 1e-9)), 1) - 1])


def biopsies(
    table: pl.DataFrame,
    manifest: pl.DataFrame,
    classes: ClassList,
    settings: EvaluateSettings,
) -> list[Biopsies]:
    """Biopsies saved against the TI-RADS rule at its own sensitivity, and against biopsying everyone at a declared one.

    `table` has one model's rows, one a patient: thresholds come from each fold's tuning rows, figures from test rows.
    """
    called, known = would_biopsy(table, manifest)
    found = []
    for reference in (RULE, EVERYONE):
        by_reference = called if reference == RULE else np.ones(len(table), dtype=bool)
        if reference == RULE and not known.all():
            unknown, n = table.filter(~pl.Series(known))["patient_id"].n_unique(), table["patient_id"].n_unique()
            note = f"not estimable: {unknown} of {n} patients lack a TI-RADS level or nodule size"
            found.append(_row(reference, None, None, n=int((table["partition"] == "test").sum()), note=note))
            continue
        wanted = None if reference == RULE else settings.fixed_sensitivity
        model, note = _model_calls(table, classes, by_reference, wanted)
        test = (table["partition"] == "test").to_numpy() & (model >= 0)
        units = units_of(table.filter(pl.Series(test)), classes)
        calls = np.stack([by_reference[test], model[test] == 1]).astype(np.float64)
        within = _saved(units, calls, settings) if test.any() else None
        if within is not None and np.isnan(within[1]):
            note = "; ".join(filter(None, [note, WITHOUT_DIFFERENCE]))
        found.append(_row(reference, units, calls, n=int(test.sum()), note=note, ends=within))
    return found


def _model_calls(
    table: pl.DataFrame, classes: ClassList, by_reference: NDArray[np.bool_], wanted: float | None
) -> tuple[NDArray[np.int64], str]:
    """What the model calls at each fold's frozen threshold: 1 biopsy, 0 none, -1 where a fold has no threshold."""
    folds, partition = table["fold"].to_numpy(), table["partition"].to_numpy()
    binary = units_of(table, classes).binary(MALIGNANCY)
    calls, without = np.full(len(table), -1), []
    for fold in sorted(set(folds.tolist())):
        tuning = (folds == fold) & (partition == "tuning")
        positive = tuning & binary.y_true
        if not positive.any():
            without.append(str(fold))
            continue
        aim = float(by_reference[positive].mean()) if wanted is None else wanted
        cut = threshold_for(binary.y_true[tuning], binary.y_prob[tuning], aim)
        here = folds == fold
        calls[here] = binary.y_prob[here] >= cut
    return calls, f"folds without a malignant tuning patient left out: {', '.join(without)}" if without else ""


def _saved(units: Units, calls: Array, settings: EvaluateSettings) -> tuple[float, float, float]:
    fewer = 100 * (calls[0] - calls[1])
    within = bootstrap(
        units.patients,
        partial(_weighted_means, fewer[:, np.newaxis]),
        strata=units.strata(),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
    )
    low, high = float(within.low[0]), float(within.high[0])
    return (float(within.estimate[0]), *((np.nan, np.nan) if is_flat(low, high) else (low, high)))


def _row(
    reference: str,
    units: Units | None,
    calls: Array | None,
    *,
    n: int,
    note: str,
    ends: tuple[float, float, float] | None = None,
) -> Biopsies:
    saved, low, high = finite(ends)
    if units is None or calls is None or saved is None:
        shares: Sequence[float | None] = (None,) * 4
    else:
        truth = units.malignant
        sensitivities = [float(each[truth].mean()) if truth.any() else None for each in calls]
        shares = (*sensitivities, float(100 * calls[0].mean()), float(100 * calls[1].mean()))
    return Biopsies(
        reference=reference,
        reference_sensitivity=shares[0],
        model_sensitivity=shares[1],
        reference_biopsies=shares[2],
        model_biopsies=shares[3],
        saved=saved,
        low=low,
        high=high,
        n=n,
        note=note,
    )
