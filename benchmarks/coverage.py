"""How often 95 % intervals hold the true value over simulated clustered cohorts of 10, 20 and 50 patients a class.

    python benchmarks/coverage.py [COHORTS [FIRST [SIZE ...]]]

FIRST is the seed of the first cohort, so that 1,000 may be counted in several runs whose counts add up.

Three classes; each patient has 1 to 4 images that share a random effect (correlation about .5 within a class). The true
value of every figure is that of one cohort of 300,000 patients. Prints for each figure and size how
many intervals held it.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np

from csasn.config import EvaluateSettings
from csasn.evidence.estimates import Resampled
from csasn.evidence.metric_panel import panel
from csasn.evidence.record import Scope
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.delong import delong
from csasn.evidence.statistics.intervals import clustered_wilson
from csasn.schema import ClassList
from csasn.units import Units

CLASSES = ClassList(names=("benign", "PTC", "MTC"), n_non_malignant=1)
SETTINGS = EvaluateSettings(n_bootstrap=1000)
STRENGTH = 1.5
SIZES = (10, 20, 50)
N_TRUE = 100_000  # patients a class
ROWS = (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("all", "macro_f1"), ("all", "kappa"), ("all", "mcc"))
ROWS += (("all", "brier"), ("all", "top2_sensitivity"), ("malignancy", "auroc"), ("malignancy", "brier"))
ROWS += (("MTC", "auroc"), ("MTC", "auroc_vs_benign"), ("MTC", "auprc"), ("PTC", "auprc"), ("benign", "auprc"))
ROWS += (("all", "macro_auprc"), ("malignancy", "auprc"))


def cohort(n_a_class: int, rng: np.random.Generator, *, per_patient: bool) -> Units:
    """Images of a cohort, or its patients as the mean of their images' logits."""
    y = np.repeat(np.arange(3), n_a_class)
    n_images = rng.integers(1, 5, y.size)
    patient = np.repeat(np.arange(y.size), n_images)
    logits = (rng.normal(size=(y.size, 3)) + STRENGTH * np.eye(3)[y])[patient] + rng.normal(size=(patient.size, 3))
    if per_patient:
        sums = np.array([np.bincount(patient, weights=column) for column in logits.T]).T
        logits, patient = sums / n_images[:, np.newaxis], np.arange(y.size)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of = y[patient]
    return Units(classes=CLASSES, y_true=of, malignant=of > 0, y_prob=p, patients=patient)


def truths(per_patient: bool) -> dict[tuple[str, str], float]:
    """The figures of a very large cohort; for images, every patient counts by its images as in the small ones."""
    units = cohort(N_TRUE, np.random.default_rng(1), per_patient=per_patient)
    found = panel(units, SETTINGS)
    values = found.statistic(np.ones((1, units.y_true.size)))[0]
    known = {(f.target, f.metric): float(v) for f, v in zip(found.estimable, values, strict=True)}
    binary = units.binary("malignancy")
    return known | {("malignancy", "sensitivity"): float((binary.y_prob[binary.y_true] >= 0.7).mean())}


def main(n_cohorts: int, first: int, sizes: Sequence[int]) -> None:
    """Print coverage of every figure, unit and size."""
    started = time.perf_counter()
    for per_patient in (True, False):
        true, unit = truths(per_patient), "patient" if per_patient else "image"
        for n_a_class in sizes:
            inside: dict[str, list[bool]] = {}
            for seed in range(first, first + n_cohorts):
                rng = np.random.default_rng([seed, n_a_class, per_patient])
                units = cohort(n_a_class, rng, per_patient=per_patient)
                chosen = panel(units, SETTINGS)
                found = bootstrap(
                    units.patients,
                    chosen.statistic,
                    strata=units.strata(),
                    n_draws=SETTINGS.n_bootstrap,
                    seed=seed,
                    method=chosen.smooth,
                )
                scope = Scope(model="csasn", site="all", unit="patient" if per_patient else "image")
                table = Resampled(scope=scope, keys=(), units=units, figures=chosen.figures, found=found)
                for record in table.records(SETTINGS):
                    key = (record.target, record.metric)
                    if key in ROWS:
                        low, high = record.low, record.high
                        inside.setdefault(" ".join(key), []).append(bool(low <= true[key] <= high))
                binary = units.binary("malignancy")
                hits = binary.y_prob[binary.y_true] >= 0.7
                low, high = clustered_wilson(hits, binary.patients[binary.y_true])
                inside.setdefault("malignancy sensitivity (Wilson)", []).append(
                    low <= true["malignancy", "sensitivity"] <= high
                )
                if per_patient:
                    low, high = delong(binary.y_true, binary.y_prob).interval()
                    held = low <= true["malignancy", "auroc"] <= high
                    inside.setdefault("malignancy auroc (DeLong)", []).append(bool(held))
            for name, each in inside.items():
                print(f"per {unit:8s} n={n_a_class:3d} a class  {name:34s} {sum(each):4d} of {len(each)}", flush=True)
    print(f"{n_cohorts} cohorts, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given[:2] + [1000, 0][len(given[:2]) :]), given[2:] or SIZES)
