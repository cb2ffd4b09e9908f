"""What is trained in one fold: a network, its loss, the rows it may see, and how well it does on the tuning rows."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, distributed, nn

from csasn.config import Configuration, LossSettings, NetworkSettings, Sampling
from csasn.imaging.dataset import labels
from csasn.imaging.store import PixelStore
from csasn.learning.adversary import SiteAdversary, training_sites
from csasn.learning.features import FeatureCache, ViewSource
from csasn.learning.labels import Labels, Whole
from csasn.learning.losses import MultitaskLoss
from csasn.learning.sampling import shares
from csasn.network.backbones import Branch, Features
from csasn.network.csasn import Csasn, Given, Neck, Output
from csasn.network.sharing import n_processes, process_number
from csasn.runs import Run
from csasn.schema import ClassList

# Models that are CSASN with one branch; the other rival is no network.
SINGLE_BRANCH = {"cnn-only": "cnn", "vit-only": "vit"}
LOGISTIC_REGRESSION = "vit-logistic-regression"
BRANCHES = "network.branches."  # prefix of the branches' tensors in a trainee's state


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """The manifest's rows as arrays, in its order; every fold is a choice of rows.

    `store_rows` (N,) into the pixel store; `class_index` (N,), -1 for unknown; `malignant` (N,) bool; `patient` and
    `site` (N,), the same number for the same patient and for the same site.
    """

    classes: ClassList
    store_rows: NDArray[np.int64]
    class_index: NDArray[np.int64]
    malignant: NDArray[np.bool_]
    patient: NDArray[np.int64]
    site: NDArray[np.int64]

    def shares(self, rows: NDArray[np.int64], sampling: Sampling) -> NDArray[np.float64]:
        """How often an epoch shows each of these training rows on average, (len(rows),)."""
        return shares(self.class_index[rows], self.patient[rows], sampling)

    def shown(self, rows: NDArray[np.int64], sampling: Sampling) -> tuple[list[float], tuple[float, float]]:
        """Images of each class in an epoch over these rows, and those known only as not malignant, and as malignant.

        Priors follow the sampling: they are those of what is trained on.
        """
        share, index, malignant = self.shares(rows, sampling), self.class_index[rows], self.malignant[rows]
        known = index >= 0
        of_class = np.bincount(index[known], weights=share[known], minlength=len(self.classes.names))
        unknown = [float(share[~known & (malignant == group)].sum()) for group in (False, True)]
        return of_class.tolist(), (unknown[0], unknown[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRows:
    """Manifest rows of one fold that training may see; the test rows are not among them."""

    fold: int
    train: NDArray[np.int64]
    tuning: NDArray[np.int64]


def cohort_of(run: Run, store: PixelStore) -> Cohort:
    """The run's manifest as arrays over a pixel store."""
    manifest, classes = run.manifest(), run.classes()
    class_index, malignant = labels(manifest, classes)
    return Cohort(
        classes=classes,
        store_rows=store.rows(manifest["sha256"].to_list()),
        class_index=class_index,
        malignant=malignant,
        patient=manifest["patient_id"].rank("dense").to_numpy().astype(np.int64),
        site=manifest["site"].rank("dense").to_numpy().astype(np.int64),
    )


def rows_of(run: Run, partition: str) -> dict[int, NDArray[np.int64]]:
    """Manifest row numbers of one partition, by fold."""
    numbered = run.manifest().select("image_path").with_row_index("row")
    chosen = run.split().filter(pl.col("partition") == partition).join(numbered, on="image_path")
    return {
        int(fold): np.sort(group["row"].to_numpy().astype(np.int64))
        for (fold,), group in sorted(chosen.group_by("fold"), key=lambda pair: pair[0])
    }


def folds_of(run: Run) -> list[FoldRows]:
    """Train and tuning rows of every fold."""
    train, tuning = rows_of(run, "train"), rows_of(run, "tuning")
    return [FoldRows(fold=fold, train=train[fold], tuning=tuning[fold]) for fold in train]


def network_settings(model: str, settings: NetworkSettings) -> NetworkSettings:
    """Settings of CSASN, or of it with one branch alone."""
    if model not in SINGLE_BRANCH:
        return settings
    return settings.model_copy(update={"branches": SINGLE_BRANCH[model]})


class Trainee(nn.Module):
    """A network and its loss in one module, so that one forward pass gives the loss.

    It reads features of the branches (frozen stage), the activations below their last blocks, or images (fine-tuning).
    """

    def __init__(
        self, network: Csasn, cohort: Cohort, train: NDArray[np.int64], settings: LossSettings, sampling: Sampling
    ) -> None:
        """`train`: the rows that the loss may count; no other row's label reaches it."""
        super().__init__()
        self.network = network
        n_images, n_unknown = cohort.shown(train, sampling)
        flat = not hasattr(network.neck.head, "malignancy")
        adversary = None
        if settings.site_adversary:
            sites = training_sites(cohort.site, train, where="this fold")
            adversary = SiteAdversary(network.neck.n_features, sites, largest=settings.site_adversary)
        self.loss = MultitaskLoss(
            cohort.classes, n_images, n_unknown=n_unknown, flat=flat, settings=settings, adversary=adversary
        )

    def read(self, given: Given) -> Output:
        """Features by branch, images (B, 1, H, W) or pairs of them, to logits and intermediates."""
        return self.network(given)  # type: ignore[no-any-return]

    def forward(self, given: Given, labels: Labels, whole: Whole | None = None) -> Tensor:
        """A batch with its labels to the scalar loss; `whole` where it is a part of a training step."""
        shared = self.network.neck.last_shared()
        return self.loss(self.read(given), labels, whole, shared)  # type: ignore[no-any-return]


def build_trainee(
    model: str,
    branches: dict[str, Branch],
    cohort: Cohort,
    train: NDArray[np.int64],
    configuration: Configuration,
) -> Trainee:
    """A fresh neck over the given branches, with the loss that the training rows call for."""
    neck = Neck(network_settings(model, configuration.network), cohort.classes).to(memory_format=torch.channels_last)
    return Trainee(Csasn(branches, neck), cohort, train, configuration.loss, configuration.fit.sampling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Eyes:
    """How rows become what a trainee reads: cached features, or images where `caches` is None."""

    cohort: Cohort
    source: ViewSource
    caches: dict[str, FeatureCache] | None
    device: torch.device

    def look(self, rows: NDArray[np.int64], views: NDArray[np.int64], used: list[str]) -> dict[str, Features] | Tensor:
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
    trainee: Trainee, eyes: Eyes, rows: NDArray[np.int64], *, n_views: int, batch_size: int = 32
) -> Tensor:
    """Log-probabilities (len(rows), K) in evaluation mode, averaged over the first views and renormalised.

    Processes that train together read a share of the rows each, and all of them get all.
    """
    if 1 < n_processes() <= len(rows):
        return _read_together(trainee, eyes, rows, n_views=n_views, batch_size=batch_size)
    return _read_alone(trainee, eyes, rows, n_views=n_views, batch_size=batch_size)


def _read_together(trainee: Trainee, eyes: Eyes, rows: NDArray[np.int64], *, n_views: int, batch_size: int) -> Tensor:
    n = n_processes()
    own = rows[process_number() :: n]
    evened = np.resize(own, -(-len(rows) // n))  # as many batches in every process: blocks in parts are gathered by all
    mine = _read_alone(trainee, eyes, evened, n_views=n_views, batch_size=batch_size)[: len(own)]
    parts: list[Tensor] = [mine] * n
    distributed.all_gather_object(parts, mine)
    read = mine.new_empty(len(rows), mine.shape[1])
    for number, part in enumerate(parts):
        read[number::n] = part
    return read


def _read_alone(trainee: Trainee, eyes: Eyes, rows: NDArray[np.int64], *, n_views: int, batch_size: int) -> Tensor:
    trainee.eval()
    used = trainee.network.neck.used
    read = []
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        looks = [eyes.look(chosen, np.full(len(chosen), view), used) for view in range(n_views)]
        logits = torch.stack([trainee.read(look).logits.log_softmax(dim=1) for look in looks]).mean(dim=0)
        read.append(logits.log_softmax(dim=1).cpu())
    return torch.cat(read)


def tuning_loss(log_probability: Tensor, cohort: Cohort, rows: NDArray[np.int64]) -> float:
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


def tuning_auroc(log_probability: Tensor, cohort: Cohort, rows: NDArray[np.int64]) -> float | None:
    """Macro one-vs-rest AUROC per image over the classes with both kinds of row; None where there is none."""
    known = cohort.class_index[rows] >= 0
    index, probability = cohort.class_index[rows][known], log_probability.exp().numpy()[known]
    present = [k for k in range(len(cohort.classes.names)) if 0 < (index == k).sum() < len(index)]
    return float(np.mean([roc_auc_score(index == k, probability[:, k]) for k in present])) if present else None
