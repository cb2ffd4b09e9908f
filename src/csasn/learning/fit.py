"""Fit every model on every fold: frozen maps first, then fine-tuning; what was trained is never trained again."""

import copy
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric

from csasn.config import FitSettings, Strategy
from csasn.csv_cells import escaped_cells
from csasn.errors import BadInputError, CsasnError, DivergedError, StorageError, listing
from csasn.files import write_bytes, write_json
from csasn.learning.baselines import LOGISTIC_REGRESSION, fit_logistic_regression
from csasn.learning.checkpointing import TrainingCheckpointer
from csasn.learning.fsdp import whole
from csasn.learning.module import BRANCHES, NETWORK, TrainingModule, build_training_module
from csasn.learning.monitoring.journal import JOURNAL, Journal
from csasn.learning.monitoring.trackers import track
from csasn.learning.objective.site_adversary import training_sites
from csasn.learning.optimisation import Stage
from csasn.learning.progress import JournaledProgress, ProgressReporter
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.rows import FoldRows, folds_of
from csasn.learning.session import Session, open_session, start_fabric
from csasn.learning.state import HistoryRow
from csasn.learning.training import StageRun, train_stage
from csasn.network.checkpoint import has_checkpoint, read_checkpoint, require_origin, write_checkpoint
from csasn.network.csasn import count_parameters
from csasn.progress import Log, Progress
from csasn.runs import Run, checkpoint_path, models_of
from csasn.schema import HISTORY_COLUMNS, WEIGHTS_COLUMNS


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldTraining:
    """One model on one fold, and how its training is told, saved and stopped."""

    session: Session
    fabric: Fabric
    stop: StopSignal
    model: str
    rows: FoldRows
    what: str
    progress: Progress
    log: Log
    journal: Journal

    @property
    def path(self) -> Path:
        """Its checkpoint."""
        return checkpoint_path(self.session.run, self.model, self.rows.fold)

    def origin(self) -> dict[str, object]:
        """What its checkpoints belong to; a checkpoint of anything else is refused."""
        return self.session.origin(self.model, self.rows.fold)

    def module(self) -> TrainingModule:
        """The untrained model; over branches of its own where they are trained, too."""
        branches = self.session.branches
        return build_training_module(
            self.model,
            copy.deepcopy(branches) if self.session.run.configuration.fit.finetune.epochs else branches,
            self.session.cohort,
            self.rows.train,
            self.session.run.configuration,
        )


def fit_run(
    run: Run, *, progress: Progress, log: Log, n_devices: int = 1, n_nodes: int = 1, strategy: Strategy = "ddp"
) -> Path:
    """Train every model on every fold and write checkpoints/, history.csv and the weights' provenance.

    Test rows are not opened. An interrupted fit goes on from the last saved step, bit for bit on a CPU. `say` is told
    in words what is passed over or done again. Several devices share each batch, and the first process alone writes,
    reports and holds the lock; with the strategy `fsdp` each keeps only a part of the transformer's trained blocks.

    Raises BadInputError, WeightsError, MismatchError (a checkpoint of something else), LockedError (another process
    trains here), StoppedError (SIGTERM, after saving), DivergedError, MemoryShortageError or StorageError.
    """
    settings = run.configuration.fit
    if run.configuration.network.branches != "both" and settings.baselines:
        raise BadInputError("Baselines need both branches: give --network.branches both, or no --fit.baselines.")
    run.require_certificate()
    folds = folds_of(run)
    fabric = start_fabric(settings, n_devices=n_devices, n_nodes=n_nodes, strategy=strategy)
    first = fabric.is_global_zero
    if not first:  # the first process reports for all
        progress, log = _unreported, _unsaid
    with trainer_lock(run.folder) if first else nullcontext(), StopSignal() as stop:
        journal = Journal(run.path(JOURNAL), track(run.folder, settings.track)) if first else Journal(Path(os.devnull))
        with fabric.rank_zero_first():
            session = open_session(run, device=fabric.device, progress=progress)
            seen = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.tuning)]))
            session.ensure(seen, range(settings.cached_views), progress=JournaledProgress(progress, journal))
        if run.configuration.loss.site_adversary:
            for fold in folds:
                training_sites(session.cohort.site, fold.train, where=f"fold {fold.fold}")
        asked = [(model, fold) for model in models_of(run) for fold in folds]
        trainings = [
            FoldTraining(
                session=session,
                fabric=fabric,
                stop=stop,
                model=model,
                rows=rows,
                what=f"{model}, fold {rows.fold} ({number} of {len(asked)})",
                progress=progress,
                log=log,
                journal=journal,
            )
            for number, (model, rows) in enumerate(asked, start=1)
        ]
        notes = {f"{training.model}/fold{training.rows.fold}": fitted(training) for training in trainings}
        if first:
            _finish(run, session, notes, n_parameters=count_parameters(trainings[0].module()))
        fabric.barrier()
    return run.path("checkpoints")


def _unreported(what: str, done: int, total: int, note: str = "") -> None:
    pass


def _unsaid(words: str) -> None:
    pass


def fitted(training: FoldTraining) -> dict[str, object]:
    """The notes of the unit's checkpoint, which is trained first where it is not there whole."""
    first = training.fabric.is_global_zero
    kept: dict[str, object] | None = training.fabric.broadcast(_kept_notes(training) if first else None)
    if kept is not None:
        return kept
    if training.model != LOGISTIC_REGRESSION:
        _fit_network(training)
    elif first:
        _fit_regression(training)
    training.fabric.barrier()
    return read_checkpoint(training.path)[1]


def _kept_notes(training: FoldTraining) -> dict[str, object] | None:
    """The notes of a checkpoint that is there whole, or None; MismatchError where it belongs to something else."""
    if not has_checkpoint(training.path):
        return None
    try:
        _, notes = read_checkpoint(training.path)
    except CsasnError as error:
        training.log(f"{error}\n{training.what} is trained again.")
        return None
    require_origin(notes, training.origin(), training.path)
    return notes


def _fit_regression(training: FoldTraining) -> None:
    session = training.session
    n_views = session.run.configuration.predict.n_views
    tensors = fit_logistic_regression(session.caches["vit"], session.cohort, training.rows, n_views=n_views)
    write_checkpoint(training.path, tensors, training.origin() | {"history": []})
    ProgressReporter(
        training.progress,
        training.journal,
        what=training.what,
        model=training.model,
        fold=training.rows.fold,
        n_steps=1,
    ).finished()


def _fit_network(training: FoldTraining) -> None:
    """Train a network through its stages and write its checkpoint."""
    session, settings = training.session, training.session.run.configuration.fit
    tuned = settings.finetune.epochs > 0
    torch.manual_seed(settings.seed + training.rows.fold)
    module = training.module()
    generations = Generations(training.path.with_suffix(".training"), log=training.log)
    try:
        history, reporter = _train_stages(training, module, generations)
        state = whole(module.state_dict())
        kept = {name: each for name, each in state.items() if tuned or not name.startswith(BRANCHES)}
        network = {name.removeprefix(NETWORK): each for name, each in kept.items() if name.startswith(NETWORK)}
        loss = {name: each for name, each in kept.items() if not name.startswith(NETWORK)}
        notes = {"history": [{"model": training.model, **row} for row in history], "finetuned": tuned}
        if training.fabric.is_global_zero:
            write_checkpoint(training.path.parent / "loss" / training.path.name, loss, training.origin())
            write_checkpoint(training.path, network, training.origin() | notes)
        reporter.finished()  # only now: who reads "finished" finds the checkpoint
    except DivergedError as error:
        if not error.rows:
            raise
        paths = session.run.manifest()["image_path"].gather(list(error.rows)).to_list()
        raise DivergedError(f"{error}\nThe batch held these images:\n{listing(paths)}", rows=error.rows) from error
    if training.fabric.is_global_zero:
        generations.remove()


def _train_stages(
    training: FoldTraining, module: TrainingModule, generations: Generations
) -> tuple[list[HistoryRow], ProgressReporter]:
    """Every stage that the saved state is not past, in turn; the history of all of them, and who reports it."""
    configuration, stop = training.session.run.configuration, training.stop
    every_steps, every_s = configuration.fit.save_every_steps, configuration.fit.save_every_s
    stage_runs = [
        StageRun(
            fabric=training.fabric,
            module=module,
            inputs=training.session.inputs(frozen=stage.name == "frozen"),
            rows=training.rows,
            stage=stage,
            configuration=configuration,
        )
        for stage in stages_of(configuration.fit)
    ]
    n_steps = [stage_run.n_steps for stage_run in stage_runs]
    reporter = ProgressReporter(
        training.progress,
        training.journal,
        what=training.what,
        model=training.model,
        fold=training.rows.fold,
        n_steps=sum(n_steps),
    )
    try:
        checkpointer = TrainingCheckpointer(
            generations, training.origin(), every_steps=every_steps, every_s=every_s, stop=stop, told=reporter.saved
        )
        reporter.started(checkpointer.saved_step or 0)
        for stage_run, n in zip(stage_runs, n_steps, strict=True):
            if checkpointer.is_past(stage_run.stage.name):
                continue
            on_step = partial(reporter.step, steps_before=checkpointer.steps_before)
            with stop.deferred():
                history = train_stage(stage_run, checkpointer=checkpointer, on_step=on_step)
            checkpointer.stage_over(history, n)
    except CsasnError as error:
        if not isinstance(error, StorageError):  # the journal lies on the device that failed
            reporter.failed(error, rows=error.rows if isinstance(error, DivergedError) else ())
        raise
    return checkpointer.earlier, reporter


def stages_of(settings: FitSettings) -> list[Stage]:
    """The frozen stage, and fine-tuning where it is asked for."""
    frozen = Stage(name="frozen", n_epochs=settings.frozen.epochs, learning_rate=settings.frozen.learning_rate)
    finetune = Stage(name="finetune", n_epochs=settings.finetune.epochs, learning_rate=settings.finetune.learning_rate)
    return [frozen, finetune] if finetune.n_epochs else [frozen]


def _finish(run: Run, session: Session, notes: dict[str, dict[str, object]], *, n_parameters: dict[str, int]) -> None:
    """Write the course of every training and the index of the checkpoints, and remember the stage."""
    rows = [row for of_unit in notes.values() for row in of_unit["history"]]  # type: ignore[attr-defined]
    epochs = [{name: row[name] for name in HISTORY_COLUMNS} for row in rows]
    write_bytes(
        run.path("history.csv"), escaped_cells(pl.DataFrame(epochs, schema=HISTORY_COLUMNS)).write_csv().encode()
    )
    weights = [
        {name: row[name] for name in ("model", "fold", "stage", "epoch")} | {"kind": kind, "name": name, "value": value}
        for row in rows
        for kind, of_kind in row["weights"].items()
        for name, value in of_kind.items()
    ]
    write_bytes(
        run.path("weights.csv"), escaped_cells(pl.DataFrame(weights, schema=WEIGHTS_COLUMNS)).write_csv().encode()
    )
    write_json(run.path("checkpoints/index.json"), {name: each["sha256"] for name, each in notes.items()})
    run.finish(
        "fit",
        inputs=("manifest.parquet", "split.csv"),
        outputs=("history.csv", "weights.csv", "checkpoints/index.json"),
        notes={
            "weights": {name: asdict(origin) for name, origin in session.origins.items()},
            "parameters": n_parameters,
            "device": str(session.device),
            "bfloat16": [name for name, branch in session.branches.items() if branch.in_bfloat16],
        },
    )
