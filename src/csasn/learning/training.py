"""One stage of training: AdamW, linear warm-up and cosine, early stopping on the tuning partition."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from csasn.config import Configuration
from csasn.errors import BadInputError, DivergedError, MemoryShortageError
from csasn.learning.checkpointing import Keeper
from csasn.learning.epochs import Planned, labels_of, look_at, plan_epoch
from csasn.learning.fsdp import average_whole_gradients, clip_mixed
from csasn.learning.module import Trainee
from csasn.learning.monitoring.timing import Phases
from csasn.learning.optimisation import MovingAverage, Stage, copied, parameter_groups, rate_schedule, training_mode
from csasn.learning.rows import FoldRows
from csasn.learning.scoring import Eyes, log_probabilities, tuning_auroc, tuning_loss
from csasn.learning.state import BEFORE, HistoryRow, Learning
from csasn.network.distributed import n_processes, process_number, total

Follow = Callable[[Learning, int, float], object]  # the stage so far, its planned steps, the last step's loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One stage of one trainee: who learns, from which rows, how, and on what device."""

    fabric: Fabric
    trainee: Trainee
    eyes: Eyes
    rows: FoldRows
    stage: Stage
    configuration: Configuration
    phases: Phases = field(default_factory=Phases)

    @property
    def learner(self) -> nn.Module:
        """The part of the trainee that the stage changes."""
        return self.trainee.network if self.stage.name == "finetune" else self.trainee.network.neck

    @property
    def in_parts(self) -> bool:
        """Whether processes keep parts of the network."""
        return isinstance(self.fabric.strategy, ModelParallelStrategy)

    def plan(self, epoch: int) -> list[Planned]:
        """The batches of an epoch."""
        settings = self.configuration.fit
        if self.stage.name == "frozen":
            blending = {"mixup": settings.feature_mixup}
        else:
            blending = {"mixup": settings.finetune_mixup, "cutmix": settings.finetune_cutmix}
        share = self.eyes.cohort.shares(self.rows.train, settings.sampling)
        return plan_epoch(self.rows, share, epoch, self.configuration, n_views=self.eyes.source.n_views, **blending)

    @property
    def n_steps(self) -> int:
        """Planned steps: every epoch has as many batches as the first."""
        return self.stage.n_epochs * len(self.plan(0))

    def reseed(self, epoch: int, number: int) -> None:
        """Where processes train together, fix this one's dropout in this step: each its own, whatever ran before."""
        if n_processes() > 1:
            at = [self.configuration.fit.seed, self.rows.fold, self.stage.name == "finetune", epoch, number]
            torch.manual_seed(int(np.random.SeedSequence([*at, process_number()]).generate_state(1)[0]))

    def at(self, epoch: int, where: str) -> str:
        """Where something happened, in words."""
        return f"fold {self.rows.fold}, stage {self.stage.name}, epoch {epoch}, {where}"


def train_stage(course: Course, *, keeper: Keeper | None = None, follow: Follow | None = None) -> list[HistoryRow]:
    """Train in place, from where the keeper's saved state is; one history row an epoch.

    What is evaluated and kept is the exponential moving average of the weights (Polyak and Juditsky 1992), at the
    epoch with the lowest tuning loss: with few tuning patients single epochs are noise. Fine-tuning that never gets
    below the tuning loss of the frozen stage leaves the network as that stage left it.

    Raises DivergedError, naming fold, epoch and batch, when a loss is not finite, and MemoryShortageError; the state
    at that point is not saved. Raises what the keeper raises: StoppedError, StorageError, MismatchError.
    """
    patience = course.configuration.fit.patience_epochs
    plan, n_steps = course.plan(0), course.n_steps
    n_batches = len(plan)
    if (smallest := min(len(batch.rows) for batch in plan)) < n_processes():
        raise BadInputError(
            f"Every batch must have a row for each process; fold {course.rows.fold} has one of {smallest}, and "
            f"there are {n_processes()} processes. Use fewer devices, or another --fit.batch-size in a new run."
        )
    learning, module, optimizer = _begin(course, n_steps, n_batches)
    if keeper is not None and keeper.restore(learning):
        plan = course.plan(learning.step // n_batches)
    elif course.stage.name == "finetune":  # what the frozen stage reached stays, unless fine-tuning betters it
        _, learning.best_loss = _read_tuning(course, course.at(0, "tuning before it"))
        learning.best_epoch = BEFORE
    while not learning.ended(patience):
        epoch, number = divmod(learning.step, n_batches)
        if number == 0:
            plan = course.plan(epoch)
            training_mode(course.trainee, course.stage)
        started = time.perf_counter()
        course.trainee.loss.progress.fill_(learning.step / n_steps)
        loss = _take_step(course, module, optimizer, plan[number], epoch, number)
        learning.schedule.step()
        with course.phases("average"):
            learning.average.update(course.learner)
        learning.loss_sum += loss * len(plan[number].rows)
        learning.seconds += time.perf_counter() - started
        learning.step += 1
        if number + 1 == n_batches:
            _finish_epoch(course, learning, epoch)
        if keeper is not None:
            keeper.after_step(learning, plan[number].rows)
        if follow is not None:
            follow(learning, n_steps, loss)
    course.learner.load_state_dict(learning.best)
    return learning.history


def _begin(course: Course, n_steps: int, n_batches: int) -> tuple[Learning, _FabricModule, torch.optim.Optimizer]:
    """The stage before its first step, and the trainee and optimiser as Fabric sets them up."""
    settings, stage = course.configuration.fit, course.stage
    parameter_groups(course.trainee, stage, settings)  # says what is trained, which the strategy has to know
    course.trainee.to(course.fabric.device)  # where its branches are already: Fabric warns of a network in two places
    module = course.fabric.setup_module(course.trainee)
    groups = parameter_groups(course.trainee, stage, settings)  # of the parameters as the strategy has laid them out
    plain = torch.optim.AdamW(groups, lr=stage.learning_rate, fused=True)
    schedule = rate_schedule(plain, settings, n_steps=n_steps, n_steps_an_epoch=n_batches)
    optimizer: torch.optim.Optimizer = course.fabric.setup_optimizers(plain)  # type: ignore[assignment]
    average = MovingAverage(course.learner, settings.ema_decay)
    training_mode(course.trainee, stage)
    learning = Learning(
        stage=stage,
        trainee=course.trainee,
        learner=course.learner,
        optimizer=plain,
        schedule=schedule,
        average=average,
        device=course.fabric.device,
        best=copied(course.learner),
    )
    return learning, module, optimizer


def _take_step(
    course: Course, module: _FabricModule, optimizer: torch.optim.Optimizer, batch: Planned, epoch: int, number: int
) -> float:
    """One batch forward, backward and into the weights; its loss."""
    phases, where = course.phases, course.at(epoch, f"batch {number}")
    course.reseed(epoch, number)
    with _memory_shortage_named(where):
        optimizer.zero_grad()
        of_batch = _gradients(course, module, batch, epoch, where)
        with phases("optimiser"):
            if course.in_parts:
                average_whole_gradients(course.trainee.parameters())
            clip_norm = course.configuration.fit.finetune_clip_norm
            if course.stage.name == "finetune" and clip_norm:
                norm = _clip(course, module, optimizer, clip_norm)
                if norm is not None and not torch.isfinite(norm):
                    raise _diverged(f"{where} (its gradient)", float(norm), batch.rows.tolist())
            optimizer.step()
    course.trainee.loss.end_step()
    return of_batch


def _clip(course: Course, module: _FabricModule, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor | None:
    """Bound the norm of the whole gradient; the norm before."""
    if course.in_parts:
        return clip_mixed(course.trainee.parameters(), max_norm)
    return course.fabric.clip_gradients(module, optimizer, max_norm=max_norm, error_if_nonfinite=False)


def _gradients(course: Course, module: _FabricModule, batch: Planned, epoch: int, where: str) -> float:
    """Add up the gradients of a batch, in the parts that `fit.accumulate` asks for; the batch's loss.

    Every part's loss is divided by the whole batch's weights, so that the sum over the parts is the batch's loss, and
    processes exchange gradients once, with the last part.
    """
    cohort, device, phases, loss = course.eyes.cohort, course.fabric.device, course.phases, course.trainee.loss
    used = course.trainee.network.neck.used
    parts = batch.parts(course.configuration.fit.accumulate)
    whole = loss.of_step(labels_of(batch, cohort, device), n_parts=len(parts))
    of_batch = 0.0
    for number, part in enumerate(parts, start=1):
        given = look_at(batch, part, course.eyes, epoch, course.configuration, used=used, phases=phases)
        labels = labels_of(batch, cohort, device, part)
        with course.fabric.no_backward_sync(module, enabled=number < len(parts)):
            with phases("forward"):
                of_part: Tensor = module(given, labels, whole)
                of_batch += float(total(of_part.detach())) / n_processes()
            if not math.isfinite(of_batch):
                raise _diverged(where, of_batch, batch.rows.tolist())
            with phases("backward"):
                course.fabric.backward(of_part)
    return of_batch


def _finish_epoch(course: Course, learning: Learning, epoch: int) -> None:
    """Evaluate the averaged weights on the tuning rows, keep them if they are the best, write the epoch down."""
    rows = course.rows
    with _averaged(course.learner, learning.average):
        read, current = _read_tuning(course, course.at(epoch, "tuning"))
        learning.keep_if_best(current, epoch)
    learning.history.append(
        {
            "fold": rows.fold,
            "stage": course.stage.name,
            "epoch": epoch,
            "train_loss": learning.loss_sum / len(rows.train),
            "tuning_loss": current,
            "tuning_auroc": tuning_auroc(read, course.eyes.cohort, rows.tuning),
            "learning_rate": float(learning.schedule.get_last_lr()[0]),
            "images_per_s": len(rows.train) / learning.seconds,
            "weights": course.trainee.loss.course(),
        }
    )
    course.trainee.loss.end_epoch()
    learning.loss_sum = learning.seconds = 0.0


def _read_tuning(course: Course, where: str) -> tuple[Tensor, float]:
    """Log-probabilities of the tuning rows by the learner as it is now, and their loss."""
    tuning = course.rows.tuning
    with _memory_shortage_named(where):
        n_views = course.configuration.predict.n_views
        read = log_probabilities(course.trainee, course.eyes, tuning, n_views=n_views)
        loss = tuning_loss(read, course.eyes.cohort, tuning)
    if not math.isfinite(loss):
        raise _diverged(where, loss, [])
    return read, loss


@contextmanager
def _averaged(learner: nn.Module, average: MovingAverage) -> Iterator[None]:
    """The learner with the moving average of its weights inside the block, with its own again after it."""
    own = copied(learner)
    learner.load_state_dict(average.state)
    yield
    learner.load_state_dict(own)


def _diverged(where: str, loss: float, rows: list[int]) -> DivergedError:
    return DivergedError(
        f"The loss must stay finite; {where} gave {loss}. Nothing of it was saved. "
        "Lower --fit.frozen-learning-rate or --fit.finetune-learning-rate in a new run.",
        rows=rows,
    )


@contextmanager
def _memory_shortage_named(where: str) -> Iterator[None]:
    """Turn what torch and Python raise for want of memory into one error that says where and what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not short:
            raise
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MemoryShortageError(
            f"A training step must fit into memory; {where} did not ({told}). "
            "The last saved state is intact. Free memory and run the same command again, or take a smaller "
            "--fit.batch-size, --imaging.size-px or network in a new run."
        ) from error
