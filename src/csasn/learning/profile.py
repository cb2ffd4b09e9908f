"""The profile of a training step: real steps of a run's own stages, timed phase by phase, and nothing of them kept."""

from dataclasses import dataclass, replace

import numpy as np

from csasn.learning.fit import stages_of
from csasn.learning.module import build_training_module
from csasn.learning.monitoring.timing import Phases
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.rows import FoldRows, folds_of
from csasn.learning.session import open_session, start_fabric
from csasn.learning.state import TrainingState
from csasn.learning.training import StageRun, train_stage
from csasn.progress import Progress
from csasn.runs import CSASN, Run

N_WARM_UP, N_MEASURED = 3, 10  # steps; the first ones also lay out memory


@dataclass(frozen=True, kw_only=True, slots=True)
class StepProfile:
    """Mean seconds of a step by phase, of one stage on one device, and the images of a step."""

    stage: str
    device: str
    n_images: int
    seconds: dict[str, float]


def profile_run(run: Run, *, progress: Progress) -> list[StepProfile]:
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
        session = open_session(run, device=fabric.device, progress=progress)
        seen = np.unique(np.concatenate([rows.train, rows.tuning]))
        session.ensure(seen, range(settings.cached_views), progress=progress)
        module = build_training_module(CSASN, session.branches, session.cohort, fold.train, configuration)
        profiles = []
        for stage in stages_of(settings):
            phases = Phases(exact=True)

            def after_step(state: TrainingState, n_steps: int, _: float, *, phases: Phases = phases) -> None:
                progress(f"steps of stage {state.stage.name}", state.step, n_steps)
                if state.step == N_WARM_UP:
                    phases.clear()

            stage_run = StageRun(
                fabric=fabric,
                module=module,
                inputs=session.inputs(frozen=stage.name == "frozen"),
                rows=rows,
                stage=replace(stage, n_epochs=1),
                configuration=configuration,
                phases=phases,
            )
            train_stage(stage_run, on_step=after_step)
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
