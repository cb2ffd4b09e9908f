"""Class weighting where one class is thin: busi with a tenth of its malignant training groups, on cached maps.

    CSASN_DATA=../shared/data CSASN_WEIGHTS=../shared/weights python benchmarks/thin_class.py OUT [CLASSES ...]

OUT is a folder to make, or one that benchmarks/busi.py or an earlier call made (its cached maps are used). CLASSES are
values of loss.classes; without any, none and dynamic. For each of five seeds a tenth of the malignant groups of every
fold's training partition is kept, drawn anew; tuning and test rows are untouched, and the same rows are kept for every
weighting. Sensitivity of malignant (the most probable class) and macro F1 are per image, pooled over the five test
folds; intervals are of the mean over the seeds, from 2,000 draws of patients, in which all seeds share the draw.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from csasn.config import Configuration, LossSettings
from csasn.learning.module import build_training_module
from csasn.learning.optimisation import Stage
from csasn.learning.rows import FoldRows, folds_of, rows_of
from csasn.learning.scoring import log_probabilities
from csasn.learning.session import Session, open_session, start_fabric
from csasn.learning.training import StageRun, train_stage
from csasn.runs import open_run

ROOT = Path(__file__).parents[1]
KEPT = 0.1
N_SEEDS = 5
N_DRAWS = 2000
THIN = "malignant"


def thinned(session: Session, rows: FoldRows, seed: int) -> FoldRows:
    """The fold with a tenth of the thin class's training groups; every other row stays."""
    cohort = session.cohort
    thin = cohort.class_index[rows.train] == cohort.classes.names.index(THIN)
    groups = np.unique(cohort.patient[rows.train[thin]])
    kept = np.random.default_rng([seed, rows.fold]).permutation(groups)[: round(KEPT * len(groups))]
    train = rows.train[~thin | np.isin(cohort.patient[rows.train], kept)]
    return FoldRows(fold=rows.fold, train=train, tuning=rows.tuning)


def read_test_rows(session: Session, classes: str, seed: int, configuration: Configuration) -> NDArray[np.int64]:
    """The most probable class of every image by the model that did not see it, (N,)."""
    settings = configuration.model_copy(
        update={
            "loss": LossSettings(classes=classes),  # type: ignore[arg-type]
            "fit": configuration.fit.model_copy(update={"seed": seed}),
        }
    )
    told = np.full(len(session.cohort.class_index), -1)
    test, inputs = rows_of(session.run, "test"), session.inputs(frozen=True)
    stage = Stage(name="frozen", n_epochs=settings.fit.frozen.epochs, learning_rate=settings.fit.frozen.learning_rate)
    for fold in folds_of(session.run):
        rows = thinned(session, fold, seed)
        torch.manual_seed(seed + fold.fold)
        module = build_training_module("csasn", session.branches, session.cohort, rows.train, settings)
        fabric = start_fabric(settings.fit)
        course = StageRun(fabric=fabric, module=module, inputs=inputs, rows=rows, stage=stage, configuration=settings)
        train_stage(course)
        read = log_probabilities(module.network, inputs, test[fold.fold], n_views=settings.predict.n_views)
        told[test[fold.fold]] = read.argmax(dim=1).numpy()
    return told


def figures(y_true: NDArray[np.int64], told: NDArray[np.int64], thin: int) -> tuple[float, float]:
    """Sensitivity of the thin class and macro F1."""
    return float((told[y_true == thin] == thin).mean()), float(f1_score(y_true, told, average="macro"))


def main() -> None:
    """Train every weighting on every seed and fold, and print means, intervals and paired differences."""
    if len(sys.argv) < 2 or "CSASN_DATA" not in os.environ or "CSASN_WEIGHTS" not in os.environ:
        print(__doc__)
        return
    out, kinds = Path(sys.argv[1]), sys.argv[2:] or ["none", "dynamic"]
    csasn = [sys.executable, "-m", "csasn"]
    if not (out / "run").exists():
        subprocess.run([*csasn, "ingest", os.environ["CSASN_DATA"] + "/busi", "--out", str(out / "cohort")], check=True)
        command = [*csasn, "split", "--cohort", str(out / "cohort"), "--config", str(ROOT / "configs/lite.toml")]
        subprocess.run([*command, "--out", str(out / "run")], check=True)
    run = open_run(out / "run")
    session = open_session(run, device=torch.device("cpu"), progress=lambda *_: None)
    y_true = session.cohort.class_index
    session.ensure(np.arange(len(y_true)), range(run.configuration.fit.cached_views), progress=lambda *_: None)
    thin = session.cohort.classes.names.index(THIN)
    told: dict[str, list[NDArray[np.int64]]] = {kind: [] for kind in kinds}
    for seed in range(N_SEEDS):
        for kind in kinds:
            told[kind].append(read_test_rows(session, kind, seed, run.configuration))
            sensitivity, f1 = figures(y_true, told[kind][-1], thin)
            print(f"seed {seed} {kind:18} sensitivity of {THIN} {sensitivity:.3f}, macro F1 {f1:.3f}", flush=True)
    rng = np.random.default_rng(0)
    patients = np.unique(session.cohort.patient)
    rows_by_patient = [np.flatnonzero(session.cohort.patient == each) for each in patients]
    draws: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in kinds}
    for number in range(N_DRAWS + 1):  # the first is the sample itself
        chosen = np.arange(len(patients)) if number == 0 else rng.integers(len(patients), size=len(patients))
        rows = np.concatenate([rows_by_patient[each] for each in chosen])
        for kind in kinds:
            found = [figures(y_true[rows], each[rows], thin) for each in told[kind]]
            draws[kind].append(np.mean(found, axis=0))
    for kind in kinds:
        _show(kind, np.array(draws[kind]))
        if kind != kinds[0]:
            _show(f"{kind} - {kinds[0]}", np.array(draws[kind]) - np.array(draws[kinds[0]]))


def _show(name: str, values: NDArray[np.float64]) -> None:
    for column, metric in enumerate((f"sensitivity of {THIN}", "macro F1")):
        low, high = np.quantile(values[1:, column], [0.025, 0.975])
        print(f"{name:28} {metric:26} {values[0, column]:+.3f} ({low:+.3f} to {high:+.3f})")


if __name__ == "__main__":
    main()
