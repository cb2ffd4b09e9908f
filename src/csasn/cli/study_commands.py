"""Commands on a study: many runs over one cohort and one split."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from csasn.cli.bars import Bars
from csasn.cli.outcome import EXIT_ITEMS_SET_ASIDE, wrote


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Train every variant of a suite on the same folds, and say which module helps; goes on where it stopped.

    A setting given here is that of all variants but those that the suite gives their own. --scheme is short for
    --split.scheme.
    """

    cohort: Path
    """Cohort folder made by ingest or simulate."""
    suite: Path
    """TOML file of variants, for instance configs/suites/paper.toml."""
    out: Path
    """Study folder to make, or to go on with."""
    variants: tuple[str, ...] = ()
    """Train these variants of the suite alone; the others wait for another call."""
    engine: Literal["local", "ray"] = "local"
    """Trainings on this machine, or as tasks of a Ray cluster that runs already (extra cluster)."""
    workers: int = 1
    """local: processes that train at once, each with its share of the cores; 1 trains in this one."""
    cpus: int = 1
    """ray: cores of each training, and threads that it takes."""
    gpus: float = 0.0
    """ray: GPUs of each training; half of one lets two trainings share it."""
    settings: ClassVar[Any]  # a Configuration, the suite's shared one; becomes an argument in `configured`

    def __call__(self) -> int:
        """Do what is not finished; exit code 3 where units failed."""
        from csasn.study.suite import read_suite

        resolved = read_suite(self.suite, self.settings)  # before torch is imported: a wrong one is refused at once
        from csasn.documents import read_document
        from csasn.evidence.study import Study
        from csasn.report.study_page import report_study
        from csasn.study.ablate import ablate
        from csasn.study.engine import Engine, run_local

        with Bars() as bars:
            engine: Engine
            if self.engine == "ray":
                from csasn.study.on_ray import run_ray

                engine = partial(run_ray, cpus=self.cpus, gpus=self.gpus, progress=bars.progress)
            else:
                engine = partial(run_local, workers=self.workers, progress=bars.progress, log=bars.log)
            path = ablate(self.cohort, resolved, self.out, variants=self.variants, engine=engine, log=bars.log)
        code = wrote("study", report_study(path))
        for unit in read_document(path, Study).units:
            if unit.state == "failed":
                print(f"FAILED: {unit.name}: {unit.error}")
                code = EXIT_ITEMS_SET_ASIDE
        return code
