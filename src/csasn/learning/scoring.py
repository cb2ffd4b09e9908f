"""Predictions of rows, averaged over views, and how good they are on the tuning rows."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, distributed

from csasn.imaging.views import ViewSource
from csasn.learning.features import FeatureCache
from csasn.learning.rows import LabelledRows
from csasn.network.backbones import Features
from csasn.network.csasn import Csasn
from csasn.network.distributed import rank, world_size


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSource:
    """How rows become what a network reads: cached features, or images where `caches` is None."""

    cohort: LabelledRows
    source: ViewSource
    caches: dict[str, FeatureCache] | None
    device: torch.device

    def batch(self, rows: NDArray[np.int64], views: NDArray[np.int64], used: list[str]) -> dict[str, Features] | Tensor:
        """One view of each manifest row: features of the used branches, or images (all of one view)."""
        store_rows = self.cohort.store_rows[rows]
        if self.caches is None:
            return self.source.images(store_rows, int(views[0]), self.device)
        return read_caches(self.caches, store_rows, views, used, self.device)


def read_caches(
    caches: dict[str, FeatureCache],
    store_rows: NDArray[np.int64],
    views: NDArray[np.int64],
    used: list[str],
    device: torch.device,
) -> dict[str, Features]:
    """Cached features of the used branches, of one view of each row of the store."""
    return {name: caches[name].read(store_rows, views).to(device) for name in used}


@torch.no_grad()
def log_probabilities(
    network: Csasn, inputs: InputSource, rows: NDArray[np.int64], *, n_views: int, batch_size: int = 32
) -> Tensor:
    """Log-probabilities (len(rows), K) in evaluation mode, averaged over the first views and renormalised.

    Processes that train together read a share of the rows each, and all of them get all.
    """
    if 1 < world_size() <= len(rows):
        return _read_together(network, inputs, rows, n_views=n_views, batch_size=batch_size)
    return _read_alone(network, inputs, rows, n_views=n_views, batch_size=batch_size)


def _read_together(
    network: Csasn, inputs: InputSource, rows: NDArray[np.int64], *, n_views: int, batch_size: int
) -> Tensor:
    n = world_size()
    own = rows[rank() :: n]
    evened = np.resize(own, -(-len(rows) // n))  # as many batches in every process: blocks in parts are gathered by all
    mine = _read_alone(network, inputs, evened, n_views=n_views, batch_size=batch_size)[: len(own)]
    parts: list[Tensor] = [mine] * n
    distributed.all_gather_object(parts, mine)
    read = mine.new_empty(len(rows), mine.shape[1])
    for number, part in enumerate(parts):
        read[number::n] = part
    return read


def _read_alone(
    network: Csasn, inputs: InputSource, rows: NDArray[np.int64], *, n_views: int, batch_size: int
) -> Tensor:
    network.eval()
    used = network.head.used
    read = []
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        looks = [inputs.batch(chosen, np.full(len(chosen), view), used) for view in range(n_views)]
        logits = torch.stack([network(look).logits.log_softmax(dim=1) for look in looks]).mean(dim=0)
        read.append(logits.log_softmax(dim=1).cpu())
    return torch.cat(read)


def tuning_loss(log_probability: Tensor, cohort: LabelledRows, rows: NDArray[np.int64]) -> float:
    """Mean over the classes of the mean of -log p(label): every class counts the same, however rare.

    A row known only as malignant or not is labelled by its group, which then counts as one more class.
    """
    index, malignant = cohort.class_index[rows], cohort.malignant[rows]
    n = cohort.classes.n_non_malignant
    group = torch.where(
        torch.from_numpy(malignant), log_probability[:, n:].logsumexp(dim=1), log_probability[:, :n].logsumexp(dim=1)
    ).numpy()
    own = log_probability.numpy()[np.arange(len(rows)), np.maximum(index, 0)]
    losses = -np.where(index >= 0, own, group)
    stratum = np.where(index >= 0, index, -1 - malignant)
    return float(np.mean([losses[stratum == each].mean() for each in np.unique(stratum)]))


def tuning_auroc(log_probability: Tensor, cohort: LabelledRows, rows: NDArray[np.int64]) -> float | None:
    """Macro one-vs-rest AUROC per image over the classes with both kinds of row; None where there is none."""
    known = cohort.class_index[rows] >= 0
    index, probability = cohort.class_index[rows][known], log_probability.exp().numpy()[known]
    present = [k for k in range(len(cohort.classes.names)) if 0 < (index == k).sum() < len(index)]
    return float(np.mean([roc_auc_score(index == k, probability[:, k]) for k in present])) if present else None
