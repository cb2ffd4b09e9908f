"""Training: the tuning loss by hand, and small real runs from features and from pixels."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from csasn.config import Configuration, LossSettings
from csasn.errors import DivergedError
from csasn.learning.epochs import plan_epoch
from csasn.learning.module import TrainingModule
from csasn.learning.optimisation import MovingAverage, Stage
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource, tuning_auroc, tuning_loss
from csasn.learning.training import StageRun, train_stage
from tests.support.small_training import CLASSES, CONFIGURATION, FROZEN, ROWS, fresh_module, input_source


def course(
    fabric: Fabric,
    module: TrainingModule,
    inputs: InputSource,
    rows: FoldRows,
    stage: Stage,
    configuration: Configuration,
) -> StageRun:
    return StageRun(fabric=fabric, module=module, inputs=inputs, rows=rows, stage=stage, configuration=configuration)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def flat(module: TrainingModule) -> torch.Tensor:
    """What the frozen stage learns, as one vector."""
    return torch.cat([each.detach().flatten() for each in module.network.head.parameters()])


def labelled(index: np.ndarray) -> LabelledRows:
    rows = np.arange(len(index))
    return LabelledRows(
        classes=CLASSES, store_rows=rows, class_index=index, malignant=index != 0, patient=rows, site=rows % 2
    )


def test_tuning_loss_by_hand() -> None:
    """Every class once: benign (two rows), PTC (one), and the malignant row of unknown kind as its own stratum."""
    index = np.array([0, 0, 1, -1])
    four = labelled(index)
    p = torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.3, 0.4, 0.3]])
    expected = (-(math.log(0.5) + math.log(0.8)) / 2 - math.log(0.6) - math.log(0.7)) / 3
    assert tuning_loss(p.log(), four, np.arange(4)) == pytest.approx(expected, rel=1e-5)
    two = tuning_loss(p.log()[[2, 3]], four, np.array([2, 3]))
    assert two == pytest.approx(-(math.log(0.6) + math.log(0.7)) / 2, rel=1e-5)


def test_tuning_auroc_by_hand() -> None:
    """Benign 3 of 4 pairs in order, PTC 3 of 4; FTC is absent and the last row of unknown class is left out."""
    index = np.array([0, 0, 1, 1, -1])
    five = labelled(index)
    p = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]])
    assert tuning_auroc((p + 1e-9).log(), five, np.arange(5)) == pytest.approx(3 / 4)
    assert tuning_auroc((p + 1e-9).log()[:2], five, np.array([0, 1])) is None


def test_an_epoch_shows_every_row_once_in_a_seeded_order() -> None:
    shown = []
    for epoch in (0, 0, 1):
        plan = plan_epoch(ROWS, np.ones(len(ROWS.train)), epoch, CONFIGURATION, n_views=2, mixup=0.4)
        shown.append(np.concatenate([batch.rows for batch in plan]).tolist())
        assert {view for batch in plan for view in batch.views} == {0, 1}
        for batch in plan:
            assert len(batch.views) == len(batch.mix.other) == len(batch.rows)
    assert shown[0] == shown[1] != shown[2]
    assert sorted(shown[0]) == sorted(shown[2]) == ROWS.train.tolist()


def test_frozen_training_learns_what_can_be_separated(fabric: Fabric) -> None:
    module, told = fresh_module(), []
    before = state_of(module.network.branches)
    history = train_stage(
        course(fabric, module, input_source(), ROWS, FROZEN, CONFIGURATION),
        on_step=lambda at, n_steps, _: told.append((at.step, n_steps)),
    )
    assert [row["epoch"] for row in history] == list(range(6))
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert history[-1]["tuning_loss"] < history[0]["tuning_loss"]
    assert history[-1]["tuning_auroc"] > 0.95
    assert {(row["fold"], row["stage"]) for row in history} == {(3, "frozen")}
    assert told == [(step, 30) for step in range(1, 31)]
    after = module.network.branches.state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())


def test_the_same_seed_gives_the_same_bits(fabric: Fabric) -> None:
    states = []
    for _ in range(2):
        module = fresh_module()
        train_stage(
            course(
                fabric,
                module,
                input_source(),
                ROWS,
                Stage(name="frozen", n_epochs=2, learning_rate=1e-3),
                CONFIGURATION,
            )
        )
        states.append(state_of(module))
    assert all(torch.equal(each, states[1][name]) for name, each in states[0].items())
    untrained = state_of(fresh_module())
    assert any(not torch.equal(each, untrained[name]) for name, each in states[0].items())


def test_task_weights_reach_the_network(fabric: Fabric) -> None:
    """Four weightings lead to four networks, each pair apart by more than a thirtieth of the way from the start."""
    stage, learned = Stage(name="frozen", n_epochs=20, learning_rate=1e-3), {}
    for tasks in ("fixed", "uncertainty", "dwa", "gradnorm"):
        configuration = CONFIGURATION.model_copy(update={"loss": LossSettings(tasks=tasks)})
        module = fresh_module(configuration)
        start = flat(module)
        train_stage(course(fabric, module, input_source(), ROWS, stage, configuration))
        learned[tasks] = flat(module) - start
    way = learned["fixed"].norm()
    for one, other in combinations(learned, 2):
        assert (learned[one] - learned[other]).norm() > way / 30, (one, other)


def test_the_best_epoch_is_kept_and_patience_ends_the_stage(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning losses 3, 1, 2, 2, ...: stopped after two epochs without a better one, with the second epoch's weights."""
    module, snapshots, losses = fresh_module(), [], iter([3.0, 1.0, 2.0, 2.0, 0.0])

    def scripted(*_: object) -> float:
        snapshots.append(state_of(module.network))
        return next(losses)

    monkeypatch.setattr("csasn.learning.training.tuning_loss", scripted)
    patient = CONFIGURATION.model_copy(update={"fit": CONFIGURATION.fit.model_copy(update={"patience_epochs": 2})})
    history = train_stage(course(fabric, module, input_source(), ROWS, FROZEN, patient))
    assert [row["tuning_loss"] for row in history] == [3, 1, 2, 2]
    final = state_of(module.network)
    assert all(torch.equal(final[name], each) for name, each in snapshots[1].items())
    assert any(not torch.equal(final[name], each) for name, each in snapshots[3].items())


@pytest.mark.parametrize(("losses", "kept"), [((1.0, 2.0, 1.5), 0), ((1.0, 2.0, 0.5), 2)])
def test_finetuning_keeps_what_it_started_from_unless_it_betters_it(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...], kept: int
) -> None:
    """The first tuning loss is that of the frozen stage's network; it is no epoch of the history."""
    module, snapshots, scripted = fresh_module(), [], iter(losses)

    def read(*_: object) -> float:
        snapshots.append(state_of(module.network))
        return next(scripted)

    monkeypatch.setattr("csasn.learning.training.tuning_loss", read)
    stage = Stage(name="finetune", n_epochs=2, learning_rate=1e-3)
    few = FoldRows(fold=0, train=np.arange(16), tuning=np.arange(36, 42))
    history = train_stage(course(fabric, module, input_source(frozen=False), few, stage, CONFIGURATION))
    assert [row["tuning_loss"] for row in history] == list(losses[1:])
    final = state_of(module.network)
    same = [all(torch.equal(final[name], each) for name, each in snapshot.items()) for snapshot in snapshots]
    assert same == [place == kept for place in range(3)]


def test_what_is_kept_is_the_moving_average_of_the_weights(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """a_0 = w_0, a_t = d a_(t-1) + (1 - d) w_t with d = min(0.5, (1 + t) / (10 + t)), over the steps of one epoch."""
    module, steps = fresh_module(), []
    real = MovingAverage.update

    def followed(self: MovingAverage, learner: torch.nn.Module) -> None:
        steps.append({name: each.detach().double().clone() for name, each in learner.named_parameters()})
        real(self, learner)

    monkeypatch.setattr(MovingAverage, "update", followed)
    train_stage(
        course(
            fabric, module, input_source(), ROWS, Stage(name="frozen", n_epochs=1, learning_rate=1e-3), CONFIGURATION
        )
    )
    assert len(steps) == math.ceil(len(ROWS.train) / 8)
    for name, found in module.network.head.named_parameters():
        average = steps[0][name]
        for t, step in enumerate(steps[1:], start=1):
            memory = min(0.5, (1 + t) / (10 + t))
            average = memory * average + (1 - memory) * step[name]
        np.testing.assert_allclose(found.detach().numpy(), average.numpy(), atol=1e-6, err_msg=name)
    assert any(
        not torch.equal(found.double(), steps[-1][name]) for name, found in module.network.head.named_parameters()
    )


def test_features_that_are_not_finite_end_the_training_by_name(fabric: Fabric) -> None:
    with pytest.raises(DivergedError, match=r"fold 3, stage frozen, epoch 0, batch 0 gave nan"):
        train_stage(course(fabric, fresh_module(), input_source(spoiled=True), ROWS, FROZEN, CONFIGURATION))


def test_finetuning_moves_the_branches_but_not_their_batch_statistics(fabric: Fabric) -> None:
    module = fresh_module()
    module.network.head.classifier.merge[1].weight.data.fill_(0.5)
    before = state_of(module.network.branches)
    stage = Stage(name="finetune", n_epochs=1, learning_rate=1e-3)
    few = FoldRows(fold=0, train=np.arange(16), tuning=np.arange(36, 42))
    history = train_stage(course(fabric, module, input_source(frozen=False), few, stage, CONFIGURATION))
    assert len(history) == 1
    assert math.isfinite(history[0]["train_loss"])
    after = module.network.branches.state_dict()
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    assert statistics
    assert [name for name in statistics if not torch.equal(before[name], after[name])] == []
    learned = [name for name, _ in module.network.branches.named_parameters()]
    moved = [name for name in learned if not torch.equal(before[name], after[name])]
    assert {name.split(".")[0] for name in moved} == {"cnn", "vit"}
    assert len(moved) > 0.9 * len(learned)
