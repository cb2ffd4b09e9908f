"""The multitask loss by hand, and batches that lack a class, a group or every label."""

import math

import pytest
import torch

from csasn.config import LossSettings
from csasn.learning.losses import MultitaskLoss
from csasn.network.csasn import Output
from csasn.network.heads import ChainHead, FlatHead
from csasn.schema import ClassList

CLASSES = ClassList(names=("benign", "normal", "PTC", "FTC"), n_non_malignant=2)
PLAIN = LossSettings(tasks="fixed", classes="none")


def told(logits: torch.Tensor, malignancy: torch.Tensor) -> Output:
    nothing = torch.zeros(0)
    return Output(
        logits=logits,
        malignancy=malignancy,
        fused_map=nothing,
        channel_gate=None,
        spatial_gate=None,
        embedding=nothing,
    )


def chained(m: list[float], benign: list[list[float]], cancer: list[list[float]]) -> Output:
    """An output with these p(malignant) and probabilities within each group."""
    p = torch.tensor(m)
    joint = torch.cat([(1 - p)[:, None] * torch.tensor(benign), p[:, None] * torch.tensor(cancer)], dim=1)
    return told(joint.log(), torch.logit(p))


FOUR_ROWS = chained(
    [0.2, 0.4, 0.9, 0.7],
    [[0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.3, 0.7]],
    [[0.5, 0.5], [0.2, 0.8], [0.6, 0.4], [0.25, 0.75]],
)
INDEX = torch.tensor([0, 1, 2, -1])  # benign, normal, PTC, malignant of unknown kind
MALIGNANT = torch.tensor([False, False, True, True])


def by_hand(weight: list[float]) -> dict[str, float]:
    """Weighted means over the four rows; the last row takes the mean weight of PTC and FTC."""
    w = [weight[0], weight[1], weight[2], (weight[2] + weight[3]) / 2]
    binary = [-math.log(0.8), -math.log(0.6), -math.log(0.9), -math.log(0.7)]
    return {
        "malignancy": sum(a * b for a, b in zip(w, binary, strict=True)) / sum(w),
        "malignant": -math.log(0.6),
        "non_malignant": (w[0] * -math.log(0.5) + w[1] * -math.log(0.1)) / (w[0] + w[1]),
    }


def test_four_rows_by_hand() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=PLAIN)
    assert loss(FOUR_ROWS, INDEX, MALIGNANT).item() == pytest.approx(sum(by_hand([1, 1, 1, 1]).values()), rel=1e-5)


def test_four_rows_by_hand_with_class_weights() -> None:
    settings = LossSettings(tasks="fixed", classes="effective-number", effective_beta=0.5)
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=settings)
    raw = [0.5 / (1 - 0.5**n) for n in (4, 3, 2, 1)]
    expected = sum(by_hand([each / (sum(raw) / 4) for each in raw]).values())
    assert loss(FOUR_ROWS, INDEX, MALIGNANT).item() == pytest.approx(expected, rel=1e-5)


def test_task_uncertainty_weighs_each_task() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=LossSettings(classes="none"))
    s = {"malignancy": 0.5, "non_malignant": -0.3, "malignant": 1.0}
    with torch.no_grad():
        loss.task_weights.log_variance.copy_(torch.tensor([s[task] for task in loss.task_weights.tasks]))
    expected = sum(math.exp(-s[task]) * each + s[task] / 2 for task, each in by_hand([1, 1, 1, 1]).items())
    assert loss(FOUR_ROWS, INDEX, MALIGNANT).item() == pytest.approx(expected, rel=1e-5)


def test_flat_by_hand_leaves_the_unknown_row_out() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=True, settings=PLAIN)
    expected = -(math.log(0.8 * 0.5) + math.log(0.6 * 0.1) + math.log(0.9 * 0.6)) / 3
    assert loss(FOUR_ROWS, INDEX, MALIGNANT).item() == pytest.approx(expected, rel=1e-5)


def test_only_groups_of_several_classes_are_tasks() -> None:
    one_benign = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
    two = ClassList(names=("benign", "malignant"), n_non_malignant=1)
    assert MultitaskLoss(one_benign, [1, 1, 1], flat=False, settings=PLAIN).task_weights.tasks == [
        "malignancy",
        "malignant",
    ]
    assert MultitaskLoss(two, [1, 1], flat=False, settings=PLAIN).task_weights.tasks == ["malignancy"]


def test_training_observes_and_reading_does_not() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=LossSettings(difficulty_momentum=0.0))
    loss.eval()(FOUR_ROWS, INDEX, MALIGNANT)
    assert loss.class_weights.difficulty.tolist() == [1, 1, 1, 1]
    loss.train()(FOUR_ROWS, INDEX, MALIGNANT)
    expected = [1 - 0.8 * 0.5, 1 - 0.6 * 0.1, 1 - 0.9 * 0.6, 1]
    assert loss.class_weights.difficulty.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("flat", [False, True], ids=["chain", "flat"])
@pytest.mark.parametrize(
    "index",
    [[2, 2, 2], [0, 0, 0], [0, 1, 0], [-1, -1, -1], [-1, 3, 0]],
    ids=["one malignant class", "one benign class", "no malignant row", "no class known", "mixed"],
)
def test_batches_that_lack_labels_stay_finite(flat: bool, index: list[int]) -> None:
    torch.manual_seed(0)
    head = (FlatHead if flat else ChainHead)(6, CLASSES)
    loss = MultitaskLoss(CLASSES, [4, 0, 2, 1], flat=flat, settings=LossSettings())
    output = head(torch.randn(3, 6))
    malignant = torch.tensor([each >= 2 or each == -1 for each in index])
    value = loss.train()(told(output.logits, output.malignancy), torch.tensor(index), malignant)
    value.backward()
    assert torch.isfinite(value)
    for parameter in (*head.parameters(), *loss.parameters()):
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    learns = any(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())
    assert learns == (not flat or max(index) >= 0)


def test_weights_and_observation_carry_no_gradient() -> None:
    """The gradient is that of the weighted cross-entropy alone: sigmoid(m) - y, shared over the rows."""
    two = ClassList(names=("benign", "malignant"), n_non_malignant=1)
    m = torch.tensor([0.3, -1.0], requires_grad=True)
    logits = torch.stack([torch.nn.functional.logsigmoid(-m), torch.nn.functional.logsigmoid(m)], dim=1)
    loss = MultitaskLoss(two, [1, 1], flat=False, settings=LossSettings(tasks="fixed"))
    loss.train()(told(logits, m), torch.tensor([0, 1]), torch.tensor([False, True])).backward()
    expected = [1 / (1 + math.exp(-0.3)) / 2, (1 / (1 + math.exp(1.0)) - 1) / 2]
    assert m.grad.tolist() == pytest.approx(expected, rel=1e-5)
