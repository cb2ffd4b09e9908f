"""What an epoch shows, planned before it starts: any batch of it can be looked at without those before it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.config import Configuration
from csasn.imaging.dataset import as_images, batches
from csasn.imaging.transforms import apply, draw
from csasn.learning.phases import Phases
from csasn.learning.sampling import drawn
from csasn.learning.trainee import Eyes, FoldRows, Mix
from csasn.network.backbones import Features
from csasn.network.sharing import n_processes, process_number

VIEW_STREAM, MIX_STREAM = 2, 3  # keep these draws apart from others of the same seed and epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One training batch to come: manifest rows (B,), the cached view of each (B,), and its mixup."""

    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    mix: Mix | None


def plan_epoch(
    rows: FoldRows, share: NDArray[np.float64], epoch: int, configuration: Configuration, *, n_views: int, mixup: float
) -> list[Planned]:
    """Every batch of an epoch; it depends on the seed and the epoch's number alone, not on what ran before.

    `share` (n,) says how often an epoch shows each training row on average; `mixup` is the Beta parameter of the
    batches' mixup, 0 for none.
    """
    settings = configuration.fit
    order = drawn(rows.train, share, seed=settings.seed, epoch=epoch)
    views, mixes = (
        np.random.default_rng(np.random.SeedSequence([settings.seed, epoch, stream]))
        for stream in (VIEW_STREAM, MIX_STREAM)
    )
    return [
        Planned(
            rows=chosen,
            views=views.integers(n_views, size=len(chosen)),
            mix=draw_mix(mixes, len(chosen), mixup),
        )
        for chosen in batches(order, settings.batch_size)
    ]


def share_of(batch: Planned, eyes: Eyes) -> Planned:
    """The rows of a batch that this process computes; cached rows to be blended stay whole: each needs its partner."""
    if n_processes() == 1 or (batch.mix is not None and eyes.caches is not None):
        return batch
    mine = slice(process_number(), None, n_processes())
    return Planned(rows=batch.rows[mine], views=batch.views[mine], mix=None)


def draw_mix(stream: np.random.Generator, n: int, beta: float) -> Mix | None:
    """Partner of each of n rows and their common share, drawn from Beta(beta, beta); None where mixup is off."""
    if beta == 0:
        return None
    return Mix(other=torch.from_numpy(stream.permutation(n)), share=float(stream.beta(beta, beta)))


def look_at(
    batch: Planned, eyes: Eyes, epoch: int, configuration: Configuration, *, used: list[str], phases: Phases
) -> dict[str, Features] | Tensor:
    """What the trainee reads of a batch: cached features of the used branches, or freshly augmented images."""
    if eyes.caches is not None:
        with phases("decode"):
            return eyes.look(batch.rows, batch.views, used)
    with phases("decode"):
        store_rows = eyes.cohort.store_rows[batch.rows]
        images = as_images(eyes.source.store.pixels[store_rows])
    with phases("augment"):
        # Epochs beyond the cached views, so that fine-tuning shows changes that the frozen stage has not seen.
        later = eyes.source.n_views + epoch
        draws = draw(configuration.augmentation, store_rows, seed=configuration.fit.seed, epoch=later)
        return apply(images, draws).to(eyes.device)
