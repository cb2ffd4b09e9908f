"""Fit every model on every fold: frozen maps first, then fine-tuning; what was trained is never trained again."""

import copy
import os
from collections.abc import Callable
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
from csasn.files import file_sha256, write_bytes, write_json
from csasn.learning.baselines import fit_logistic_regression
from csasn.learning.checkpointing import Keeper
from csasn.learning.fsdp import whole
from csasn.learning.module import BRANCHES, LOGISTIC_REGRESSION, Trainee, build_trainee
from csasn.learning.monitoring.journal import JOURNAL, Journal
from csasn.learning.monitoring.trackers import track
from csasn.learning.objective.site_adversary import training_sites
from csasn.learning.optimisation import Stage
from csasn.learning.progress import Follower
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.rows import FoldRows, folds_of
from csasn.learning.session import Workshop, open_workshop, start_fabric
from csasn.learning.state import HistoryRow
from csasn.learning.training import Course, train_stage
from csasn.network.checkpoint import has_checkpoint, read_checkpoint, require_origin, write_checkpoint
from csasn.network.csasn import count_parameters
from csasn.progress import Report
from csasn.runs import Run, checkpoint_path, models_of
from csasn.schema import HISTORY_COLUMNS, WEIGHTS_COLUMNS

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One model on one fold, and how its training is told, saved and stopped."""

    workshop: Workshop
    fabric: Fabric
    stop: StopSignal
    model: str
    rows: FoldRows
    what: str
    report: Report
    say: Say
    journal: Journal

    @property
    def path(self) -> Path:
        """Its checkpoint."""
        return checkpoint_path(self.workshop.run, self.model, self.rows.fold)

    def origin(self) -> dict[str, object]:
        """What its checkpoints belong to; a checkpoint of anything else is refused."""
        return origin_of(self.workshop, self.model, self.rows.fold)

    def trainee(self) -> Trainee:
        """The untrained model; over branches of its own where they are trained, too."""
        branches = self.workshop.branches
        return build_trainee(
            self.model,
            copy.deepcopy(branches) if self.workshop.run.configuration.fit.finetune_epochs else branches,
            self.workshop.cohort,
            self.rows.train,
            self.workshop.run.configuration,
        )


def fit_run(
    run: Run, *, report: Report, say: Say, n_devices: int = 1, n_nodes: int = 1, strategy: Strategy = "ddp"
) -> Path:
    """Train every model on every fold and write checkpoints/, history.csv and the weights' provenance.

    Test rows are not opened. An interrupted fit goes on from the last saved step, bit for bit on a CPU. `say` is told
    in words what is passed over or done again. Several devices share each batch, and the first process alone writes,
    reports and holds the lock; with the strategy `fsdp` each keeps only a part of the transformer's trained blocks.

    Raises BadInputError, WeightsError, MismatchError (a checkpoint of something else), LockedError (another process
    trains here), StoppedError (SIGTERM, after saving), DivergedError, MemoryShortageError or StorageError.
    """
    settings = run.configuration.fit
    if run.configuration.network.branches != "both" and settings.rivals:
        raise BadInputError("Rivals need both branches: give --network.branches both, or no --fit.rivals.")
    run.require_certificate()
    folds = folds_of(run)
    fabric = start_fabric(settings, n_devices=n_devices, n_nodes=n_nodes, strategy=strategy)
    first = fabric.is_global_zero
    if not first:  # the first process reports for all
        report, say = _unreported, _unsaid
    with trainer_lock(run.folder) if first else nullcontext(), StopSignal() as stop:
        journal = Journal(run.path(JOURNAL), track(run.folder, settings.track)) if first else Journal(Path(os.devnull))
        with fabric.rank_zero_first():
            workshop = open_workshop(run, device=fabric.device, report=report)
            seen = np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.tuning)]))
            workshop.ensure(seen, range(settings.cached_views), report=report)
        if run.configuration.loss.site_adversary:
            for fold in folds:
                training_sites(workshop.cohort.site, fold.train, where=f"fold {fold.fold}")
        asked = [(model, fold) for model in models_of(run) for fold in folds]
        units = [
            Unit(
                workshop=workshop,
                fabric=fabric,
                stop=stop,
                model=model,
                rows=rows,
                what=f"{model}, fold {rows.fold} ({number} of {len(asked)})",
                report=report,
                say=say,
                journal=journal,
            )
            for number, (model, rows) in enumerate(asked, start=1)
        ]
        notes = {f"{unit.model}/fold{unit.rows.fold}": fitted(unit) for unit in units}
        if first:
            _finish(run, workshop, notes, n_parameters=count_parameters(units[0].trainee()))
        fabric.barrier()
    return run.path("checkpoints")


def _unreported(what: str, done: int, total: int, note: str = "") -> None:
    pass


def _unsaid(words: str) -> None:
    pass


def origin_of(workshop: Workshop, model: str, fold: int) -> dict[str, object]:
    """What a checkpoint belongs to: model, fold, class list, settings, cohort, split, and pretrained weights."""
    run, classes = workshop.run, workshop.cohort.classes
    record = run.record()
    return {
        "model": model,
        "fold": fold,
        "classes": list(classes.names),
        "n_non_malignant": classes.n_non_malignant,
        "configuration_sha256": record["configuration_sha256"],
        "manifest_sha256": record["manifest_sha256"],
        "split_sha256": file_sha256(run.path("split.csv")),
        "pretrained_sha256": {name: origin.state_sha256 for name, origin in workshop.origins.items()},
    }


def fitted(unit: Unit) -> dict[str, object]:
    """The notes of the unit's checkpoint, which is trained first where it is not there whole."""
    first = unit.fabric.is_global_zero
    kept: dict[str, object] | None = unit.fabric.broadcast(_kept_notes(unit) if first else None)
    if kept is not None:
        return kept
    if unit.model != LOGISTIC_REGRESSION:
        _fit_network(unit)
    elif first:
        _fit_regression(unit)
    unit.fabric.barrier()
    return read_checkpoint(unit.path)[1]


def _kept_notes(unit: Unit) -> dict[str, object] | None:
    """The notes of a checkpoint that is there whole, or None; MismatchError where it belongs to something else."""
    if not has_checkpoint(unit.path):
        return None
    try:
        _, notes = read_checkpoint(unit.path)
    except CsasnError as error:
        unit.say(f"{error}\n{unit.what} is trained again.")
        return None
    require_origin(notes, unit.origin(), unit.path)
    return notes


def _fit_regression(unit: Unit) -> None:
    workshop = unit.workshop
    n_views = workshop.run.configuration.predict.n_views
    tensors = fit_logistic_regression(workshop.caches["vit"], workshop.cohort, unit.rows, n_views=n_views)
    write_checkpoint(unit.path, tensors, unit.origin() | {"history": []})
    Follower(unit.report, unit.journal, what=unit.what, model=unit.model, fold=unit.rows.fold, n_steps=1).finished()


def _fit_network(unit: Unit) -> None:
    """Train a network through its stages and write its checkpoint."""
    workshop, settings = unit.workshop, unit.workshop.run.configuration.fit
    tuned = settings.finetune_epochs > 0
    torch.manual_seed(settings.seed + unit.rows.fold)
    trainee = unit.trainee()
    generations = Generations(unit.path.with_suffix(".training"), say=unit.say)
    try:
        history = _train_stages(unit, trainee, generations)
        state = whole(trainee.state_dict())
        kept = {name: each for name, each in state.items() if tuned or not name.startswith(BRANCHES)}
        notes = {"history": [{"model": unit.model, **row} for row in history], "finetuned": tuned}
        if unit.fabric.is_global_zero:
            write_checkpoint(unit.path, kept, unit.origin() | notes)
    except DivergedError as error:
        if not error.rows:
            raise
        paths = workshop.run.manifest()["image_path"].gather(list(error.rows)).to_list()
        raise DivergedError(f"{error}\nThe batch held these images:\n{listing(paths)}", rows=error.rows) from error
    if unit.fabric.is_global_zero:
        generations.remove()


def _train_stages(unit: Unit, trainee: Trainee, generations: Generations) -> list[HistoryRow]:
    """Every stage that the saved state is not past, in turn; the history of all of them."""
    configuration, stop = unit.workshop.run.configuration, unit.stop
    every_steps, every_s = configuration.fit.save_every_steps, configuration.fit.save_every_s
    courses = [
        Course(
            fabric=unit.fabric,
            trainee=trainee,
            eyes=unit.workshop.eyes(frozen=stage.name == "frozen"),
            rows=unit.rows,
            stage=stage,
            configuration=configuration,
        )
        for stage in stages_of(configuration.fit)
    ]
    n_steps = [course.n_steps for course in courses]
    follower = Follower(
        unit.report, unit.journal, what=unit.what, model=unit.model, fold=unit.rows.fold, n_steps=sum(n_steps)
    )
    try:
        keeper = Keeper(
            generations, unit.origin(), every_steps=every_steps, every_s=every_s, stop=stop, told=follower.saved
        )
        follower.started(keeper.saved_step or 0)
        for course, n in zip(courses, n_steps, strict=True):
            if keeper.is_past(course.stage.name):
                continue
            follow = partial(follower.step, steps_before=keeper.steps_before)
            with stop.deferred():
                history = train_stage(course, keeper=keeper, follow=follow)
            keeper.stage_over(history, n)
    except CsasnError as error:
        if not isinstance(error, StorageError):  # the journal lies on the device that failed
            follower.failed(error, rows=error.rows if isinstance(error, DivergedError) else ())
        raise
    follower.finished()
    return keeper.earlier


def stages_of(settings: FitSettings) -> list[Stage]:
    """The frozen stage, and fine-tuning where it is asked for."""
    frozen = Stage(name="frozen", n_epochs=settings.frozen_epochs, learning_rate=settings.frozen_learning_rate)
    finetune = Stage(name="finetune", n_epochs=settings.finetune_epochs, learning_rate=settings.finetune_learning_rate)
    return [frozen, finetune] if finetune.n_epochs else [frozen]


def _finish(run: Run, workshop: Workshop, notes: dict[str, dict[str, object]], *, n_parameters: dict[str, int]) -> None:
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
            "weights": {name: asdict(origin) for name, origin in workshop.origins.items()},
            "parameters": n_parameters,
            "device": str(workshop.device),
            "bfloat16": [name for name, branch in workshop.branches.items() if branch.in_bfloat16],
        },
    )
