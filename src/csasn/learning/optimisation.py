"""How a stage changes the weights: parameter groups, the rate's course, the moving average."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csasn.config import FitSettings
from csasn.learning.fsdp import is_sharded
from csasn.learning.module import BRANCHES, TrainingModule

ABOVE = -1  # depth of everything above the branches
ADVERSARY = "loss.adversary."  # prefix of the site head's parameters
TASK_WEIGHTS = "loss.task_weights."  # prefix of the learned task weights
# Peak rate of the learned task weights, in every stage. AdamW's steps are about as long as the rate: at the network's
# 1e-3, let alone in fine-tuning, a weight would need thousands of steps to get where its loss wants it.
TASK_RATE = 1e-2
ADVERSARY_RATE_FACTOR = 10  # the site head learns this much faster than the feature that evades it
NECK_RATE_FACTOR = 10  # everything above the branches learns this much faster than they do in fine-tuning


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage's name ("frozen" or "finetune"), length in epochs and peak rate."""

    name: str
    n_epochs: int
    learning_rate: float


def parameter_groups(module: TrainingModule, stage: Stage, settings: FitSettings) -> list[dict[str, object]]:
    """AdamW groups: matrices decay, vectors (biases, norms, task weights) do not; branches only in fine-tuning.

    In fine-tuning everything above the branches takes ten times the stage's rate, a branch's last block the rate
    itself, and every block further down `finetune.layer_decay` times that of the one above it. `depth` counts the
    blocks above a group's; it is None above the branches. The site head learns faster, and has a penalty of its own;
    learned task weights have a rate of their own.
    """
    groups: dict[tuple[int, bool, str, bool], list[nn.Parameter]] = {}
    depths = _depths(module)
    n_blocks = settings.finetune.blocks or max(depths.values(), default=0) + 1
    for name, parameter in module.named_parameters():
        depth = depths.get(name, ABOVE)
        parameter.requires_grad_(depth < n_blocks if stage.name == "finetune" else depth == ABOVE)
        if parameter.requires_grad:
            part = next((each for each in (ADVERSARY, TASK_WEIGHTS) if name.startswith(each)), "")
            kind = (depth, parameter.ndim > 1, part, is_sharded(parameter))
            groups.setdefault(kind, []).append(parameter)
    rate = stage.learning_rate
    above = rate * (NECK_RATE_FACTOR if stage.name == "finetune" else 1)
    rates = {"": above, ADVERSARY: above * ADVERSARY_RATE_FACTOR, TASK_WEIGHTS: TASK_RATE}
    return [
        {
            "params": parameters,
            "lr": rates[part] if depth == ABOVE else rate * settings.finetune.layer_decay**depth,
            "weight_decay": settings.weight_decay if decays and part != ADVERSARY else 0.0,
            "depth": None if depth == ABOVE else depth,
        }
        for (depth, decays, part, _), parameters in sorted(groups.items(), key=lambda pair: pair[0])
    ]


def _depths(module: TrainingModule) -> dict[str, int]:
    """How many blocks of its branch lie above each branch parameter."""
    branches = module.network.branches.items()
    return {
        f"{BRANCHES}{kind}.{name}": depth
        for kind, branch in branches
        for name, depth in branch.depths().items()  # type: ignore[operator]
    }


def rate_schedule(
    optimizer: torch.optim.Optimizer, settings: FitSettings, *, n_steps: int, n_steps_an_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The rate's course of every group: warm-up and cosine; a block that has not joined yet has rate 0.

    Under gradual unfreezing the block at depth d joins after d * `finetune.unfreeze_epochs` epochs. It has gradients
    all along, so that every process of a parallel training sees the same graph.
    """

    def stage_run(depth: int | None) -> Callable[[int], float]:
        joins = (depth or 0) * settings.finetune.unfreeze_epochs * n_steps_an_epoch
        return lambda step: rate_factor(step, n_steps, settings.warmup_fraction) if step >= joins else 0.0

    stage_runs = [stage_run(group["depth"]) for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, stage_runs)


def training_mode(module: TrainingModule, stage: Stage) -> None:
    """Training mode, but the branches keep their BatchNorm statistics: few patients would spoil them."""
    module.train()
    for branch in module.network.branches.values():
        branch.train(stage.name == "finetune")
        for layer in branch.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Share of the peak rate: linear from 0 over the warm-up, then half a cosine down to 0."""
    n_warmup = max(1, round(n_steps * warmup_fraction))
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))))


class MovingAverage:
    """The moving average of a module's parameters and buffers, by `moving_average`; after the first step a copy."""

    def __init__(self, learner: nn.Module, decay: float) -> None:
        self.state = copied(learner)
        self.n_steps = 0
        self._blend = moving_average(decay)

    @torch.no_grad()
    def update(self, learner: nn.Module) -> None:
        """Follow one step of training."""
        kept, current = list(self.state.values()), list(learner.state_dict().values())
        if self.n_steps == 0:
            for mine, new in zip(kept, current, strict=True):
                mine.copy_(new)
        else:
            self._blend(kept, current, self.n_steps)
        self.n_steps += 1


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A module's state in memory of its own."""
    return {name: each.detach().clone() for name, each in module.state_dict().items()}


def moving_average(decay: float) -> Callable[..., None]:
    """Average <- d average + (1 - d) current after step t, with d = min(decay, (1 + t) / (10 + t)).

    The rising memory (as in TensorFlow's ExponentialMovingAverage) keeps a short training from being averaged with
    the untrained weights that it began with.
    """

    @torch.no_grad()
    def blend(averaged: list[Tensor], current: list[Tensor], n_steps: Tensor | int) -> None:
        d = min(decay, (1 + int(n_steps)) / (10 + int(n_steps)))
        for kept, new in zip(averaged, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new.to(kept), 1 - d)
            else:
                kept.copy_(new)  # BatchNorm's counter of batches

    return blend
