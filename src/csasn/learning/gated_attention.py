"""The gated attention of one fold, trained on the fitted network's embeddings of the training nodules."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.config import LossSettings, NetworkSettings
from csasn.learning.objective.labels import Labels
from csasn.learning.objective.losses import MultitaskLoss
from csasn.learning.rows import labels
from csasn.network.checkpoint import write_checkpoint
from csasn.network.gated_attention import GatedAttention
from csasn.runs import Run, checkpoint_path
from csasn.schema import GATED_ATTENTION, ClassList

N_STEPS, PATIENCE_STEPS = 300, 40  # each over all training nodules at once
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bags:
    """Nodules as padded bags of images.

    `embeddings` (B, I, D) and `present` (B, I) bool; `class_index` (B,), -1 where unknown; `malignant` (B,) bool.
    """

    embeddings: Tensor
    present: Tensor
    class_index: Tensor
    malignant: Tensor


def bags_of(
    embeddings: list[NDArray[np.float32]], class_index: NDArray[np.int64], malignant: NDArray[np.bool_]
) -> Bags:
    """Bags from each nodule's embeddings (I, D), padded with zeros to the largest."""
    n_images = max(len(each) for each in embeddings)
    padded = np.zeros((len(embeddings), n_images, embeddings[0].shape[1]), dtype=np.float32)
    present = np.zeros(padded.shape[:2], dtype=np.bool_)
    for number, each in enumerate(embeddings):
        padded[number, : len(each)], present[number, : len(each)] = each, True
    return Bags(
        embeddings=torch.from_numpy(padded),
        present=torch.from_numpy(present),
        class_index=torch.from_numpy(class_index),
        malignant=torch.from_numpy(malignant),
    )


def bags_of_nodules(nodules: pl.DataFrame, classes: ClassList) -> Bags:
    """Bags from a row a nodule with its label and the embeddings of its images."""
    index, malignant = labels(nodules, classes)
    return bags_of([np.array(each.to_list(), dtype=np.float32) for each in nodules["embedding"]], index, malignant)


def fit_fold(run: Run, fold: int, bags: Mapping[str, Bags]) -> GatedAttention:
    """The gated attention of a fold, learned from its training nodules and stopped by its tuning nodules.

    `bags` by partition. Writes the fold's checkpoint.
    """
    settings = run.configuration
    module = fit_attention(
        bags["train"], bags["tuning"], run.classes(), settings.network, settings.loss, seed=settings.fit.seed + fold
    )
    path = checkpoint_path(run, GATED_ATTENTION, fold)
    write_checkpoint(path, module.state_dict(), {"model": GATED_ATTENTION, "fold": fold})
    return module


def fit_attention(
    train: Bags, tuning: Bags, classes: ClassList, network: NetworkSettings, loss: LossSettings, *, seed: int
) -> GatedAttention:
    """Gated attention after AdamW on all training nodules a step, at the step with the lowest tuning loss.

    Classes are weighted as `loss` says, by counts of nodules; the tasks' losses are added up plainly. The tuning loss
    is the same loss, of the tuning nodules. Every random draw follows `seed`, and none is taken from elsewhere.
    """
    plain = loss.model_copy(update={"tasks": "fixed", "site_adversary": 0.0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = GatedAttention(train.embeddings.shape[-1], classes, network)
        _standardise(module, train)
        n_nodules, n_unknown = _counts(train, classes)
        flat = network.head == "flat"
        weighing = MultitaskLoss(classes, n_nodules, n_unknown=n_unknown, flat=flat, settings=plain)
        optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        best, lowest, at = copy.deepcopy(module.state_dict()), float("inf"), 0
        for step in range(N_STEPS):
            weighing.progress.fill_(step / N_STEPS)
            optimizer.zero_grad()
            _loss(module.train(), weighing.train(), train).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            weighing.end_step()
            with torch.no_grad():
                current = float(_loss(module.eval(), weighing.eval(), tuning))
            if current < lowest:
                best, lowest, at = copy.deepcopy(module.state_dict()), current, step
            if step - at >= PATIENCE_STEPS:
                break
    module.load_state_dict(best)
    return module.eval()


def _standardise(module: GatedAttention, train: Bags) -> None:
    """Mean and SD of the training images' embeddings; a number that never varies keeps SD 1."""
    images = train.embeddings[train.present].double()
    sd = images.std(dim=0, correction=0)
    module.mean.copy_(images.mean(dim=0))
    module.sd.copy_(torch.where(sd > 0, sd, torch.ones_like(sd)))


def _loss(module: GatedAttention, weighing: MultitaskLoss, bags: Bags) -> Tensor:
    told = module(bags.embeddings, bags.present).output
    loss: Tensor = weighing(told, Labels.plain(bags.class_index, bags.malignant))
    return loss


def _counts(train: Bags, classes: ClassList) -> tuple[list[float], tuple[float, float]]:
    """Nodules of each class, and those known only as not malignant and as malignant."""
    known = train.class_index >= 0
    of_class = torch.bincount(train.class_index[known], minlength=len(classes.names)).double().tolist()
    unknown = [float((~known & (train.malignant == group)).sum()) for group in (False, True)]
    return of_class, (unknown[0], unknown[1])
