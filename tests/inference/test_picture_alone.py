"""A picture read alone has the log-probabilities that it has in its cohort."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from csasn.imaging.store import open_store
from csasn.inference.loading import load_reader
from csasn.learning.features import FeatureCache
from csasn.learning.rows import LabelledRows
from csasn.learning.scoring import InputSource, log_probabilities
from csasn.learning.session import Session, open_session
from csasn.runs import CSASN, open_run

TOLERANCE = 1e-6  # the network's float32 sums; features are equal bit for bit


def silent(*_: object) -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def session(trained_folder: Path) -> Session:
    return open_session(open_run(trained_folder / "run"), device=torch.device("cpu"), progress=silent)


def alone(session: Session, row: int, cache: Path, *, frozen: bool) -> InputSource:
    """How one manifest row is read by somebody who has that picture and nothing else."""
    run, cohort = session.run, session.cohort
    store = open_store(run.manifest()[[row]], run.images_root(), cache, run.configuration.imaging)
    source = replace(session.source, store=store)
    caches = {
        name: FeatureCache(cache, branch=branch, state_sha256=session.origins[name].state_sha256, source=source)
        for name, branch in session.branches.items()
    }
    for each in caches.values():
        each.ensure(np.array([0]), range(run.configuration.predict.n_views))
    only = LabelledRows(
        classes=cohort.classes,
        store_rows=np.array([0]),
        class_index=cohort.class_index[[row]],
        malignant=cohort.malignant[[row]],
        patient=np.array([0]),
        site=np.array([0]),
    )
    return InputSource(cohort=only, source=source, caches=caches if frozen else None, device=session.device)


@pytest.mark.parametrize("fold", [0, 1])
def test_cached_features_give_the_predictions_of_the_run(session: Session, tmp_path: Path, fold: int) -> None:
    run = session.run
    manifest, names = run.manifest(), run.classes().names
    written = pl.read_parquet(run.path("predictions.parquet")).filter(
        (pl.col("model") == CSASN) & (pl.col("fold") == fold) & (pl.col("partition") == "test")
    )
    reader = load_reader(session, CSASN, fold)
    for path in written["image_path"].to_list()[:6]:
        row = manifest["image_path"].to_list().index(path)
        inputs = alone(session, row, tmp_path / str(row), frozen=True)
        found = log_probabilities(reader.network, inputs, np.array([0]), n_views=run.configuration.predict.n_views)
        expected = written.filter(pl.col("image_path") == path).select([f"logit_{name}" for name in names]).to_numpy()
        np.testing.assert_allclose(found.double().numpy(), expected, rtol=0, atol=TOLERANCE)


def test_pixels_give_the_log_probabilities_of_a_whole_cohort(session: Session, tmp_path: Path) -> None:
    """As a fine-tuned model reads: every view from pixels, also the drawn ones."""
    n_views = session.source.n_views + 2
    session = replace(session, source=replace(session.source, n_views=n_views))
    reader = load_reader(session, CSASN, 0)
    every = replace(reader.inputs, source=session.source, caches=None)
    rows = np.arange(12)
    whole = log_probabilities(reader.network, every, rows, n_views=n_views)
    for row in (0, 7, 11):
        inputs = alone(session, row, tmp_path / str(row), frozen=False)
        found = log_probabilities(reader.network, inputs, np.array([0]), n_views=n_views)
        np.testing.assert_allclose(found.numpy(), whole[[row]].numpy(), rtol=0, atol=TOLERANCE)
