"""The profile of a training step: real steps of a run's own stages, timed phase by phase, and nothing of them kept."""

from dataclasses import dataclass, replace

import numpy as np

from csasn.learning.fit import stages_of
from csasn.learning.module import build_trainee
from csasn.learning.monitoring.timing import Phases
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.rows import FoldRows, folds_of
from csasn.learning.session import open_workshop, start_fabric
from csasn.learning.state import Learning
from csasn.learning.training import Course, train_stage
from csasn.progress import Report
from csasn.runs import CSASN, Run

N_WARM_UP, N_MEASURED = 3, 10  # steps; the first ones also lay out memory


@dataclass(frozen=True, kw_only=True, slots=True)
class StepProfile:
    """Mean seconds of a step by phase, of one stage on one device, and the images of a step."""

    stage: str
    device: str
    n_images: int
    seconds: dict[str, float]


def profile_run(run: Run, *, report: Report) -> list[StepProfile]:
    """Time training steps of CSASN on the first fold's rows, stage by stage; only the caches are written to the run.

    Raises what `fit_run` raises before it trains, and LockedError while a process trains in the folder.
    """
    run.require_certificate()
    configuration = run.configuration
    settings = configuration.fit
    fold = folds_of(run)[0]
    n_rows = settings.batch_size * (N_WARM_UP + N_MEASURED)
    rows = FoldRows(fold=fold.fold, train=np.resize(fold.train, n_rows), tuning=fold.tuning[:1])
    with trainer_lock(run.folder):
        fabric = start_fabric(settings)
        workshop = open_workshop(run, device=fabric.device, report=report)
        seen = np.unique(np.concatenate([rows.train, rows.tuning]))
        workshop.ensure(seen, range(settings.cached_views), report=report)
        trainee = build_trainee(CSASN, workshop.branches, workshop.cohort, fold.train, configuration)
        profiles = []
        for stage in stages_of(settings):
            phases = Phases(exact=True)

            def after_step(learning: Learning, n_steps: int, _: float, *, phases: Phases = phases) -> None:
                report(f"steps of stage {learning.stage.name}", learning.step, n_steps)
                if learning.step == N_WARM_UP:
                    phases.clear()

            course = Course(
                fabric=fabric,
                trainee=trainee,
                eyes=workshop.eyes(frozen=stage.name == "frozen"),
                rows=rows,
                stage=replace(stage, n_epochs=1),
                configuration=configuration,
                phases=phases,
            )
            train_stage(course, follow=after_step)
            profiles.append(
                StepProfile(
                    stage=stage.name,
                    device=str(fabric.device),
                    n_images=settings.batch_size,
                    seconds={name: each / N_MEASURED for name, each in phases.seconds.items()},
                )
            )
    return profiles


def table(profiles: list[StepProfile]) -> list[str]:
    """The profiles as lines of text: milliseconds and share of each phase."""
    lines = []
    for each in profiles:
        whole = sum(each.seconds.values())
        lines += [f"stage {each.stage}, {each.n_images} images a step on {each.device}, mean of {N_MEASURED} steps"]
        lines += [f"  {name:<10}{s * 1e3:>10.1f} ms{s / whole:>7.1%}" for name, s in each.seconds.items()]
        lines += [f"  {'step':<10}{whole * 1e3:>10.1f} ms, {each.n_images / whole:.1f} images/s"]
    return lines
