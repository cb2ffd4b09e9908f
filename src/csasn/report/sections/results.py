"""How well each class is recognised: over all, by class, at the frozen thresholds, and the curves."""

from csasn.evidence.metric_panel import estimable_classes
from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.confusion import confusion
from csasn.report.figures.curves import precision_recall, roc
from csasn.report.formatting import HEADLINE, OVERALL_METRICS, shown_targets, with_interval
from csasn.units import MAIN_MODEL, MALIGNANCY, UNITS, Unit

POINT_METRICS = ("sensitivity", "specificity", "ppv", "npv")
CLASS_METRICS = ("auroc", "auprc", "brier", "ece")
SCHEMES = {
    "grouped-kfold": "cross-validation in {n} folds by patient: every patient is read by a model that never saw them",
    "leave-one-site-out": "leave-one-site-out: every site is read by a model that never saw that site ({n} folds)",
    "holdout": "one holdout by patient: the patients tested were never seen in training",
}


def headline(evaluated: EvaluatedRun) -> str:
    """The run's result in one sentence of plain words, with the level of chance beside it."""
    auroc, balanced = (evaluated.records[*HEADLINE, "all", each] for each in ("macro_auroc", "balanced_accuracy"))
    n_folds = evaluated.split["fold"].n_unique()
    scheme = SCHEMES[evaluated.run.configuration.split.scheme].format(n=n_folds)
    k = len(estimable_classes(evaluated.units)[0])
    return (
        f"Among {auroc.n:,} patients and {k} classes that could be evaluated, CSASN reached "
        f"a macro AUROC of {with_interval(auroc)} and a balanced accuracy of {with_interval(balanced)}, "
        f"per patient, with {evaluated.level} intervals "
        f"(guessing would give 0.50 and {1 / max(k, 1):.2f}). Split: {scheme}."
    )


def results(evaluated: EvaluatedRun) -> Section:
    """Tables over all classes, by class, and at the frozen thresholds."""
    units = tuple(unit for unit in UNITS if unit != "nodule" or _nodules_differ(evaluated))
    tables = (
        Table(
            name="overall",
            caption="Over all classes; intervals over patients",
            head=("Metric", *(f"Per {unit}" for unit in units)),
            rows=_overall(evaluated, units),
        ),
        Table(
            name="per-class",
            caption="Each class against all others, per patient; intervals over patients",
            head=("Class", "Patients", "Prevalence", "AUROC", "AUPRC", "Brier", "ECE"),
            rows=_by_class(evaluated, CLASS_METRICS),
        ),
        Table(
            name="fixed-points",
            caption=_fixed_caption(evaluated),
            head=("Class", "AUROC against benign alone", "Sensitivity", "Specificity"),
            rows=_fixed(evaluated),
        ),
        Table(
            name="at-thresholds",
            caption="Per patient at the Youden threshold of each fold's tuning partition, frozen before testing; "
            "Wilson intervals",
            head=("Class", "Patients", "Prevalence", "Sensitivity", "Specificity", "PPV", "NPV"),
            rows=_by_class(evaluated, POINT_METRICS),
        ),
    )
    first = Words(
        text="All figures come from test rows that the model never trained on, pooled over folds. The unit is the "
        f"patient unless said otherwise; brackets hold {evaluated.level} intervals."
    )
    last = Words(
        text="AUROC 0.50 is guessing; AUPRC of guessing is the prevalence. Resampling adds noise to ECE, so its "
        "interval leans upwards.",
        items=_notes(evaluated),
        quiet=True,
    )
    return Section(
        id="results", title="How well it recognises each class", short="Results", blocks=(first, *tables, last)
    )


def curves(evaluated: EvaluatedRun) -> Section:
    """ROC and precision-recall."""
    units, records = evaluated.units, evaluated.records
    return Section(
        id="curves",
        title="ROC and precision-recall curves",
        short="ROC and precision",
        blocks=(
            evaluated.drawing(
                "roc",
                "ROC of malignancy (all malignant classes together) and of each class against all others, per patient.",
                lambda: roc(units, records),
            ),
            evaluated.drawing(
                "precision-recall",
                "Precision against sensitivity, per patient. Above each panel: patients with the class, and AUPRC with "
                "its interval. The dashed line is the prevalence.",
                lambda: precision_recall(units, records),
            ),
        ),
    )


def mistaken(evaluated: EvaluatedRun) -> Section:
    """The confusion matrix."""
    matrix = evaluated.metrics.confusion["patient"]
    drawing = evaluated.drawing(
        "confusion",
        "Confusion matrix per patient: rows are the reference class, columns the most probable class; percentages are "
        "of the row.",
        lambda: confusion(matrix.classes, matrix.counts),
    )
    return Section(id="confusion", title="What is taken for what", short="What is taken for what", blocks=(drawing,))


def _nodules_differ(evaluated: EvaluatedRun) -> bool:
    """Whether any patient has more than one nodule; else the figures per nodule are those per patient."""
    pairs = evaluated.manifest.select("patient_id", "nodule_id").unique()
    return pairs.height > pairs["patient_id"].n_unique()


def _overall(evaluated: EvaluatedRun, units: tuple[Unit, ...]) -> list[list[str]]:
    """Metric by unit."""
    rows = [(label, "all", metric) for metric, label in OVERALL_METRICS.items()]
    rows.append(("Malignancy AUROC", "malignancy", "auroc"))
    found = evaluated.records.get
    return [
        [label, *(with_interval(found((MAIN_MODEL, "all", unit, target, metric)), digits=3) for unit in units)]
        for label, target, metric in rows
    ]


def _by_class(evaluated: EvaluatedRun, metrics: tuple[str, ...]) -> list[list[str]]:
    """Target, patients with it, prevalence, and the metrics, per patient."""
    table = []
    for target in shown_targets(evaluated.units):
        binary = evaluated.units.binary(target)
        n, n_positive = binary.y_true.size, int(binary.y_true.sum())
        found = [evaluated.records.get((*HEADLINE, target, metric)) for metric in metrics]
        prevalence = f"{100 * n_positive / n:.1f} %" if n else "–"
        table.append([target, f"{n_positive:,} of {n:,}", prevalence, *(with_interval(each) for each in found)])
    return table


def _fixed_caption(evaluated: EvaluatedRun) -> str:
    settings = evaluated.run.configuration.evaluate
    return (
        "Each malignant class against the non-malignant ones alone; sensitivity where the curve has a specificity of "
        f"{settings.fixed_specificity:.2f}, and specificity where it has a sensitivity of "
        f"{settings.fixed_sensitivity:.2f} (read off the test curve, so somewhat flattering)"
    )


def _fixed(evaluated: EvaluatedRun) -> list[list[str]]:
    rows = []
    for target in shown_targets(evaluated.units):
        alone = "auroc" if target == MALIGNANCY else "auroc_vs_benign"  # malignancy is against benign alone anyway
        metrics = (alone, "sensitivity_at_specificity", "specificity_at_sensitivity")
        found = [evaluated.records.get((*HEADLINE, target, each)) for each in metrics]
        rows.append([target, "–" if found[0] is None else with_interval(found[0]), *map(with_interval, found[1:])])
    return rows


def _notes(evaluated: EvaluatedRun) -> tuple[str, ...]:
    """What is not estimable per patient and why, and which classes are small; each said once."""
    notes = {each.note for key, each in evaluated.records.items() if key[:3] == HEADLINE}
    parts = {part for note in notes for part in note.split("; ")}
    return tuple(sorted(p for p in parts if p.startswith(("not estimable", "only", "over")) or "left out" in p))
