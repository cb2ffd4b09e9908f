"""Fit every model on every fold: frozen maps first, then fine-tuning; finished folds are never trained again."""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import polars as pl
import torch
from lightning_fabric import Fabric

from csasn.config import Configuration, FitSettings
from csasn.errors import BadInputError
from csasn.files import read_json, write_bytes, write_json
from csasn.imaging.store import open_store
from csasn.learning.checkpoint import has_checkpoint, read_checkpoint, write_checkpoint
from csasn.learning.features import FeatureCache, ViewSource
from csasn.learning.optimisation import Stage
from csasn.learning.rivals import fit_logistic_regression
from csasn.learning.trainee import (
    BRANCHES,
    LOGISTIC_REGRESSION,
    Cohort,
    Eyes,
    FoldRows,
    Trainee,
    build_trainee,
    cohort_of,
    folds_of,
)
from csasn.learning.training import Course, train_stage
from csasn.network.backbones import Branch
from csasn.network.csasn import count_parameters
from csasn.network.weights import Provenance, build_branches
from csasn.runs import Run
from csasn.schema import HISTORY_COLUMNS

CSASN = "csasn"
Report = Callable[[str, int, int], None]  # what is going on, done, total


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """Everything that fit and predict share: the rows, the branches with their weights, and the cached views."""

    run: Run
    cohort: Cohort
    source: ViewSource
    branches: dict[str, Branch]
    origins: dict[str, Provenance]
    caches: dict[str, FeatureCache]
    device: torch.device

    def eyes(self, *, frozen: bool) -> Eyes:
        """How rows are looked at: by cached features while the branches are frozen, by pixels afterwards."""
        return Eyes(cohort=self.cohort, source=self.source, caches=self.caches if frozen else None, device=self.device)


def open_workshop(run: Run, *, device: torch.device, report: Report) -> Workshop:
    """Pixel store, branches with their weights, and feature caches of a run."""
    configuration = run.configuration
    settings = configuration.fit
    torch.manual_seed(settings.seed)
    cache = run.path("cache")
    progress = partial(report, "preprocessing images")
    store = open_store(run.manifest(), run.images_root(), cache, configuration.imaging, progress=progress)
    branches, origins = build_branches(
        configuration.network, weights=settings.weights, size_px=configuration.imaging.size_px
    )
    n_views, augmentation = settings.cached_views, configuration.augmentation
    source = ViewSource(store=store, n_views=n_views, augmentation=augmentation, seed=settings.seed)
    for name, branch in branches.items():
        branch.to(device)
        branch.in_bfloat16 = takes_bfloat16(settings, device, kind=name)
    caches = {
        name: FeatureCache(cache, branch=branch, state_sha256=origins[name].state_sha256, source=source)
        for name, branch in branches.items()
    }
    return Workshop(
        run=run,
        cohort=cohort_of(run, store),
        source=source,
        branches=branches,
        origins=origins,
        caches=caches,
        device=device,
    )


def takes_bfloat16(settings: FitSettings, device: torch.device, *, kind: str) -> bool:
    """Whether a branch computes in bfloat16: on a GPU both, on a CPU the transformer alone (it slows convolutions)."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return kind == "vit" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def start_fabric(settings: FitSettings) -> Fabric:
    """Lightning Fabric on one device; each branch's precision is its own, so Fabric's stays float32."""
    fabric = Fabric(accelerator=settings.accelerator, devices=1, precision="32-true")
    fabric.launch()
    return fabric


def fit_run(run: Run, *, report: Report) -> Path:
    """Train every model on every fold and write checkpoints/, history.csv and the weights' provenance.

    Test rows are not opened. An interrupted fit goes on after the last finished fold. Raises BadInputError,
    WeightsError, DivergedError or StorageError.
    """
    settings = run.configuration.fit
    models = (CSASN, *settings.rivals)
    if run.configuration.network.branches != "both" and settings.rivals:
        raise BadInputError("Rivals need both branches: give --network.branches both, or no --fit.rivals.")
    run.require_certificate()
    folds = folds_of(run)
    fabric = start_fabric(settings)
    workshop = open_workshop(run, device=fabric.device, report=report)
    seen = sorted({row for fold in folds for row in (*fold.train.tolist(), *fold.tuning.tolist())})
    for name, cache in workshop.caches.items():
        progress = partial(report, f"maps of {workshop.branches[name].name}")
        cache.ensure(workshop.cohort.store_rows[seen], range(settings.cached_views), progress=progress)
    units = [(model, fold) for model in models for fold in folds]
    index: dict[str, object] = {}
    for number, (model, rows) in enumerate(units):
        path = checkpoint_path(run, model, rows.fold)
        if not has_checkpoint(path):
            what = f"{model}, fold {rows.fold} ({number + 1} of {len(units)})"
            _fit_unit(fabric, workshop, model, rows, progress=partial(report, what))
        notes = read_json(path.with_suffix(".json"))
        index[f"{model}/fold{rows.fold}"] = notes["sha256"]
    _write_history(run, units)
    write_json(run.path("checkpoints/index.json"), index)
    run.finish(
        "fit",
        inputs=("manifest.parquet", "split.csv"),
        outputs=("history.csv", "checkpoints/index.json"),
        notes={
            "weights": {name: asdict(origin) for name, origin in workshop.origins.items()},
            "parameters": count_parameters(_fresh(workshop, CSASN, folds[0])),
            "device": str(workshop.device),
            "bfloat16": [name for name, branch in workshop.branches.items() if branch.in_bfloat16],
        },
    )
    return run.path("checkpoints")


def checkpoint_path(run: Run, model: str, fold: int) -> Path:
    """Where the weights of one model on one fold lie."""
    return run.path(f"checkpoints/{model}/fold{fold}.safetensors")


def _fresh(workshop: Workshop, model: str, rows: FoldRows) -> Trainee:
    return build_trainee(model, workshop.branches, workshop.cohort, rows.train, workshop.run.configuration)


def _fit_unit(
    fabric: Fabric, workshop: Workshop, model: str, rows: FoldRows, *, progress: Callable[[int, int], None]
) -> None:
    """Train one model on one fold and write its checkpoint."""
    path = checkpoint_path(workshop.run, model, rows.fold)
    if model == LOGISTIC_REGRESSION:
        n_views = workshop.run.configuration.predict.n_views
        write_checkpoint(
            path,
            fit_logistic_regression(workshop.caches["vit"], workshop.cohort, rows, n_views=n_views),
            {"history": []},
        )
        progress(1, 1)
        return
    configuration: Configuration = workshop.run.configuration
    settings = configuration.fit
    torch.manual_seed(settings.seed + rows.fold)
    trainee = _fresh(workshop, model, rows)
    stages = [Stage(name="frozen", n_epochs=settings.frozen_epochs, learning_rate=settings.frozen_learning_rate)]
    tuned = settings.finetune_epochs > 0
    if tuned:
        pristine = {name: copy.deepcopy(branch.state_dict()) for name, branch in workshop.branches.items()}
        stages.append(
            Stage(name="finetune", n_epochs=settings.finetune_epochs, learning_rate=settings.finetune_learning_rate)
        )
    history: list[dict[str, float | int | str | None]] = []
    for stage in stages:
        course = Course(
            fabric=fabric,
            trainee=trainee,
            eyes=workshop.eyes(frozen=stage.name == "frozen"),
            rows=rows,
            stage=stage,
            configuration=configuration,
        )
        history += train_stage(course, progress=progress)
    state = trainee.state_dict()
    kept = {name: each for name, each in state.items() if tuned or not name.startswith(BRANCHES)}
    write_checkpoint(path, kept, {"history": [{"model": model, **row} for row in history], "finetuned": tuned})
    if tuned:
        for name, state in pristine.items():
            workshop.branches[name].load_state_dict(state)


def _write_history(run: Run, units: list[tuple[str, FoldRows]]) -> None:
    rows: list[dict[str, object]] = []
    for model, fold in units:
        _, notes = read_checkpoint(checkpoint_path(run, model, fold.fold))
        rows += notes["history"]  # type: ignore[arg-type]
    history = pl.DataFrame(rows, schema=HISTORY_COLUMNS)
    write_bytes(run.path("history.csv"), history.write_csv().encode())
