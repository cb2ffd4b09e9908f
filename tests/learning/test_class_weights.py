"""Class and task weights by hand."""

import math

import pytest
import torch

from csasn.config import LossSettings
from csasn.learning.objective.class_weights import ClassWeights
from csasn.learning.objective.task_weights import build_task_weights


def weights(n_images: list[int], **changes: object) -> ClassWeights:
    return ClassWeights(n_images, LossSettings(**changes))


def step(module: ClassWeights, probabilities: torch.Tensor, index: torch.Tensor) -> None:
    """One training step of one part, of rows with one label each."""
    module.observe(probabilities, index, torch.ones(len(index)))
    module.end_step()


def test_effective_number_by_hand() -> None:
    """(1 - b) / (1 - b^n) with b = 0.5 is 1/2 / (1/2) = 1 for n = 1, 1/2 / (7/8) = 4/7 for n = 3; mean 11/14."""
    found = weights([1, 3], classes="effective-number", effective_beta=0.5)()
    assert found.tolist() == pytest.approx([14 / 11, 8 / 11])


def test_effective_number_goes_from_equal_to_inverse_frequency() -> None:
    assert weights([10, 90], classes="effective-number", effective_beta=0.0)().tolist() == pytest.approx([1, 1])
    near_one = weights([10, 90], classes="effective-number", effective_beta=1 - 1e-9)().tolist()
    assert near_one == pytest.approx([1.8, 0.2], rel=1e-5)


def test_inverse_frequency_by_hand() -> None:
    """1/10 and 1/90 with mean one: 1.8 and 0.2."""
    assert weights([10, 90], classes="inverse-frequency")().tolist() == pytest.approx([1.8, 0.2])


def test_deferred_weights_begin_late() -> None:
    module = weights([1, 3], classes="ldam-drw", effective_beta=0.5)
    assert module(0.79).tolist() == [1, 1]
    assert module(0.8).tolist() == pytest.approx([14 / 11, 8 / 11])


@pytest.mark.parametrize("classes", ["focal", "logit-adjustment", "balanced-softmax"])
def test_what_changes_logits_changes_no_weight(classes: str) -> None:
    assert weights([10, 90], classes=classes)().tolist() == [1, 1]


def test_none_is_one_for_every_class() -> None:
    assert weights([10, 90, 0], classes="none")().tolist() == [1, 1, 1]


def test_an_absent_class_has_weight_one_and_no_say() -> None:
    with_absent = weights([1, 0, 3], classes="effective-number", effective_beta=0.5)().tolist()
    assert with_absent == pytest.approx([14 / 11, 1, 8 / 11])


def test_dynamic_weights_follow_difficulty_by_hand() -> None:
    module = weights([5, 5, 5], classes="dynamic", difficulty_momentum=0.5)
    assert module().tolist() == pytest.approx([1, 1, 1])
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.5, 0.1, 0.4], [0.1, 0.8, 0.1]])
    step(module, probabilities, torch.tensor([0, 0, 2, -1]))
    # class 0 missed (0.2 + 0.4) / 2 = 0.3 -> 0.65; class 1 unseen -> 1; class 2 missed 0.6 -> 0.8; mean 2.45 / 3
    assert module.difficulty.tolist() == pytest.approx([0.65, 1.0, 0.8])
    assert module().tolist() == pytest.approx([0.65 * 3 / 2.45, 3 / 2.45, 0.8 * 3 / 2.45])
    assert module().mean().item() == pytest.approx(1)


def test_the_effective_number_stands_below_the_difficulty() -> None:
    module = weights([1, 3], classes="dynamic", effective_beta=0.5, difficulty_momentum=0.0)
    step(module, torch.tensor([[0.5, 0.5], [0.75, 0.25]]), torch.tensor([0, 1]))
    raw = [14 / 11 * 0.5, 8 / 11 * 0.75]
    assert module().tolist() == pytest.approx([each / (sum(raw) / 2) for each in raw])


def test_parts_of_a_step_and_shares_of_a_row_are_one_observation() -> None:
    """Class 0 is missed by 0.2 on half a row and by 0.5 on a whole one: (0.1 + 0.5) / 1.5 = 0.4."""
    module = weights([5, 5], classes="dynamic", difficulty_momentum=0.5)
    module.observe(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, -1]), torch.tensor([0.5, 0.5]))
    assert module.difficulty.tolist() == [1, 1]
    module.observe(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), torch.tensor([1.0]))
    module.end_step()
    assert module.difficulty.tolist() == pytest.approx([0.7, 1.0])
    module.end_step()
    assert module.difficulty.tolist() == pytest.approx([0.7, 1.0])


def test_nothing_known_changes_nothing() -> None:
    module = weights([5, 5])
    step(module, torch.tensor([[0.9, 0.1]]), torch.tensor([-1]))
    assert module.difficulty.tolist() == [1, 1]


@pytest.mark.parametrize("learned", [[0], [0, 1]], ids=["one class", "every class"])
def test_classes_learned_without_rest_keep_finite_weights(learned: list[int]) -> None:
    module = weights([5, 5], difficulty_momentum=0.0)
    step(module, torch.eye(2)[learned], torch.tensor(learned))
    assert torch.isfinite(module()).all()
    assert (module() > 0).all()


def test_class_weights_carry_no_gradient() -> None:
    module = weights([5, 9])
    logits = torch.randn(4, 2, requires_grad=True)
    step(module, logits.softmax(dim=1), torch.tensor([0, 1, 1, 0]))
    assert not module().requires_grad
    assert list(module.parameters()) == []


def test_difficulty_travels_with_the_checkpoint() -> None:
    module = weights([5, 9])
    step(module, torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    again = weights([5, 9])
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(), module())


def test_uncertainty_by_hand() -> None:
    module = build_task_weights(["a", "b"], LossSettings(tasks="uncertainty"))
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert module(losses).item() == pytest.approx(5)
    with torch.no_grad():
        module.log_variance.copy_(torch.tensor([math.log(2), math.log(4)]))
    assert module(losses).item() == pytest.approx(2 / 2 + math.log(2) / 2 + 3 / 4 + math.log(4) / 2)
    module(losses).backward()  # d/ds = -exp(-s) L + 1/2
    assert module.log_variance.grad.tolist() == pytest.approx([-1 + 0.5, -0.75 + 0.5])


def test_a_task_without_rows_is_left_out() -> None:
    module = build_task_weights(["a", "b"], LossSettings(tasks="uncertainty"))
    with torch.no_grad():
        module.log_variance.copy_(torch.tensor([0.0, 4.0]))
    assert module({"a": torch.tensor(2.0)}).item() == pytest.approx(2)


def test_fixed_is_the_plain_sum_and_learns_nothing() -> None:
    module = build_task_weights(["a", "b"], LossSettings(tasks="fixed"))
    assert module({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}).item() == 5
    assert list(module.parameters()) == []
