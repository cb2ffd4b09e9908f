"""One stage of training: AdamW, linear warm-up and cosine, early stopping on the tuning partition."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from csasn.config import Configuration
from csasn.errors import DivergedError
from csasn.imaging.dataset import as_images, batches, epoch_order
from csasn.imaging.transforms import apply, draw
from csasn.learning.features import Progress
from csasn.learning.trainee import (
    Eyes,
    FoldRows,
    Trainee,
    log_probabilities,
    tuning_auroc,
    tuning_loss,
)
from csasn.network.backbones import Features

NECK_RATE_FACTOR = 10  # everything above the branches learns this much faster than they do in fine-tuning
VIEW_STREAM = 2  # keeps the choice of views apart from other draws of the same seed and epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage's name ("frozen" or "finetune"), length in epochs and peak rate."""

    name: str
    n_epochs: int
    learning_rate: float


def train_stage(
    fabric: Fabric,
    trainee: Trainee,
    eyes: Eyes,
    rows: FoldRows,
    stage: Stage,
    configuration: Configuration,
    *,
    progress: Progress | None = None,
) -> list[dict[str, float | int | str | None]]:
    """Train in place and leave the weights of the epoch with the lowest tuning loss; one history row an epoch.

    Raises DivergedError, naming fold, epoch and batch, when a loss is not finite; the weights are then worthless
    and nothing is saved.
    """
    settings = configuration.fit
    optimizer = torch.optim.AdamW(parameter_groups(trainee, stage, settings.weight_decay), lr=stage.learning_rate)
    n_steps = stage.n_epochs * len(list(batches(rows.train, settings.batch_size)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, n_steps, settings.warmup_fraction)
    )
    module, optimizer = fabric.setup(trainee, optimizer)
    best_loss, best_epoch, best_state = math.inf, 0, copy.deepcopy(trainee.state_dict())
    history: list[dict[str, float | int | str | None]] = []
    for epoch in range(stage.n_epochs):
        started, total = time.perf_counter(), 0.0
        _training_mode(trainee, stage)
        for number, (given, index, malignant) in enumerate(epoch_batches(trainee, eyes, rows, epoch, configuration)):
            loss = module(given, index.to(fabric.device), malignant.to(fabric.device))
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"The training loss must stay finite; fold {rows.fold}, stage {stage.name}, epoch {epoch}, "
                    f"batch {number} gave {float(loss)}. Nothing of it was saved. "
                    "Lower --fit.frozen-learning-rate or --fit.finetune-learning-rate."
                )
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(index)
        seconds = time.perf_counter() - started
        read = log_probabilities(trainee, eyes, rows.tuning, flip_views=configuration.predict.flip_views)
        current = tuning_loss(read, eyes.cohort, rows.tuning)
        history.append(
            {
                "fold": rows.fold,
                "stage": stage.name,
                "epoch": epoch,
                "train_loss": total / len(rows.train),
                "tuning_loss": current,
                "tuning_auroc": tuning_auroc(read, eyes.cohort, rows.tuning),
                "learning_rate": float(schedule.get_last_lr()[0]),
                "images_per_s": len(rows.train) / seconds,
            }
        )
        if progress is not None:
            progress(epoch + 1, stage.n_epochs)
        if current < best_loss:
            best_loss, best_epoch, best_state = current, epoch, copy.deepcopy(trainee.state_dict())
        elif epoch - best_epoch >= settings.patience_epochs:
            break
    if progress is not None:
        progress(stage.n_epochs, stage.n_epochs)
    trainee.load_state_dict(best_state)
    return history


def epoch_batches(
    trainee: Trainee, eyes: Eyes, rows: FoldRows, epoch: int, configuration: Configuration
) -> Iterator[tuple[dict[str, Features] | Tensor, Tensor, Tensor]]:
    """What the trainee reads, class index and malignant of each training batch of an epoch, in a seeded order.

    From the cache each row shows one of its views, drawn anew every epoch; from pixels it is augmented afresh.
    """
    seed, cohort = configuration.fit.seed, eyes.cohort
    order = rows.train[epoch_order(len(rows.train), seed=seed, epoch=epoch)]
    stream = np.random.default_rng(np.random.SeedSequence([seed, epoch, VIEW_STREAM]))
    for chosen in batches(order, configuration.fit.batch_size):
        given: dict[str, Features] | Tensor
        if eyes.caches is None:
            given = _augmented(eyes, cohort.store_rows[chosen], epoch, configuration)
        else:
            views = stream.integers(eyes.source.n_views, size=len(chosen))
            given = eyes.look(chosen, views, trainee.network.neck.used)
        yield given, torch.from_numpy(cohort.class_index[chosen]), torch.from_numpy(cohort.malignant[chosen])


def _augmented(eyes: Eyes, store_rows: NDArray[np.int64], epoch: int, configuration: Configuration) -> Tensor:
    # Epochs beyond the cached views, so that fine-tuning shows changes that the frozen stage has not seen.
    draws = draw(configuration.augmentation, store_rows, seed=configuration.fit.seed, epoch=eyes.source.n_views + epoch)
    return apply(as_images(eyes.source.store.pixels[store_rows]), draws).to(eyes.device)


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Share of the peak rate: linear from 0 over the warm-up, then half a cosine down to 0."""
    n_warmup = max(1, round(n_steps * warmup_fraction))
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))))


def parameter_groups(trainee: Trainee, stage: Stage, weight_decay: float) -> list[dict[str, object]]:
    """AdamW groups: matrices decay, vectors (biases, norms, task weights) do not; branches only in fine-tuning."""
    finetune = stage.name == "finetune"
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in trainee.named_parameters():
        in_branch = name.startswith("network.branches.")
        parameter.requires_grad_(finetune or not in_branch)
        if parameter.requires_grad:
            groups.setdefault((in_branch, parameter.ndim > 1), []).append(parameter)
    factor = NECK_RATE_FACTOR if finetune else 1
    return [
        {
            "params": parameters,
            "lr": stage.learning_rate * (1 if in_branch else factor),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_branch, decays), parameters in sorted(groups.items())
    ]


def _training_mode(trainee: Trainee, stage: Stage) -> None:
    """Training mode, but the branches keep their BatchNorm statistics: few patients would spoil them."""
    trainee.train()
    for branch in trainee.network.branches.values():
        branch.train(stage.name == "finetune")
        for module in branch.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
