"""Task weights over a few epochs and steps by hand."""

import math

import pytest
import torch

from csasn.config import LossSettings
from csasn.learning.objective.task_weights import DynamicAverage, GradNorm, build_task_weights


def told(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_dwa_by_hand() -> None:
    """Mean losses (4, 2), then (2, 2): paces 1/2 and 1, weights 2 exp(r / 2) / sum."""
    module = build_task_weights(["a", "b"], LossSettings(tasks="dwa"))
    assert module(told(a=3.0, b=2.0)).item() == 5
    assert module(told(a=5.0, b=2.0)).item() == 7
    module.end_epoch()
    assert module(told(a=2.0, b=2.0)).item() == 4
    module.end_epoch()
    exponents = [math.exp(0.25), math.exp(0.5)]
    expected = [2 * each / sum(exponents) for each in exponents]
    assert module.weights().tolist() == pytest.approx(expected)
    assert module(told(a=1.0, b=3.0)).item() == pytest.approx(expected[0] + 3 * expected[1])


def test_dwa_reads_without_counting_and_bears_an_absent_task() -> None:
    module = DynamicAverage(["a", "b"])
    module.eval()(told(a=3.0, b=2.0))
    assert module.n.tolist() == [0, 0]
    module.train()
    for _ in range(3):
        module(told(a=3.0))
        module.end_epoch()
    assert module.weights().tolist() == pytest.approx([1, 1])


def test_dwa_travels_with_the_checkpoint_in_the_middle_of_an_epoch() -> None:
    module, again = DynamicAverage(["a", "b"]), DynamicAverage(["a", "b"])
    module(told(a=4.0, b=1.0))
    module.end_epoch()
    module(told(a=3.0, b=1.0))
    again.load_state_dict(module.state_dict())
    for each in (module, again):
        each(told(a=1.0, b=2.0))
        each.end_epoch()
    assert torch.equal(module.weights(), again.weights())
    assert module.weights()[0] < module.weights()[1]


def losses_of(shared: torch.nn.Parameter, *, a: float, b: float) -> dict[str, torch.Tensor]:
    """L_a = a |W|^2 / 2 + 1 and L_b = b (W_1 + W_2): gradients a W and (b, b)."""
    return {"a": a * shared.square().sum() / 2 + 1, "b": b * shared.sum()}


def test_gradnorm_first_step_by_hand() -> None:
    """At the first loss every pace is one, so each norm is pulled to the mean: |W| = 5, |grad b| = sqrt(2)."""
    shared = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    module = GradNorm(["a", "b"], alpha=1.5)
    losses = losses_of(shared, a=1.0, b=1.0)
    norms = [5.0, math.sqrt(2)]
    mean = sum(norms) / 2
    total = module(losses, [shared])
    expected = 13.5 + 7.0 + abs(norms[0] - mean) + abs(norms[1] - mean)
    assert total.item() == pytest.approx(expected)
    total.backward()
    assert module.weight.grad.tolist() == pytest.approx([norms[0], -norms[1]])  # sign(G - target) * norm
    assert shared.grad.tolist() == pytest.approx([3 + 1, 4 + 1])  # of the weighted sum alone


def test_gradnorm_second_step_by_hand() -> None:
    """Loss a fell to 3.5/13.5 and b to 1/7: the task that fell less is given the larger norm."""
    shared = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    module = GradNorm(["a", "b"], alpha=1.5)
    module(losses_of(shared, a=1.0, b=1.0), [shared])
    with torch.no_grad():
        module.weight.copy_(torch.tensor([3.0, 1.0]))  # made to sum to two: 1.5 and 0.5
    losses = losses_of(shared, a=0.2, b=1 / 7)
    total = module(losses, [shared])
    weights, norms = [1.5, 0.5], [1.5 * 0.2 * 5, 0.5 / 7 * math.sqrt(2)]
    pace = [3.5 / 13.5, 1 / 7]
    relative = [each / (sum(pace) / 2) for each in pace]
    targets = [sum(norms) / 2 * each**1.5 for each in relative]
    expected = weights[0] * 3.5 + weights[1] * 1.0 + sum(abs(n - t) for n, t in zip(norms, targets, strict=True))
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert module.weights().tolist() == pytest.approx(weights)


def test_gradnorm_evens_gradients_out() -> None:
    """Two tasks of very different scale and equal pace: the norms meet."""
    torch.manual_seed(0)
    shared = torch.nn.Parameter(torch.tensor([0.6, 0.8]))
    module = GradNorm(["a", "b"], alpha=0.0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        module(losses_of(shared, a=1.0, b=0.2), [shared]).backward()
        optimizer.step()
    weights = module.weights()
    assert weights.sum().item() == pytest.approx(2)
    assert (weights[0] / (weights[1] * 0.2 * math.sqrt(2))).item() == pytest.approx(1, abs=0.15)


def test_gradnorm_without_gradients_is_the_weighted_sum() -> None:
    module = GradNorm(["a", "b"], alpha=1.5).eval()
    assert module(told(a=2.0, b=3.0)).item() == 5


def test_gradnorm_with_one_task_keeps_weight_one() -> None:
    shared = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    module = GradNorm(["a"], alpha=1.5)
    total = module({"a": shared.square().sum()}, [shared])
    assert total.item() == pytest.approx(25)
    assert module.weights().tolist() == [1]
