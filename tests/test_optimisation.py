"""The schedule and the groups by hand."""

import math

import pytest

from csasn.learning.optimisation import Stage, parameter_groups, rate_factor
from small_training import FROZEN, trainee


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
    module = trainee()
    groups = parameter_groups(module, FROZEN, 0.05)
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    for name, parameter in module.named_parameters():
        in_branch = name.startswith("network.branches.")
        assert (id(parameter) in grouped) == parameter.requires_grad == (not in_branch), name
    assert {group["lr"] for group in groups} == {FROZEN.learning_rate}


def test_finetuning_groups_give_the_neck_ten_times_the_rate_and_spare_vectors() -> None:
    module = trainee()
    parameter_groups(module, FROZEN, 0.05)
    groups = parameter_groups(module, Stage(name="finetune", n_epochs=1, learning_rate=1e-5), 0.05)
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        group = of[id(parameter)]
        rate = 1e-5 if name.startswith("network.branches.") else 1e-4
        assert group["lr"] == pytest.approx(rate), name
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert of[id(module.loss.task_weights.log_variance)]["weight_decay"] == 0
