"""How a stage changes the weights: parameter groups, the rate's course, the moving average."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csasn.learning.trainee import BRANCHES, Trainee

NECK_RATE_FACTOR = 10  # everything above the branches learns this much faster than they do in fine-tuning


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage's name ("frozen" or "finetune"), length in epochs and peak rate."""

    name: str
    n_epochs: int
    learning_rate: float


def parameter_groups(trainee: Trainee, stage: Stage, weight_decay: float) -> list[dict[str, object]]:
    """AdamW groups: matrices decay, vectors (biases, norms, task weights) do not; branches only in fine-tuning."""
    finetune = stage.name == "finetune"
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in trainee.named_parameters():
        in_branch = name.startswith(BRANCHES)
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


def training_mode(trainee: Trainee, stage: Stage) -> None:
    """Training mode, but the branches keep their BatchNorm statistics: few patients would spoil them."""
    trainee.train()
    for branch in trainee.network.branches.values():
        branch.train(stage.name == "finetune")
        for module in branch.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Share of the peak rate: linear from 0 over the warm-up, then half a cosine down to 0."""
    n_warmup = max(1, round(n_steps * warmup_fraction))
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))))


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
