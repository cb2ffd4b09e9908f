"""What an epoch shows, planned before it starts: any batch of it can be looked at without those before it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from csasn.config import Configuration
from csasn.imaging.letterbox import as_images
from csasn.imaging.transforms import apply, draw
from csasn.learning.mixup import Mix, draw_cutmix, draw_mixup, pasted
from csasn.learning.monitoring.timing import Phases
from csasn.learning.objective.labels import Labels
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.sampling import batches, drawn
from csasn.learning.scoring import InputSource, read_caches
from csasn.network.csasn import Given, Pairs
from csasn.network.distributed import rank, world_size

VIEW_STREAM, MIX_STREAM = 2, 3  # keep these draws apart from others of the same seed and epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One training batch to come: manifest rows (B,), the cached view of each (B,), and how they are blended."""

    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    mix: Mix | None

    def parts(self, n: int) -> list[NDArray[np.int64]]:
        """Places in the batch that this process computes, in at most `n` parts one after the other.

        A part has at least two rows and one for each process, so that a small last batch has fewer parts; every
        process has as many parts as the others.
        """
        n_rows = len(self.rows)
        most = max(1, n_rows // max(2, world_size()))
        mine = slice(rank(), None, world_size())
        return [part[mine] for part in np.array_split(np.arange(n_rows), min(n, most))]


def plan_epoch(
    rows: FoldRows,
    share: NDArray[np.float64],
    epoch: int,
    configuration: Configuration,
    *,
    n_views: int,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> list[Planned]:
    """Every batch of an epoch; it depends on the seed and the epoch's number alone, not on what ran before.

    `share` (n,) says how often an epoch shows each training row on average; `mixup` and `cutmix` are the Beta
    parameters of the batches' blending, 0 for none, at most one of them above 0.
    """
    settings = configuration.fit
    order = drawn(rows.train, share, seed=settings.seed, epoch=epoch)
    views, mixes = (
        np.random.default_rng(np.random.SeedSequence([settings.seed, epoch, stream]))
        for stream in (VIEW_STREAM, MIX_STREAM)
    )
    size_px = configuration.imaging.size_px
    return [
        Planned(
            rows=chosen,
            views=views.integers(n_views, size=len(chosen)),
            mix=draw_cutmix(mixes, len(chosen), cutmix, size_px) if cutmix else draw_mixup(mixes, len(chosen), mixup),
        )
        for chosen in batches(order, settings.batch_size)
    ]


def labels_of(
    batch: Planned, cohort: LabelledRows, device: torch.device, part: NDArray[np.int64] | None = None
) -> Labels:
    """The labels of a part of a batch, or of the whole of it; two a row where rows are blended."""
    part = np.arange(len(batch.rows)) if part is None else part
    mix, n = batch.mix, len(part)
    places = part if mix is None else np.concatenate([part, mix.other[part]])
    share = np.ones(n) if mix is None else np.repeat([mix.lam, 1 - mix.lam], n)
    rows = batch.rows[places]
    return Labels(
        row=torch.from_numpy(np.arange(len(places)) % n).to(device),
        class_index=torch.from_numpy(cohort.class_index[rows]).to(device),
        malignant=torch.from_numpy(cohort.malignant[rows]).to(device),
        share=torch.from_numpy(share).float().to(device),
        site=torch.from_numpy(cohort.site[rows]).to(device),
    )


def batch_inputs(
    batch: Planned,
    part: NDArray[np.int64],
    inputs: InputSource,
    epoch: int,
    configuration: Configuration,
    *,
    used: list[str],
    phases: Phases,
) -> Given:
    """What the module reads of a part of a batch: cached features of the used branches, or augmented images.

    Rows and their partners are looked at once, then blended: cached features and boxes of pixels here, the features
    of images in the network, which gets the pairs.
    """
    mix, n = batch.mix, len(part)
    wanted = part if mix is None else np.concatenate([part, mix.other[part]])
    places, at = np.unique(wanted, return_inverse=True)
    own, other = slice(None) if len(places) == n else at[:n], at[n:]
    store_rows = inputs.cohort.store_rows[batch.rows[places]]
    if inputs.caches is not None:
        with phases("decode"):
            found = read_caches(inputs.caches, store_rows, batch.views[places], used, inputs.device)
        if mix is None:
            return found
        with phases("augment"):
            return {name: each.blended(own, other, mix.lam) for name, each in found.items()}
    with phases("decode"):
        images = as_images(inputs.source.store.pixels[store_rows]).to(inputs.device)
    with phases("augment"):
        # Epochs beyond the cached views, so that fine-tuning shows changes that the frozen stage has not seen.
        later = inputs.source.n_views + epoch
        numbers = inputs.source.store.numbers[store_rows]
        draws = draw(configuration.augmentation, numbers, seed=configuration.fit.seed, epoch=later)
        images = apply(images, draws)
        if mix is not None and mix.box is not None:
            images = pasted(images[own], images[other], mix.box)
    if mix is None or mix.box is not None:
        return images
    return Pairs(images=images, own=own, other=other, lam=mix.lam)
