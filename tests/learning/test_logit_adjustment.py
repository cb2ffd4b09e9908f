"""Adjusted cross-entropies against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csasn.config import LossSettings
from csasn.learning.objective.logit_adjustment import Adjustment

LOGITS = torch.tensor([[math.log(2.0), 0.0], [0.0, math.log(3.0)]])
INDEX = torch.tensor([0, 0])


def losses(counts: list[float], **changes: object) -> list[float]:
    return Adjustment(counts, LossSettings(**changes))(LOGITS, INDEX).tolist()


@pytest.mark.parametrize("classes", ["none", "inverse-frequency", "effective-number", "dynamic"])
def test_weights_leave_the_cross_entropy_alone(classes: str) -> None:
    """p = 2/3 and 1/4 of the way that was true."""
    assert losses([30, 10], classes=classes) == pytest.approx([-math.log(2 / 3), -math.log(1 / 4)])


def test_logit_adjustment_by_hand() -> None:
    """Priors 3/4 and 1/4: odds 2 * 3 : 1 * 1, p = 6/7; and 1 * 3 : 3 * 1, p = 1/2."""
    assert losses([30, 10], classes="logit-adjustment") == pytest.approx([-math.log(6 / 7), -math.log(1 / 2)])


def test_logit_adjustment_with_tau_two_by_hand() -> None:
    """Priors squared are 9 : 1: odds 18 : 1, and 9 : 3."""
    found = losses([30, 10], classes="logit-adjustment", logit_tau=2.0)
    assert found == pytest.approx([-math.log(18 / 19), -math.log(3 / 4)])


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=2))
def test_balanced_softmax_is_logit_adjustment_with_tau_one(counts: list[int]) -> None:
    balanced = losses(counts, classes="balanced-softmax")
    assert balanced == pytest.approx(losses(counts, classes="logit-adjustment"), rel=1e-4, abs=1e-6)


def test_focal_by_hand() -> None:
    """(1 - 2/3)^2 and (1 - 1/4)^2 times the cross-entropy."""
    assert losses([30, 10], classes="focal") == pytest.approx([-math.log(2 / 3) / 9, -math.log(1 / 4) * 9 / 16])


def test_ldam_margins_and_loss_by_hand() -> None:
    """Counts 16 and 1: n^(-1/4) is 1/2 and 1, the largest margin 0.5, so 0.25 and 0.5; then two true ways."""
    module = Adjustment([16, 1], LossSettings(classes="ldam-drw"))
    assert module.margin.tolist() == pytest.approx([0.25, 0.5])
    odds = [2 * math.exp(-0.25), 3 * math.exp(-0.5)]
    found = module(LOGITS, torch.tensor([0, 1])).tolist()
    assert found == pytest.approx([-math.log(each / (each + 1)) for each in odds])


def test_ldam_scale_by_hand() -> None:
    """Scale 2 squares the odds."""
    found = losses([1, 1], classes="ldam-drw", ldam_scale=2.0)
    odds = [(2 * math.exp(-0.5)) ** 2, (math.exp(-0.5) / 3) ** 2]
    assert found == pytest.approx([-math.log(each / (each + 1)) for each in odds])


@pytest.mark.parametrize("classes", ["logit-adjustment", "balanced-softmax", "ldam-drw"])
def test_a_way_that_training_lacks_counts_as_one_image(classes: str) -> None:
    assert losses([7, 0], classes=classes) == losses([7, 1], classes=classes)


def test_the_hard_rows_of_focal_keep_their_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    Adjustment([1, 1, 1], LossSettings(classes="focal"))(logits, torch.tensor([0, 1])).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.abs() > 0).any()
