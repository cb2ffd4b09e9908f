"""Heads: the chain rule by hand, and one coherent distribution whatever the groups."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from csasn.network.heads import ChainHead, FlatHead
from csasn.schema import ClassList

FIVE = ClassList(names=("benign", "normal", "PTC", "FTC", "MTC"), n_non_malignant=2)


def told(layer: nn.Linear, values: list[float]) -> None:
    """Make a layer say these values whatever it reads."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))


def test_the_chain_rule_by_hand() -> None:
    head = ChainHead(3, FIVE)
    told(head.malignancy, [math.log(3)])  # p(malignant) = 3/4
    told(head.non_malignant, [0.0, math.log(4)])  # 1/5, 4/5
    told(head.malignant, [0.0, math.log(2), math.log(3)])  # 1/6, 2/6, 3/6
    output = head(torch.randn(2, 3))
    expected = [1 / 4 / 5, 1 / 4 * 4 / 5, 3 / 4 / 6, 3 / 4 * 2 / 6, 3 / 4 * 3 / 6]
    for row in output.logits.exp().tolist():
        assert row == pytest.approx(expected, rel=1e-5)
    assert output.malignancy.tolist() == pytest.approx([math.log(3)] * 2)


def test_a_group_of_one_class_has_no_layer_and_takes_the_whole_group() -> None:
    head = ChainHead(3, ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1))
    assert head.non_malignant is None
    told(head.malignancy, [math.log(3)])
    told(head.malignant, [0.0, 0.0])
    assert head(torch.zeros(1, 3)).logits.exp()[0].tolist() == pytest.approx([0.25, 0.375, 0.375])


def test_two_classes_are_a_logistic_regression() -> None:
    head = ChainHead(3, ClassList(names=("benign", "malignant"), n_non_malignant=1))
    assert head.non_malignant is None
    assert head.malignant is None
    told(head.malignancy, [-math.log(9)])
    assert head(torch.zeros(1, 3)).logits.exp()[0].tolist() == pytest.approx([0.9, 0.1])


def test_flat_malignancy_is_the_log_odds_of_the_summed_probabilities() -> None:
    head = FlatHead(3, FIVE)
    told(head.classes, [math.log(each) for each in (1, 2, 3, 4, 5)])
    output = head(torch.zeros(1, 3))
    assert output.logits.exp()[0].tolist() == pytest.approx([1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15])
    assert output.malignancy.item() == pytest.approx(math.log(12 / 3))


@settings(deadline=None, max_examples=40)
@given(
    n_benign=st.integers(1, 3),
    n_cancer=st.integers(1, 4),
    kind=st.sampled_from([ChainHead, FlatHead]),
    scale=st.sampled_from([0.1, 1.0, 100.0]),
    seed=st.integers(0, 100),
)
def test_probabilities_are_one_distribution(
    n_benign: int, n_cancer: int, kind: type[ChainHead | FlatHead], scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    classes = ClassList(names=tuple(f"c{k}" for k in range(n_benign + n_cancer)), n_non_malignant=n_benign)
    output = kind(4, classes)(torch.randn(5, 4) * scale)
    probability = output.logits.double().softmax(dim=1)
    assert output.logits.shape == (5, n_benign + n_cancer)
    assert torch.isfinite(output.logits).all()
    assert torch.isfinite(output.malignancy).all()
    assert output.logits.double().exp().sum(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-4)
    malignant = probability[:, n_benign:].sum(dim=1)
    assert malignant.tolist() == pytest.approx(output.malignancy.double().sigmoid().tolist(), abs=1e-4)
