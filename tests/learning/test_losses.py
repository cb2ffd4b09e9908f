"""The multitask loss by hand, and batches that lack a class, a group or every label."""

import math

import numpy as np
import pytest
import torch

from csasn.config import LossSettings
from csasn.learning.epochs import Planned, labels_of
from csasn.learning.mixup import Mix
from csasn.learning.module import build_training_module
from csasn.learning.objective.labels import Labels
from csasn.learning.objective.losses import MultitaskLoss
from csasn.network.csasn import Output
from csasn.network.heads import ChainHead, FlatHead
from csasn.schema import ClassList
from tests.support.small_training import CONFIGURATION, ROWS, branches, cohort, input_source

CLASSES = ClassList(names=("benign", "normal", "PTC", "FTC"), n_non_malignant=2)
PLAIN = LossSettings(tasks="fixed", classes="none")


def told(logits: torch.Tensor, malignancy: torch.Tensor) -> Output:
    nothing = torch.zeros(0)
    return Output(
        logits=logits,
        malignancy=malignancy,
        energy=nothing,
        features={},
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
    assert loss(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT)).item() == pytest.approx(
        sum(by_hand([1, 1, 1, 1]).values()), rel=1e-5
    )


def test_four_rows_by_hand_with_class_weights() -> None:
    settings = LossSettings(tasks="fixed", classes="effective-number", effective_beta=0.5)
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=settings)
    raw = [0.5 / (1 - 0.5**n) for n in (4, 3, 2, 1)]
    expected = sum(by_hand([each / (sum(raw) / 4) for each in raw]).values())
    assert loss(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT)).item() == pytest.approx(expected, rel=1e-5)


def test_task_uncertainty_weighs_each_task() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=False, settings=LossSettings(classes="none"))
    s = {"malignancy": 0.5, "non_malignant": -0.3, "malignant": 1.0}
    with torch.no_grad():
        loss.task_weights.log_variance.copy_(torch.tensor([s[task] for task in loss.task_weights.tasks]))
    expected = sum(math.exp(-s[task]) * each + s[task] / 2 for task, each in by_hand([1, 1, 1, 1]).items())
    assert loss(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT)).item() == pytest.approx(expected, rel=1e-5)


def test_flat_by_hand_leaves_the_unknown_row_out() -> None:
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], flat=True, settings=PLAIN)
    expected = -(math.log(0.8 * 0.5) + math.log(0.6 * 0.1) + math.log(0.9 * 0.6)) / 3
    assert loss(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT)).item() == pytest.approx(expected, rel=1e-5)


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
    loss.eval()(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT))
    assert loss.class_weights.difficulty.tolist() == [1, 1, 1, 1]
    loss.train()(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT))
    assert loss.class_weights.difficulty.tolist() == [1, 1, 1, 1]
    loss.end_step()
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
    value = loss.train()(told(output.logits, output.malignancy), Labels.plain(torch.tensor(index), malignant))
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
    loss.train()(told(logits, m), Labels.plain(torch.tensor([0, 1]), torch.tensor([False, True]))).backward()
    expected = [1 / (1 + math.exp(-0.3)) / 2, (1 / (1 + math.exp(1.0)) - 1) / 2]
    assert m.grad.tolist() == pytest.approx(expected, rel=1e-5)


def adjusted(log_odds: float, prior: float) -> float:
    """Binary loss of logit m where the true way has the given prior and the adjusted odds."""
    return math.log(1 + math.exp(-log_odds) * (1 - prior) / prior)


def test_logit_adjustment_acts_within_each_task_by_hand() -> None:
    """Benign 4, normal 3, PTC 2, FTC 1, two more known only as malignant: priors 7/12 and 5/12, then within groups."""
    settings = LossSettings(tasks="fixed", classes="logit-adjustment")
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], n_unknown=(0, 2), flat=False, settings=settings)
    m = [math.log(each / (1 - each)) for each in (0.2, 0.4, 0.9, 0.7)]
    malignancy = (
        adjusted(-m[0], 7 / 12) + adjusted(-m[1], 7 / 12) + adjusted(m[2], 5 / 12) + adjusted(m[3], 5 / 12)
    ) / 4
    within_benign = (adjusted(0.0, 4 / 7) + adjusted(math.log(0.1 / 0.9), 3 / 7)) / 2
    within_malignant = adjusted(math.log(0.6 / 0.4), 2 / 3)
    found = loss(FOUR_ROWS, Labels.plain(INDEX, MALIGNANT)).item()
    assert found == pytest.approx(malignancy + within_benign + within_malignant, rel=1e-5)


def test_the_chain_of_adjustments_is_the_flat_one() -> None:
    """log pi(group) + log pi(class | group) = log pi(class) for every class."""
    counts = [40.0, 30.0, 20.0, 10.0]
    settings = LossSettings(classes="logit-adjustment")
    chain = MultitaskLoss(CLASSES, counts, flat=False, settings=settings).adjustments
    flat = MultitaskLoss(CLASSES, counts, flat=True, settings=settings).adjustments["flat"].offset
    group = chain["malignancy"].offset.repeat_interleave(2)
    within = torch.cat([chain["non_malignant"].offset, chain["malignant"].offset])
    torch.testing.assert_close(group + within, flat)


KINDS = ["none", "inverse-frequency", "effective-number", "focal", "ldam-drw", "logit-adjustment", "balanced-softmax"]


@pytest.mark.parametrize("classes", [*KINDS, "dynamic"])
@pytest.mark.parametrize("flat", [False, True], ids=["chain", "flat"])
def test_rows_known_only_as_malignant_train_the_first_task_alone(classes: str, flat: bool) -> None:
    torch.manual_seed(0)
    head = (FlatHead if flat else ChainHead)(6, CLASSES)
    loss = MultitaskLoss(CLASSES, [4, 3, 2, 1], n_unknown=(0, 3), flat=flat, settings=LossSettings(classes=classes))
    output = head(torch.randn(3, 6))
    unknown = torch.tensor([-1, -1, -1])
    loss.train()(told(output.logits, output.malignancy), Labels.plain(unknown, torch.tensor([True] * 3))).backward()
    moved = {name for name, each in head.named_parameters() if each.grad is not None and bool(each.grad.any())}
    assert moved == (set() if flat else {"malignancy.weight", "malignancy.bias"})


@pytest.mark.parametrize("classes", [*KINDS, "dynamic"])
@pytest.mark.parametrize("sampling", ["plain", "patient-balanced"])
def test_no_label_outside_the_training_rows_reaches_the_loss(classes: str, sampling: str) -> None:
    configuration = CONFIGURATION.model_copy(
        update={
            "loss": LossSettings(classes=classes),
            "fit": CONFIGURATION.fit.model_copy(update={"sampling": sampling}),
        }
    )
    ours, theirs = cohort(), cohort()
    outside = np.setdiff1d(np.arange(len(ours.class_index)), ROWS.train)
    theirs.class_index[outside], theirs.malignant[outside] = 2, True
    assert not np.array_equal(ours.class_index, theirs.class_index)
    states = []
    for each in (ours, theirs):
        torch.manual_seed(0)
        states.append(build_training_module("csasn", branches(), each, ROWS.train, configuration).loss.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    fewer = build_training_module("csasn", branches(), ours, ROWS.train[4:], configuration)
    changed = any(not torch.equal(value, states[0][name]) for name, value in fewer.loss.state_dict().items())
    assert changed == (classes not in ("none", "focal"))


@pytest.mark.parametrize("tasks", ["fixed", "uncertainty", "dwa", "gradnorm"])
def test_every_kind_of_task_weight_trains_through_the_network(tasks: str) -> None:
    settings = CONFIGURATION.model_copy(update={"loss": LossSettings(tasks=tasks)})
    torch.manual_seed(0)
    module = build_training_module("csasn", branches(), cohort(), ROWS.train, settings).train()
    rows = ROWS.train[:6]
    given = input_source().batch(rows, np.zeros(6, dtype=np.int64), ["vit", "cnn"])
    batch = Planned(rows=rows, views=np.zeros(6, dtype=np.int64), mix=Mix(other=np.roll(np.arange(6), 1), lam=0.3))
    value = module(given, labels_of(batch, cohort(), torch.device("cpu")))
    value.backward()
    assert torch.isfinite(value)
    for name, parameter in module.network.head.named_parameters():
        assert parameter.grad is not None, name
    own = list(module.loss.parameters())
    assert bool(own) == (tasks in ("uncertainty", "gradnorm"))
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in own)
    course = module.loss.course()
    assert set(course["class"]) == {"benign", "PTC", "FTC"}
    assert set(course["task"]) == {"malignancy", "malignant"}
