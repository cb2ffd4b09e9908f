"""The units of a study: each variant with each seed is a run folder of its own, over one cohort, split and cache."""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csasn.calibration.calibrate import calibrate_run
from csasn.cohort.split import split_run
from csasn.errors import CsasnError, StoppedError
from csasn.evidence.evaluate import evaluate_run
from csasn.files import write_bytes
from csasn.inference.predict import predict_run
from csasn.learning.fit import fit_run
from csasn.progress import Log, Progress
from csasn.runs import Run, create_run, open_run
from csasn.study.suite import Resolved

STAGES_OF_UNIT = ("split", "fit", "predict", "calibrate", "evaluate")
FAILURE = "failure.txt"
CACHE = "cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of one variant: all folds of it, with one seed."""

    variant: str
    seed: int
    run: Run

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.variant}-seed{self.seed}"

    def finished(self) -> bool:
        """Whether every stage stands as it was written."""
        return all(self.run.finished(stage) for stage in STAGES_OF_UNIT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a unit ended: its error in words, or an empty string."""

    name: str
    seconds: float
    error: str


def make_units(cohort: Path, resolved: Resolved, study: Path) -> list[Trial]:
    """The run folders of every variant and seed below STUDY/units, made or found again, seed by seed.

    All share the folder STUDY/cache, so that pictures are decoded once and frozen maps are computed once a seed.
    Raises MismatchError where a folder was made from another cohort or other settings.
    """
    (study / CACHE).mkdir(parents=True, exist_ok=True)
    units = []
    for seed in resolved.suite.seeds:
        for variant in resolved.suite.variants:
            folder = study / "units" / f"{variant.name}-seed{seed}"
            run = create_run(cohort, folder, resolved.configurations[variant.name, seed])
            if not run.path(CACHE).is_symlink():
                run.path(CACHE).symlink_to(os.path.relpath(study / CACHE, folder), target_is_directory=True)
            units.append(Trial(variant=variant.name, seed=seed, run=run))
    return units


def do_unit(folder: Path, progress: Progress, log: Log) -> Outcome:
    """Do every stage of a unit that is not finished; a failure is told and kept in failure.txt, not raised.

    Raises StoppedError where the process is asked to end: that ends the study, and the unit goes on another time.
    """
    started = time.perf_counter()
    failure = folder / FAILURE
    try:
        run = open_run(folder)
        stages: dict[str, Callable[[], object]] = {
            "split": lambda: split_run(run),
            "fit": lambda: fit_run(run, progress=progress, log=log),
            "predict": lambda: predict_run(run, progress=progress),
            "calibrate": lambda: calibrate_run(run),
            "evaluate": lambda: evaluate_run(run),
        }
        for name in STAGES_OF_UNIT:
            if not run.finished(name):
                stages[name]()
    except StoppedError:
        raise
    except Exception as error:
        write_bytes(failure, traceback.format_exc().encode())
        told = str(error) if isinstance(error, CsasnError) else f"{type(error).__name__}: {error}"
        return Outcome(name=folder.name, seconds=time.perf_counter() - started, error=told)
    failure.unlink(missing_ok=True)
    return Outcome(name=folder.name, seconds=time.perf_counter() - started, error="")
