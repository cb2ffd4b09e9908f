"""The evaluation of a run: every figure with its interval, its unit, its site and its n."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from csasn.calibration.calibrate import has_embeddings
from csasn.calibration.fit import Calibration
from csasn.calibration.prevalence import declared_prevalence
from csasn.calibration.temperature import with_temperatures
from csasn.calibration.thresholds import Called, OperatingPoint, called_at
from csasn.config import EvaluateSettings
from csasn.documents import write_document
from csasn.evidence.abstention import Abstention, abstention_content
from csasn.evidence.calibration_section import CalibrationSection, calibration_section
from csasn.evidence.comparison import UNITS_COMPARED, Comparison, compare, paired_tests
from csasn.evidence.coverage import coverage
from csasn.evidence.decision import biopsies, decision_curves
from csasn.evidence.estimates import Resampled, resample
from csasn.evidence.evaluation import Confusion, DecisionSection, Evaluation, PredictionSetsSection
from csasn.evidence.explanations import Explanations, explanations_content
from csasn.evidence.gated_attention import NODULES, Aggregations, aggregations_content
from csasn.evidence.generalisation import beside, remember, remembered
from csasn.evidence.heterogeneity import heterogeneity
from csasn.evidence.metric_panel import too_few
from csasn.evidence.record import EVERY_SITE, Record, Scope
from csasn.evidence.run_tables import RunTables, read_tables
from csasn.evidence.shortcut_audit import Shortcuts, shortcuts_content
from csasn.evidence.similar import Similar, similar_content
from csasn.evidence.statistics.intervals import clustered_wilson, predictive_value_interval, wilson
from csasn.evidence.statistics.metrics import confusion_matrix, counts_at
from csasn.evidence.subgroups import subgroups
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.threads import one_thread
from csasn.units import (
    MAIN_MODEL,
    MALIGNANCY,
    Unit,
    models_of,
    tested_rows,
    units_of,
)

Tables = dict[str, tuple[Resampled, pl.DataFrame]]


def evaluate(
    tables: Mapping[Unit, pl.DataFrame],
    calibration: Calibration,
    manifest: pl.DataFrame,
    classes: ClassList,
    settings: EvaluateSettings,
) -> Evaluation:
    """CSASN per patient, nodule and image, pooled and by site; baselines per patient and image, pooled.

    `tables` are those of `per_unit`; thresholds and temperatures are those of `calibration`, none is fitted here.

    Partition "test" pools the out-of-fold rows, so that every unit was read by a model that had not seen its patient.
    Raises BadInputError where the predictions or a setting that names classes do not fit the manifest.
    """
    records: list[Record] = []
    points = list(calibration.operating_points)
    comparisons: list[Comparison] = []
    declared = _declared(tables["patient"], classes, settings)
    patients: Tables = {}
    by_site: list[Resampled] = []
    for unit, table in tables.items():
        whole: Tables = {}
        for model in models_of(table) if unit in UNITS_COMPARED else [MAIN_MODEL]:
            at = [point for point in points if (point.unit, point.model) == (unit, model)]
            for scope, test in _places(tested_rows(table, model), model, unit):
                full = model == MAIN_MODEL and unit == "patient" and scope.site == EVERY_SITE
                found = resample(scope, test, classes, settings, brief=not full)
                records += found.records(settings)
                records += _at_operating_points(scope, test, classes, at, declared, settings.confidence)
                if scope.site == EVERY_SITE:
                    whole[model] = (found, test)
                elif unit == "patient":
                    by_site.append(found)
        if unit in UNITS_COMPARED:
            comparisons += compare(whole, classes, settings)
        patients = whole if unit == "patient" else patients
    called = _malignant_calls(patients, classes, [point for point in points if point.unit == "patient"])
    main = tables["patient"].filter(pl.col("model") == MAIN_MODEL)
    section, sets, decision = _of_probabilities(main, calibration, manifest, classes, settings)
    return Evaluation(
        records=records,
        operating_points=points,
        comparisons=comparisons,
        paired_tests=paired_tests(patients, called, classes, settings),
        confusion={unit: _confusion(tested_rows(table, MAIN_MODEL), classes) for unit, table in tables.items()},
        sites=heterogeneity(by_site, confidence=settings.confidence),
        subgroups=subgroups(
            patients[MAIN_MODEL][1], called[MAIN_MODEL], manifest, classes, confidence=settings.confidence
        ),
        calibration=section,
        prediction_sets=sets,
        decision=decision,
    )


def _of_probabilities(
    main: pl.DataFrame,
    calibration: Calibration,
    manifest: pl.DataFrame,
    classes: ClassList,
    settings: EvaluateSettings,
) -> tuple[CalibrationSection, PredictionSetsSection, DecisionSection]:
    """Calibration, prediction sets and decisions of CSASN per patient, after each fold's temperature."""
    fitted, sets = list(calibration.temperatures), calibration.prediction_sets
    calibrated = with_temperatures(main, classes, fitted)
    test = tested_rows(calibrated, MAIN_MODEL)
    return (
        calibration_section(tested_rows(main, MAIN_MODEL), test, fitted, classes, settings),
        PredictionSetsSection(
            alpha=sets.alpha,
            certificate=sets.thresholds,
            coverage=coverage(test, classes, sets.thresholds, alpha=sets.alpha, confidence=settings.confidence),
        ),
        DecisionSection(
            curves=decision_curves(test, manifest, classes, settings),
            biopsies=biopsies(calibrated, manifest, classes, settings),
        ),
    )


def _places(test: pl.DataFrame, model: str, unit: Unit) -> Iterator[tuple[Scope, pl.DataFrame]]:
    """The pooled rows, then, of CSASN, those of each site where there are several."""
    yield Scope(model=model, site=EVERY_SITE, unit=unit), test
    names = sorted(test["site"].unique().to_list())
    for name in names if model == MAIN_MODEL and len(names) > 1 else []:
        yield Scope(model=model, site=name, unit=unit), test.filter(pl.col("site") == name)


def _declared(table: pl.DataFrame, classes: ClassList, settings: EvaluateSettings) -> dict[str, float]:
    """The prevalence of each target in the declared population, for every unit and site; empty where none is declared.

    Where malignancy alone is declared, its classes keep the mix of all tested patients.
    """
    units = units_of(tested_rows(table, MAIN_MODEL), classes)
    counts = np.bincount(units.y_true[units.known], minlength=len(classes.names))
    found = declared_prevalence(settings.population, classes, counts.astype(np.float64))
    if found is None:
        return {}
    malignancy = float(found[classes.n_non_malignant :].sum())
    return {MALIGNANCY: malignancy} | dict(zip(classes.names, found.tolist(), strict=True))


def _at_operating_points(
    scope: Scope,
    test: pl.DataFrame,
    classes: ClassList,
    points: list[OperatingPoint],
    declared: dict[str, float],
    confidence: float,
) -> Iterator[Record]:
    """Prevalence, and sensitivity, specificity, ppv and npv at the frozen thresholds, pooled over folds."""
    units = units_of(test, classes)
    for target in units.targets:
        binary = units.binary(target)
        found = called_at(test, classes, target, points)
        reason = too_few(target, binary)
        left_out = f"{found.n_left_out} {scope.unit}(s) left out: their fold has no tuning threshold for {target}"
        note = left_out if found.n_left_out else ""
        shares = {"prevalence": (binary.y_true, binary.patients), **_shares(found)}
        for metric, (hits, patients) in shares.items():
            yield _share_record(scope, target, metric, hits, patients, reason, note, confidence)
        if target in declared:
            yield from _adjusted(scope, target, found, declared[target], reason, confidence)


def _shares(found: Called) -> dict[str, tuple[Any, Any]]:
    """Hits (m,) and patients (m,) of each share's denominator."""
    sides = {
        "sensitivity": (found.y_true, found.called),
        "specificity": (~found.y_true, ~found.called),
        "ppv": (found.called, found.y_true),
        "npv": (~found.called, ~found.y_true),
    }
    return {metric: (hits[within], found.patients[within]) for metric, (within, hits) in sides.items()}


def _share_record(
    scope: Scope, target: str, metric: str, hits: Any, patients: Any, reason: str, note: str, confidence: float
) -> Record:
    k, n = int(hits.sum()), int(hits.size)
    clustered = scope.unit != "patient"
    empty = "" if n or reason else f"not estimable: the denominator of {metric} is 0"
    ends = None
    if n and not reason:
        ends = (k / n, *(clustered_wilson(hits, patients, confidence) if clustered else wilson(k, n, confidence)))
    return scope.record(
        target,
        metric,
        ends,
        n=n,
        n_positive=k,
        method=("Wilson at the effective n of clustered units" if clustered else "Wilson")
        + ("" if metric == "prevalence" else "; Youden threshold frozen on each fold's tuning partition"),
        note="; ".join(filter(None, [reason, empty, "" if metric == "prevalence" else note])),
    )


def _adjusted(
    scope: Scope, target: str, found: Called, prevalence: float, reason: str, confidence: float
) -> Iterator[Record]:
    """PPV and NPV at the declared population's prevalence."""
    counts = counts_at(found.y_true, found.called.astype(np.float64), threshold=0.5).fractions()
    sensitivity, specificity = counts["sensitivity"], counts["specificity"]
    why = reason or ("not estimable: one side is empty" if 0 in (sensitivity[1], specificity[1]) else "")
    ends: tuple[Any, Any] = (None, None)
    if not why:
        ends = predictive_value_interval(
            sensitivity=sensitivity, specificity=specificity, prevalence=prevalence, confidence=confidence
        )
    for metric, each in zip(("ppv", "npv"), ends, strict=True):
        uncalled = "" if counts[metric][1] else f"not estimable: the denominator of {metric} is 0"
        yield scope.record(
            target,
            f"{metric}_in_population",
            each,
            n=found.y_true.size,
            n_positive=None,
            method=f"Bayes at the declared prevalence {prevalence:g}, logit interval (Mercaldo 2007)",
            note=why or uncalled,
        )


def _malignant_calls(patients: Tables, classes: ClassList, points: list[OperatingPoint]) -> dict[str, dict[str, bool]]:
    """For every model, which patients its frozen operating points call malignant."""
    found = {}
    for model, (_, test) in patients.items():
        at = called_at(test, classes, MALIGNANCY, [point for point in points if point.model == model])
        found[model] = dict(zip(at.patients.tolist(), at.called.tolist(), strict=True))
    return found


def _confusion(test: pl.DataFrame, classes: ClassList) -> Confusion:
    """Class names, and counts with rows the reference class and columns the most probable one."""
    units = units_of(test, classes)
    counts = confusion_matrix(units.y_true[units.known], units.y_prob[units.known])
    return Confusion(classes=list(classes.names), counts=counts.astype(int).tolist())


@one_thread
def evaluate_run(run: Run, *, beside_run: Run | None = None) -> Path:
    """Evaluate the predictions of a run and write metrics.json, beside another run of the cohort if there is one.

    The run given is remembered in run.json, and set beside this one again whenever none is given.
    """
    run.require("split.csv")
    other = beside_run or remembered(run)
    tables = read_tables(run)
    found = evaluate(tables.by_unit, tables.calibration, tables.manifest, tables.classes, run.configuration.evaluate)
    found = replace(found, beside=None if other is None else beside(run, other))
    remember(run, other)
    write_document(run.path("metrics.json"), found)
    written = ("metrics.json", *write_sections(tables))
    run.finish("evaluate", inputs=("predictions.parquet", "split.csv", "calibration.json"), outputs=written)
    return run.path("metrics.json")


def write_sections(tables: RunTables) -> tuple[str, ...]:
    """Write what stands in files of its own, where the run's stages allow it; the names of the files written."""
    run = tables.run
    contents: dict[str, Abstention | Similar | Aggregations | Shortcuts | Explanations] = {}
    stages = run.stages()
    if has_embeddings(run):
        contents["abstention.json"] = abstention_content(tables)
        contents["similar.json"] = similar_content(tables)
    if NODULES in str(stages.get("predict")):
        contents["aggregations.json"] = aggregations_content(tables)
    if "audit" in stages:
        contents["shortcuts.json"] = shortcuts_content(run)
    if "explain" in stages:
        contents["explanations.json"] = explanations_content(run)
    for name, content in contents.items():
        write_document(run.path(name), content)
    return tuple(contents)
