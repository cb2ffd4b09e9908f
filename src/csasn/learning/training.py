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
from csasn.learning.checkpointing import TrainingCheckpointer
from csasn.learning.early_stopping import BEFORE, EarlyStopping
from csasn.learning.epochs import Planned, batch_inputs, labels_of, plan_epoch
from csasn.learning.fsdp import average_whole_gradients, clip_mixed
from csasn.learning.module import TrainingModule
from csasn.learning.monitoring.timing import Phases
from csasn.learning.optimisation import MovingAverage, Stage, copied, parameter_groups, rate_schedule, training_mode
from csasn.learning.rows import FoldRows
from csasn.learning.scoring import InputSource, log_probabilities, tuning_auroc, tuning_loss
from csasn.learning.state import HistoryRow, TrainingState
from csasn.network.distributed import all_reduce_sum, rank, world_size

OnStep = Callable[[TrainingState, int, float], object]  # the stage so far, its planned steps, the last step's loss


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRun:
    """One stage of one module: who learns, from which rows, how, and on what device."""

    fabric: Fabric
    module: TrainingModule
    inputs: InputSource
    rows: FoldRows
    stage: Stage
    configuration: Configuration
    phases: Phases = field(default_factory=Phases)

    @property
    def learner(self) -> nn.Module:
        """The part of the module that the stage changes."""
        return self.module.network if self.stage.name == "finetune" else self.module.network.head

    @property
    def in_parts(self) -> bool:
        """Whether processes keep parts of the network."""
        return isinstance(self.fabric.strategy, ModelParallelStrategy)

    def plan(self, epoch: int) -> list[Planned]:
        """The batches of an epoch."""
        settings = self.configuration.fit
        if self.stage.name == "frozen":
            blending = {"mixup": settings.frozen.mixup}
        else:
            blending = {"mixup": settings.finetune.mixup, "cutmix": settings.finetune.cutmix}
        share = self.inputs.cohort.shares(self.rows.train, settings.sampling)
        return plan_epoch(self.rows, share, epoch, self.configuration, n_views=self.inputs.source.n_views, **blending)

    @property
    def n_steps(self) -> int:
        """Planned steps: every epoch has as many batches as the first."""
        return self.stage.n_epochs * len(self.plan(0))

    def reseed(self, epoch: int, number: int) -> None:
        """Where processes train together, fix this one's dropout in this step: each its own, whatever ran before."""
        if world_size() > 1:
            at = [self.configuration.fit.seed, self.rows.fold, self.stage.name == "finetune", epoch, number]
            torch.manual_seed(int(np.random.SeedSequence([*at, rank()]).generate_state(1)[0]))

    def at(self, epoch: int, where: str) -> str:
        """Where something happened, in words."""
        return f"fold {self.rows.fold}, stage {self.stage.name}, epoch {epoch}, {where}"


def train_stage(
    stage_run: StageRun, *, checkpointer: TrainingCheckpointer | None = None, on_step: OnStep | None = None
) -> list[HistoryRow]:
    """Train in place, from where the checkpointer's saved state is; one history row an epoch.

    What is evaluated and kept is the exponential moving average of the weights (Polyak and Juditsky 1992), at the
    epoch with the lowest tuning loss: with few tuning patients single epochs are noise. Fine-tuning that never gets
    below the tuning loss of the frozen stage leaves the network as that stage left it.

    Raises DivergedError, naming fold, epoch and batch, when a loss is not finite, and MemoryShortageError; the state
    at that point is not saved. Raises what the checkpointer raises: StoppedError, StorageError, MismatchError.
    """
    patience = stage_run.configuration.fit.patience_epochs
    plan, n_steps = stage_run.plan(0), stage_run.n_steps
    n_batches = len(plan)
    if (smallest := min(len(batch.rows) for batch in plan)) < world_size():
        raise BadInputError(
            f"Every batch must have a row for each process; fold {stage_run.rows.fold} has one of {smallest}, and "
            f"there are {world_size()} processes. Use fewer devices, or another --fit.batch-size in a new run."
        )
    state, fabric_module, optimizer = _begin(stage_run, n_steps, n_batches)
    if checkpointer is not None and checkpointer.restore(state):
        plan = stage_run.plan(state.step // n_batches)
    elif stage_run.stage.name == "finetune":  # what the frozen stage reached stays, unless fine-tuning betters it
        _, state.best.loss = _read_tuning(stage_run, stage_run.at(0, "tuning before it"))
        state.best.epoch = BEFORE
    while not state.ended(patience):
        epoch, number = divmod(state.step, n_batches)
        if number == 0:
            plan = stage_run.plan(epoch)
            training_mode(stage_run.module, stage_run.stage)
        started = time.perf_counter()
        stage_run.module.loss.progress.fill_(state.step / n_steps)
        loss = _take_step(stage_run, fabric_module, optimizer, plan[number], epoch, number)
        state.schedule.step()
        with stage_run.phases("average"):
            state.average.update(stage_run.learner)
        state.loss_sum += loss * len(plan[number].rows)
        state.seconds += time.perf_counter() - started
        state.step += 1
        if number + 1 == n_batches:
            _finish_epoch(stage_run, state, epoch)
        if checkpointer is not None:
            checkpointer.after_step(state, plan[number].rows)
        if on_step is not None:
            on_step(state, n_steps, loss)
    stage_run.learner.load_state_dict(state.best.weights)
    return state.history


def _begin(
    stage_run: StageRun, n_steps: int, n_batches: int
) -> tuple[TrainingState, _FabricModule, torch.optim.Optimizer]:
    """The stage before its first step, and the module and optimiser as Fabric sets them up."""
    settings, stage = stage_run.configuration.fit, stage_run.stage
    parameter_groups(stage_run.module, stage, settings)  # says what is trained, which the strategy has to know
    stage_run.module.to(
        stage_run.fabric.device
    )  # where its branches are already: Fabric warns of a network in two places
    fabric_module = stage_run.fabric.setup_module(stage_run.module)
    groups = parameter_groups(stage_run.module, stage, settings)  # of the parameters as the strategy has laid them out
    plain = torch.optim.AdamW(groups, lr=stage.learning_rate, fused=True)
    schedule = rate_schedule(plain, settings, n_steps=n_steps, n_steps_an_epoch=n_batches)
    optimizer: torch.optim.Optimizer = stage_run.fabric.setup_optimizers(plain)  # type: ignore[assignment]
    average = MovingAverage(stage_run.learner, settings.ema_decay)
    training_mode(stage_run.module, stage)
    state = TrainingState(
        stage=stage,
        module=stage_run.module,
        learner=stage_run.learner,
        optimizer=plain,
        schedule=schedule,
        average=average,
        device=stage_run.fabric.device,
        best=EarlyStopping(weights=copied(stage_run.learner)),
    )
    return state, fabric_module, optimizer


def _take_step(
    stage_run: StageRun,
    fabric_module: _FabricModule,
    optimizer: torch.optim.Optimizer,
    batch: Planned,
    epoch: int,
    number: int,
) -> float:
    """One batch forward, backward and into the weights; its loss."""
    phases, where = stage_run.phases, stage_run.at(epoch, f"batch {number}")
    stage_run.reseed(epoch, number)
    with _memory_shortage_named(where):
        optimizer.zero_grad()
        of_batch = _gradients(stage_run, fabric_module, batch, epoch, where)
        with phases("optimiser"):
            if stage_run.in_parts:
                average_whole_gradients(stage_run.module.parameters())
            clip_norm = stage_run.configuration.fit.finetune.clip_norm
            if stage_run.stage.name == "finetune" and clip_norm:
                norm = _clip(stage_run, fabric_module, optimizer, clip_norm)
                if norm is not None and not torch.isfinite(norm):
                    raise _diverged(f"{where} (its gradient)", float(norm), batch.rows.tolist())
            optimizer.step()
    stage_run.module.loss.end_step()
    return of_batch


def _clip(
    stage_run: StageRun, fabric_module: _FabricModule, optimizer: torch.optim.Optimizer, max_norm: float
) -> Tensor | None:
    """Bound the norm of the whole gradient; the norm before."""
    if stage_run.in_parts:
        return clip_mixed(stage_run.module.parameters(), max_norm)
    return stage_run.fabric.clip_gradients(fabric_module, optimizer, max_norm=max_norm, error_if_nonfinite=False)


def _gradients(stage_run: StageRun, fabric_module: _FabricModule, batch: Planned, epoch: int, where: str) -> float:
    """Add up the gradients of a batch, in the parts that `fit.accumulate` asks for; the batch's loss.

    Every part's loss is divided by the whole batch's weights, so that the sum over the parts is the batch's loss, and
    processes exchange gradients once, with the last part.
    """
    cohort, device, phases, loss = (
        stage_run.inputs.cohort,
        stage_run.fabric.device,
        stage_run.phases,
        stage_run.module.loss,
    )
    used = stage_run.module.network.head.used
    parts = batch.parts(stage_run.configuration.fit.accumulate)
    whole = loss.of_step(labels_of(batch, cohort, device), n_parts=len(parts))
    of_batch = 0.0
    for number, part in enumerate(parts, start=1):
        given = batch_inputs(batch, part, stage_run.inputs, epoch, stage_run.configuration, used=used, phases=phases)
        labels = labels_of(batch, cohort, device, part)
        with stage_run.fabric.no_backward_sync(fabric_module, enabled=number < len(parts)):
            with phases("forward"):
                of_part: Tensor = fabric_module(given, labels, whole)
                of_batch += float(all_reduce_sum(of_part.detach())) / world_size()
            if not math.isfinite(of_batch):
                raise _diverged(where, of_batch, batch.rows.tolist())
            with phases("backward"):
                stage_run.fabric.backward(of_part)
    return of_batch


def _finish_epoch(stage_run: StageRun, state: TrainingState, epoch: int) -> None:
    """Evaluate the averaged weights on the tuning rows, keep them if they are the best, write the epoch down."""
    rows = stage_run.rows
    with _averaged(stage_run.learner, state.average):
        read, current = _read_tuning(stage_run, stage_run.at(epoch, "tuning"))
        state.best.keep_if_best(stage_run.learner, current, epoch)
    state.history.append(
        {
            "fold": rows.fold,
            "stage": stage_run.stage.name,
            "epoch": epoch,
            "train_loss": state.loss_sum / len(rows.train),
            "tuning_loss": current,
            "tuning_auroc": tuning_auroc(read, stage_run.inputs.cohort, rows.tuning),
            "learning_rate": float(state.schedule.get_last_lr()[0]),
            "images_per_s": len(rows.train) / state.seconds,
            "weights": stage_run.module.loss.course(),
        }
    )
    stage_run.module.loss.end_epoch()
    state.loss_sum = state.seconds = 0.0


def _read_tuning(stage_run: StageRun, where: str) -> tuple[Tensor, float]:
    """Log-probabilities of the tuning rows by the learner as it is now, and their loss."""
    tuning = stage_run.rows.tuning
    with _memory_shortage_named(where):
        n_views = stage_run.configuration.predict.n_views
        read = log_probabilities(stage_run.module.network, stage_run.inputs, tuning, n_views=n_views)
        loss = tuning_loss(read, stage_run.inputs.cohort, tuning)
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
        "Lower --fit.frozen.learning-rate or --fit.finetune.learning-rate in a new run.",
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
