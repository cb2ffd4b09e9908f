"""One stage of training: AdamW, linear warm-up and cosine, early stopping on the tuning partition."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from csasn.config import Configuration
from csasn.errors import DivergedError
from csasn.imaging.dataset import as_images, batches, epoch_order
from csasn.imaging.transforms import apply, draw
from csasn.learning.features import Progress
from csasn.learning.optimisation import Stage, moving_average, parameter_groups, rate_factor, training_mode
from csasn.learning.trainee import (
    Eyes,
    FoldRows,
    Mix,
    Trainee,
    log_probabilities,
    tuning_auroc,
    tuning_loss,
)
from csasn.network.backbones import Features

VIEW_STREAM, MIX_STREAM = 2, 3  # keep these draws apart from others of the same seed and epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One stage of one trainee: who learns, from which rows, how, and on what device."""

    fabric: Fabric
    trainee: Trainee
    eyes: Eyes
    rows: FoldRows
    stage: Stage
    configuration: Configuration

    @property
    def learner(self) -> nn.Module:
        """The part of the trainee that the stage changes."""
        return self.trainee.network if self.stage.name == "finetune" else self.trainee.network.neck

    def diverged(self, epoch: int, where: str, loss: float) -> DivergedError:
        """The error that names where a loss stopped being finite."""
        return DivergedError(
            f"The loss must stay finite; fold {self.rows.fold}, stage {self.stage.name}, epoch {epoch}, {where} gave "
            f"{loss}. Nothing of it was saved. Lower --fit.frozen-learning-rate or --fit.finetune-learning-rate."
        )


def train_stage(course: Course, *, progress: Progress | None = None) -> list[dict[str, float | int | str | None]]:
    """Train in place; one history row an epoch.

    What is evaluated and kept is the exponential moving average of the weights (Polyak and Juditsky 1992), at the
    epoch with the lowest tuning loss: with few tuning patients single epochs are noise.

    Raises DivergedError, naming fold, epoch and batch, when a loss is not finite; the weights are then worthless
    and nothing is saved.
    """
    settings, stage, rows = course.configuration.fit, course.stage, course.rows
    groups = parameter_groups(course.trainee, stage, settings.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate)
    n_steps = stage.n_epochs * len(list(batches(rows.train, settings.batch_size)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, n_steps, settings.warmup_fraction)
    )
    module, optimizer = course.fabric.setup(course.trainee, optimizer)
    average = AveragedModel(course.learner, multi_avg_fn=moving_average(settings.ema_decay), use_buffers=True)
    best_loss, best_epoch, best_state = math.inf, 0, copy.deepcopy(course.learner.state_dict())
    history: list[dict[str, float | int | str | None]] = []
    for epoch in range(stage.n_epochs):
        started = time.perf_counter()
        train_loss = _train_epoch(course, module, optimizer, schedule, average, epoch)
        seconds = time.perf_counter() - started
        with _averaged(course.learner, average):
            n_views = course.configuration.predict.n_views
            read = log_probabilities(course.trainee, course.eyes, rows.tuning, n_views=n_views)
            current = tuning_loss(read, course.eyes.cohort, rows.tuning)
            if not math.isfinite(current):
                raise course.diverged(epoch, "tuning", current)
            if current < best_loss:
                best_loss, best_epoch, best_state = current, epoch, copy.deepcopy(course.learner.state_dict())
        history.append(
            {
                "fold": rows.fold,
                "stage": stage.name,
                "epoch": epoch,
                "train_loss": train_loss,
                "tuning_loss": current,
                "tuning_auroc": tuning_auroc(read, course.eyes.cohort, rows.tuning),
                "learning_rate": float(schedule.get_last_lr()[0]),
                "images_per_s": len(rows.train) / seconds,
            }
        )
        ended = epoch - best_epoch >= settings.patience_epochs
        if progress is not None:
            progress(stage.n_epochs if ended else epoch + 1, stage.n_epochs)
        if ended:
            break
    course.learner.load_state_dict(best_state)
    return history


def _train_epoch(
    course: Course,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: AveragedModel,
    epoch: int,
) -> float:
    """One pass over the training rows; the mean loss an image."""
    settings, total = course.configuration.fit, 0.0
    device = course.fabric.device
    training_mode(course.trainee, course.stage)
    stream = np.random.default_rng(np.random.SeedSequence([settings.seed, epoch, MIX_STREAM]))
    seen = epoch_batches(course.trainee, course.eyes, course.rows, epoch, course.configuration)
    for number, (given, index, malignant) in enumerate(seen):
        mix = draw_mix(stream, len(index), settings.feature_mixup)
        loss = module(given, index.to(device), malignant.to(device), mix)
        if not torch.isfinite(loss):
            raise course.diverged(epoch, f"batch {number}", float(loss.detach()))
        optimizer.zero_grad()
        course.fabric.backward(loss)
        optimizer.step()
        schedule.step()
        average.update_parameters(course.learner)
        total += float(loss.detach()) * len(index)
    return total / len(course.rows.train)


def draw_mix(stream: np.random.Generator, n: int, beta: float) -> Mix | None:
    """Partner of each of n rows and their common share, drawn from Beta(beta, beta); None where mixup is off."""
    if beta == 0:
        return None
    return Mix(other=torch.from_numpy(stream.permutation(n)), share=float(stream.beta(beta, beta)))


@contextmanager
def _averaged(learner: nn.Module, average: AveragedModel) -> Iterator[None]:
    """The learner with the moving average of its weights inside the block, with its own again after it."""
    own = copy.deepcopy(learner.state_dict())
    learner.load_state_dict(average.module.state_dict())
    yield
    learner.load_state_dict(own)


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
