"""Probabilities put right: a temperature a fold, from its tuning partition, and a shift to a local prevalence."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from csasn.arrays import Array
from csasn.schema import ClassList
from csasn.units import UNKNOWN, units_of

FEWEST_TUNING = 10  # patients of known class below which no temperature is fitted
RANGE = (np.log(0.05), np.log(20.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """The temperature of one fold: above 1 the model was too sure. NLL in nats a tuning patient, before and after."""

    fold: int
    temperature: float
    nll_before: float | None
    nll_after: float | None
    n: int
    note: str


def fit_temperature(logits: Array, y_true: NDArray[np.int64]) -> float:
    """The T > 0 that minimises the mean of -log softmax(logits / T)[y] (Guo 2017): logits (n, K), y_true (n,).

    Temperature alone: with tens of patients a class, vector or Dirichlet scaling fits noise.
    """
    found = minimize_scalar(lambda log_t: nll(logits / np.exp(log_t), y_true), bounds=RANGE, method="bounded")
    return float(np.exp(found.x))


def nll(logits: Array, y_true: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood in nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(y_true.size), y_true].mean())


def temperatures(table: pl.DataFrame, classes: ClassList) -> list[Temperature]:
    """The temperature of every fold of one model's `per_unit` table; test rows are never looked at."""
    found = []
    for fold in sorted(table["fold"].unique().to_list()):
        tuning = table.filter(pl.col("fold") == fold, pl.col("partition") == "tuning")
        y = units_of(tuning, classes).y_true
        known, logits = y != UNKNOWN, _logits(tuning, classes)
        if known.sum() < FEWEST_TUNING:
            note = f"left at 1: {int(known.sum())} tuning patients of known class, {FEWEST_TUNING} are needed"
            found.append(Temperature(fold=fold, temperature=1.0, nll_before=None, nll_after=None, n=0, note=note))
            continue
        value = fit_temperature(logits[known], y[known])
        found.append(
            Temperature(
                fold=fold,
                temperature=value,
                nll_before=nll(logits[known], y[known]),
                nll_after=nll(logits[known] / value, y[known]),
                n=int(known.sum()),
                note="",
            )
        )
    return found


def with_temperatures(table: pl.DataFrame, classes: ClassList, fitted: list[Temperature]) -> pl.DataFrame:
    """The table with logits and probabilities after its folds' temperatures."""
    of_fold = {each.fold: each.temperature for each in fitted}
    scale = np.array([of_fold[fold] for fold in table["fold"].to_list()])[:, np.newaxis]
    logits = log_softmax(_logits(table, classes) / scale, axis=1)
    columns = [pl.Series(f"logit_{name}", logits[:, k]) for k, name in enumerate(classes.names)]
    columns += [pl.Series(f"probability_{name}", np.exp(logits[:, k])) for k, name in enumerate(classes.names)]
    return table.with_columns(columns)


def _logits(table: pl.DataFrame, classes: ClassList) -> Array:
    return table.select(f"logit_{name}" for name in classes.names).to_numpy().astype(np.float64)
