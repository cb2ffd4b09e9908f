"""Out-of-fold predictions: every model reads the tuning and test rows of the folds that it was trained on."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.errors import MismatchError
from csasn.files import write_whole
from csasn.learning.checkpoint import read_checkpoint, require_origin
from csasn.learning.fit import origin_of
from csasn.learning.following import Report
from csasn.learning.places import checkpoint_path, models_of
from csasn.learning.rivals import read_logistic_regression
from csasn.learning.trainee import (
    BRANCHES,
    LOGISTIC_REGRESSION,
    FoldRows,
    build_trainee,
    folds_of,
    log_probabilities,
    rows_of,
)
from csasn.learning.workshop import Workshop, open_workshop, start_fabric
from csasn.runs import Run
from csasn.schema import PREDICTION_COLUMNS


def predict_run(run: Run, *, report: Report) -> Path:
    """Write predictions.parquet: a row a model, fold and image of the tuning and test partitions.

    Logits are log-probabilities, averaged over predict.n_views views. Raises
    MismatchError where a checkpoint, or the pretrained weights under it, are not those that were fitted.
    """
    run.require("checkpoints/index.json")
    settings = run.configuration.fit
    fabric = start_fabric(settings)
    workshop = open_workshop(run, device=fabric.device, report=report)
    _refuse_other_weights(workshop)
    test = rows_of(run, "test")
    tested = np.unique(np.concatenate(list(test.values())))
    workshop.ensure(tested, range(run.configuration.predict.n_views), report=report)
    tables = []
    folds = folds_of(run)
    units = [(model, rows) for model in models_of(run) for rows in folds]
    for number, (model, rows) in enumerate(units):
        tables.append(_read_fold(workshop, model, rows, test[rows.fold]))
        report("reading tuning and test images", number + 1, len(units))
    predictions = pl.concat(tables)
    write_whole(run.path("predictions.parquet"), predictions.write_parquet)
    run.finish("predict", inputs=("split.csv", "checkpoints/index.json"), outputs=("predictions.parquet",), notes={})
    return run.path("predictions.parquet")


def _refuse_other_weights(workshop: Workshop) -> None:
    fitted = workshop.run.stages()["fit"]["weights"]
    for name, origin in workshop.origins.items():
        expected = fitted[name]["state_sha256"]  # type: ignore[index]
        if origin.state_sha256 != expected:
            raise MismatchError(
                f"The weights of {origin.name} are not those that the run was fitted on.\n"
                f"  fitted on {expected}\n  found     {origin.state_sha256} ({origin.source})\n"
                "Give the folder of weights that `fit` had (CSASN_WEIGHTS), or run `csasn fit` again."
            )


def _read_fold(workshop: Workshop, model: str, rows: FoldRows, test: NDArray[np.int64]) -> pl.DataFrame:
    """The predictions of one model on one fold's tuning and test rows."""
    path = checkpoint_path(workshop.run, model, rows.fold)
    tensors, notes = read_checkpoint(path)
    require_origin(notes, origin_of(workshop, model, rows.fold), path)
    both = np.concatenate([rows.tuning, test])
    n_views = workshop.run.configuration.predict.n_views
    if model == LOGISTIC_REGRESSION:
        read = read_logistic_regression(tensors, workshop.caches["vit"], workshop.cohort, both, n_views=n_views)
    else:
        trainee = build_trainee(model, workshop.branches, workshop.cohort, rows.train, workshop.run.configuration)
        tuned = bool(notes["finetuned"])
        if not tuned:  # the frozen branches are not in the checkpoint: they are the pretrained ones, checked by hash
            tensors |= {name: each for name, each in trainee.state_dict().items() if name.startswith(BRANCHES)}
        trainee.load_state_dict(tensors)
        trainee.to(workshop.device)
        read = log_probabilities(trainee, workshop.eyes(frozen=not tuned), both, n_views=n_views)
    logits = read.double().numpy()
    names = workshop.cohort.classes.names
    manifest = workshop.run.manifest()[both]
    table = manifest.select("image_path", "site", "nodule_id", "patient_id", "malignant", "subtype").with_columns(
        model=pl.lit(model),
        fold=pl.lit(rows.fold, dtype=pl.Int32),
        partition=pl.Series(["tuning"] * len(rows.tuning) + ["test"] * len(test)),
    )
    columns = [pl.Series(f"logit_{name}", logits[:, k]) for k, name in enumerate(names)]
    columns += [pl.Series(f"probability_{name}", np.exp(logits[:, k])) for k, name in enumerate(names)]
    return table.select(list(PREDICTION_COLUMNS)).with_columns(columns)
