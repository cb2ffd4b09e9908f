"""What abstention is tried on: CSASN trained without each rare class, and foreign pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from csasn.files import write_whole
from csasn.imaging.letterbox import as_images
from csasn.imaging.statistics import image_statistics
from csasn.inference.embed import BATCH_SIZE, embed, read_embedding, table_of
from csasn.inference.foreign import Foreign, foreign_pictures
from csasn.inference.loading import load_reader, refuse_other_weights
from csasn.learning.leave_class_out import fit_without_each
from csasn.learning.rows import FoldRows, folds_of, rows_of
from csasn.learning.session import Session, open_session, start_fabric
from csasn.network.backbones import Features
from csasn.progress import Log, Progress
from csasn.runs import CSASN, Run
from csasn.schema import STATISTICS


def abstention_run(run: Run, cohorts: Sequence[Path], *, progress: Progress, log: Log) -> Path:
    """Write abstention/: embeddings of each fold without each rare class, and of foreign pictures by each fold's model.

    The models without a class are trained as `fit` trains, once; an interrupted command goes on from the last saved
    step. Raises what `fit` and `predict` raise.
    """
    run.require("predictions.parquet")
    settings = run.configuration
    session = open_session(run, device=start_fabric(settings.fit).device, progress=progress)
    refuse_other_weights(session)
    session.ensure(np.arange(len(run.manifest())), range(settings.fit.cached_views), progress=progress)
    written = _without_each(session, progress=progress, log=log)
    foreign = foreign_pictures(settings.imaging.size_px, cohorts, seed=settings.fit.seed)
    written += _read_foreign(session, folds_of(run), foreign, progress=progress)
    run.finish("abstention", inputs=("split.csv", "predictions.parquet"), outputs=tuple(written))
    return run.path("abstention")


def _without_each(session: Session, *, progress: Progress, log: Log) -> list[str]:
    """Embeddings of all of a fold's images by the model without each rare class; the files' names."""
    run, written = session.run, []
    test = rows_of(run, "test")
    for left_out in fit_without_each(session, progress=progress, log=log):
        rows = left_out.rows
        seen = {"train": rows.train, "tuning": rows.tuning, "test": test[rows.fold]}
        table = embed(load_reader(left_out.session, left_out.model, rows.fold), run.manifest(), seen)
        written.append(f"abstention/without-{left_out.name}/fold{rows.fold}.parquet")
        write_whole(run.path(written[-1]), table.write_parquet)
    return written


def _read_foreign(session: Session, folds: list[FoldRows], foreign: Foreign, *, progress: Progress) -> list[str]:
    """Embeddings of the foreign pictures by the model of every fold, and their statistics; the files' names."""
    run, written = session.run, []
    starts = range(0, len(foreign.pixels), BATCH_SIZE)
    images = [as_images(foreign.pixels[start : start + BATCH_SIZE]).to(session.device) for start in starts]
    looks: list[dict[str, Features] | Tensor] = []
    for number, rows in enumerate(folds):
        reader = load_reader(session, CSASN, rows.fold)
        if reader.tuned:  # each fold has branches of its own
            looks = list(images)
        elif not looks:
            with torch.inference_mode():
                looks = [{name: branch(each) for name, branch in session.branches.items()} for each in images]
        energy, embedding = zip(*(read_embedding(reader, look) for look in looks), strict=True)
        table = table_of(foreign.group, foreign.name, np.concatenate(energy), np.concatenate(embedding))
        written.append(f"abstention/foreign/fold{rows.fold}.parquet")
        write_whole(run.path(written[-1]), table.write_parquet)
        progress("reading foreign pictures", number + 1, len(folds))
    statistics = np.array([image_statistics(each) for each in foreign.pixels])
    columns = dict(zip(STATISTICS, statistics.T, strict=True))
    written.append("abstention/foreign_statistics.parquet")
    table = pl.DataFrame({"image_path": foreign.name, "group": foreign.group, **columns})
    write_whole(run.path(written[-1]), table.write_parquet)
    return written
