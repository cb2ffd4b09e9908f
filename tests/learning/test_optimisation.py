"""The schedule and the groups by hand."""

import math
import re

import pytest
import torch

from csasn.config import FinetuneSettings, FitSettings
from csasn.learning.optimisation import TASK_RATE, Stage, parameter_groups, rate_factor, rate_schedule
from tests.support.small_training import CONFIGURATION, FROZEN, fresh_module


def test_the_rate_rises_linearly_and_falls_by_half_a_cosine() -> None:
    found = [rate_factor(step, 10, 0.2) for step in range(11)]
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[6] == pytest.approx(0.5)
    assert found[4] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert found[10] == pytest.approx(0)
    assert sorted(found[2:], reverse=True) == found[2:]
    assert rate_factor(0, 10, 0.0) == 1
    assert [rate_factor(step, 4, 1.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_frozen_groups_leave_the_branches_out() -> None:
    module = fresh_module()
    groups = parameter_groups(module, FROZEN, CONFIGURATION.fit)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in module.named_parameters():
        in_branch = name.startswith("network.branches.")
        assert (id(parameter) in rates) == parameter.requires_grad == (not in_branch), name
        if not in_branch:
            assert rates[id(parameter)] == (TASK_RATE if "task_weights" in name else FROZEN.learning_rate), name


FINETUNE = Stage(name="finetune", n_epochs=4, learning_rate=1e-5)


def settings(**changes: object) -> FitSettings:
    fit = {name: changes.pop(name) for name in ("warmup_fraction",) if name in changes}
    return FitSettings(finetune=FinetuneSettings(**{"layer_decay": 0.5, **changes}), **fit)


def place(name: str) -> tuple[int | None, int]:
    """Depth below the top and number of blocks, read off the parameter's name: six stages, six blocks."""
    if not name.startswith("network.branches."):
        return None, 0
    if found := re.match(r"network\.branches\.\w+\.backbone\.blocks\.(\d+)\.", name):
        return 0, int(found[1])
    above = re.match(r"network\.branches\.\w+\.backbone\.(conv_head|bn2|norm\.)", name)
    return 0, 10**6 if above else -1


def test_finetuning_groups_follow_depth_and_spare_vectors() -> None:
    module = fresh_module()
    parameter_groups(module, FROZEN, settings())
    groups = parameter_groups(module, FINETUNE, settings())
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        group = of[id(parameter)]
        known, block = place(name)
        if "task_weights" in name:
            assert group["lr"] == TASK_RATE
        elif known is None:
            assert group["lr"] == pytest.approx(1e-4), name
        else:
            n_blocks = len(module.network.branches[name.split(".")[2]].backbone.blocks)
            depth = max(0, n_blocks - 1 - block)
            assert group["lr"] == pytest.approx(1e-5 * 0.5**depth), name
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert of[id(module.loss.task_weights.log_variance)]["weight_decay"] == 0


def test_only_the_last_blocks_are_trained() -> None:
    module = fresh_module()
    groups = parameter_groups(module, FINETUNE, settings(blocks=2))
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    for name, parameter in module.named_parameters():
        known, block = place(name)
        n_blocks = 0 if known is None else len(module.network.branches[name.split(".")[2]].backbone.blocks)
        trained = known is None or block >= n_blocks - 2
        assert (id(parameter) in grouped) == parameter.requires_grad == trained, name


def test_blocks_join_from_the_top() -> None:
    module = fresh_module()
    gradual = settings(unfreeze_epochs=1, warmup_fraction=0.0)
    groups = parameter_groups(module, FINETUNE, gradual)
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    schedule = rate_schedule(optimizer, gradual, n_steps=20, n_steps_an_epoch=5)
    for step in range(15):
        for group in optimizer.param_groups:
            asleep = group["depth"] is not None and step < 5 * group["depth"]
            expected = 0 if asleep else group["initial_lr"] * rate_factor(step, 20, 0.0)
            assert group["lr"] == pytest.approx(expected), (step, group["depth"])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("stage", [Stage(name="frozen", n_epochs=30, learning_rate=1e-3), FINETUNE], ids=str)
def test_learned_task_weights_get_to_their_optimum_within_a_stage(stage: Stage) -> None:
    """Of sum exp(-s) L + s / 2 with losses that stay, it is exp(-s) = 1 / (2 L); 300 steps, busi has more."""
    module, losses = fresh_module(), {"malignancy": torch.tensor(0.25), "malignant": torch.tensor(1.25)}
    optimizer = torch.optim.AdamW(parameter_groups(module, stage, settings()), lr=stage.learning_rate)
    schedule = rate_schedule(optimizer, settings(), n_steps=300, n_steps_an_epoch=10)
    for _ in range(300):
        optimizer.zero_grad()
        module.loss.task_weights(losses).backward()
        optimizer.step()
        schedule.step()
    assert module.loss.task_weights.weights().tolist() == pytest.approx([2.0, 0.4], rel=0.15)
