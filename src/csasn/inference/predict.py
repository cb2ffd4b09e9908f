"""Out-of-fold predictions: every model reads the tuning and test rows of the folds that it was trained on."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.files import write_whole
from csasn.imaging.statistics import statistics_table
from csasn.inference.embed import embed, embeddings_name
from csasn.inference.gated_attention import read_nodules
from csasn.inference.loading import load_reader, read_fitted, refuse_other_weights
from csasn.learning.baselines import LOGISTIC_REGRESSION, read_logistic_regression
from csasn.learning.rows import FoldRows, folds_of, rows_of
from csasn.learning.scoring import log_probabilities
from csasn.learning.session import Session, open_session, start_fabric
from csasn.progress import Progress
from csasn.runs import CSASN, Run, models_of
from csasn.schema import PREDICTION_COLUMNS


def predict_run(run: Run, *, progress: Progress) -> Path:
    """Write predictions.parquet (a row a model, fold and image of the tuning and test partitions), and for what needs
    no model afterwards embeddings/fold<k>.parquet (CSASN's, of every partition) and image_statistics.parquet; where
    predict.gated_attention asks for it also nodules.parquet and attention.parquet.

    Logits are log-probabilities, averaged over predict.n_views views. Raises
    MismatchError where a checkpoint, or the pretrained weights under it, are not those that were fitted.
    """
    run.require("checkpoints/index.json")
    settings = run.configuration.fit
    fabric = start_fabric(settings)
    session = open_session(run, device=fabric.device, progress=progress)
    refuse_other_weights(session)
    test = rows_of(run, "test")
    tested = np.unique(np.concatenate(list(test.values())))
    session.ensure(tested, range(run.configuration.predict.n_views), progress=progress)
    session.ensure(np.arange(len(run.manifest())), range(1), progress=progress)
    tables = []
    folds = folds_of(run)
    units = [(model, rows) for model in models_of(run) for rows in folds]
    for number, (model, rows) in enumerate(units):
        tables.append(_read_fold(session, model, rows, test[rows.fold]))
        progress("reading tuning and test images", number + 1, len(units))
    write_whole(run.path("predictions.parquet"), pl.concat(tables).write_parquet)
    written = ["predictions.parquet", "image_statistics.parquet"]
    for number, rows in enumerate(folds):
        seen = {"train": rows.train, "tuning": rows.tuning, "test": test[rows.fold]}
        written.append(embeddings_name(rows.fold))
        table = embed(load_reader(session, CSASN, rows.fold), run.manifest(), seen)
        write_whole(run.path(written[-1]), table.write_parquet)
        progress("embedding every image", number + 1, len(folds))
    table = statistics_table(run.manifest(), session.source.store)
    write_whole(run.path("image_statistics.parquet"), table.write_parquet)
    if run.configuration.predict.gated_attention:
        written += read_nodules(run, [rows.fold for rows in folds])
    run.finish("predict", inputs=("split.csv", "checkpoints/index.json"), outputs=tuple(written), notes={})
    return run.path("predictions.parquet")


def _read_fold(session: Session, model: str, rows: FoldRows, test: NDArray[np.int64]) -> pl.DataFrame:
    """The predictions of one model on one fold's tuning and test rows."""
    both = np.concatenate([rows.tuning, test])
    n_views = session.run.configuration.predict.n_views
    if model == LOGISTIC_REGRESSION:
        tensors, _ = read_fitted(session, model, rows.fold)
        read = read_logistic_regression(tensors, session.caches["vit"], session.cohort, both, n_views=n_views)
    else:
        reader = load_reader(session, model, rows.fold)
        read = log_probabilities(reader.network, reader.inputs, both, n_views=n_views)
    logits = read.double().numpy()
    names = session.cohort.classes.names
    manifest = session.run.manifest()[both]
    table = manifest.select("image_path", "site", "nodule_id", "patient_id", "malignant", "subtype").with_columns(
        model=pl.lit(model),
        fold=pl.lit(rows.fold, dtype=pl.Int32),
        partition=pl.Series(["tuning"] * len(rows.tuning) + ["test"] * len(test)),
    )
    columns = [pl.Series(f"logit_{name}", logits[:, k]) for k, name in enumerate(names)]
    columns += [pl.Series(f"probability_{name}", np.exp(logits[:, k])) for k, name in enumerate(names)]
    return table.select(list(PREDICTION_COLUMNS)).with_columns(columns)
