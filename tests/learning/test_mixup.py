"""Mixup and CutMix: drawn by the seed, blended row by row, and told to the loss as shares of two labels."""

import math

import numpy as np
import pytest
import torch

from csasn.config import Configuration, FinetuneSettings, FitSettings, LossSettings
from csasn.learning.epochs import Planned, batch_inputs, labels_of, plan_epoch
from csasn.learning.mixup import Box, Mix, draw_cutmix, draw_mixup, pasted
from csasn.learning.module import build_training_module
from csasn.learning.monitoring.timing import Phases
from csasn.learning.objective.labels import Labels
from csasn.learning.optimisation import Stage
from csasn.learning.training import StageRun
from csasn.network.backbones import Features
from tests.support.small_training import CONFIGURATION, ROWS, branches, cohort, fresh_module, input_source

CPU = torch.device("cpu")
ROWS_6 = np.arange(6)
VIEWS = np.zeros(6, dtype=np.int64)


class Scripted:
    """A generator whose draws are given."""

    def __init__(self, *, beta: float, centre: tuple[int, int]) -> None:
        self._beta, self._centre = beta, centre

    def permutation(self, n: int) -> np.ndarray:
        return np.arange(n)[::-1]

    def beta(self, *_: float) -> float:
        return self._beta

    def integers(self, *_: int, size: int) -> np.ndarray:
        return np.array(self._centre)[:size]


def test_mixup_blends_features_row_by_row_and_the_loss_of_both_labels() -> None:
    module = fresh_module()
    module.eval()
    given = input_source().batch(ROWS_6, VIEWS, ["vit", "cnn"])
    other, share = np.array([3, 0, 1, 5, 2, 4]), 0.3
    by_hand = {
        name: Features(
            map=share * each.map + (1 - share) * each.map[other],
            token=None if each.token is None else share * each.token + (1 - share) * each.token[other],
        )
        for name, each in given.items()
    }
    index = torch.from_numpy(cohort().class_index[ROWS_6])
    own, partner = (module(by_hand, Labels.plain(each, each > 0)) for each in (index, index[other]))
    batch = Planned(rows=ROWS_6, views=VIEWS, mix=Mix(other=other, lam=share))
    seen = batch_inputs(batch, np.arange(6), input_source(), 0, CONFIGURATION, used=["vit", "cnn"], phases=Phases())
    found = module(seen, labels_of(batch, cohort(), CPU))
    torch.testing.assert_close(found, share * own + (1 - share) * partner)
    assert not torch.isclose(found, module(given, Labels.plain(index, index > 0)))


def test_a_part_sees_its_rows_and_their_partners_as_the_whole_batch_does() -> None:
    batch = Planned(rows=ROWS_6 + 7, views=VIEWS, mix=Mix(other=np.array([3, 0, 1, 5, 2, 4]), lam=0.3))
    whole, part = (
        batch_inputs(batch, places, input_source(), 0, CONFIGURATION, used=["vit", "cnn"], phases=Phases())
        for places in (np.arange(6), np.array([1, 4]))
    )
    for name in ("vit", "cnn"):
        assert torch.equal(part[name].map, whole[name].map[[1, 4]])
    assert torch.equal(part["vit"].token, whole["vit"].token[[1, 4]])


def test_mixup_can_be_off() -> None:
    assert draw_mixup(np.random.default_rng(0), 6, 0.0) is None
    mix = draw_mixup(np.random.default_rng(0), 6, 0.4)
    assert mix is not None
    assert sorted(mix.other.tolist()) == list(range(6))
    assert 0 <= mix.lam <= 1


@pytest.mark.parametrize(
    ("beta", "centre", "box"),
    [
        (0.75, (50, 40), Box(top=25, bottom=75, left=15, right=65)),  # side 100 * sqrt(1/4) = 50
        (0.75, (10, 95), Box(top=0, bottom=35, left=70, right=100)),  # cut off at two edges
        (1.0, (10, 10), Box(top=10, bottom=10, left=10, right=10)),  # nothing is taken
        (0.0, (50, 50), Box(top=0, bottom=100, left=0, right=100)),  # everything is
    ],
    ids=["inside", "at a corner", "nothing", "everything"],
)
def test_the_box_of_cutmix_by_hand_and_its_exact_share(beta: float, centre: tuple[int, int], box: Box) -> None:
    mix = draw_cutmix(Scripted(beta=beta, centre=centre), 3, 1.0, 100)
    assert mix.box == box
    assert mix.lam == pytest.approx(1 - (box.bottom - box.top) * (box.right - box.left) / 1e4)
    images = torch.stack([torch.zeros(1, 100, 100), torch.ones(1, 100, 100)])
    cut = pasted(images, images.flip(0), box)
    assert cut[1].mean().item() == pytest.approx(mix.lam)
    assert cut[0].mean().item() == pytest.approx(1 - mix.lam)
    assert images[0].sum() == 0


def test_pasted_by_hand() -> None:
    images = torch.arange(9.0).view(1, 1, 3, 3)
    found = pasted(images, images + 10, Box(top=1, bottom=3, left=0, right=2))
    assert found[0, 0].tolist() == [[0, 1, 2], [13, 14, 5], [16, 17, 8]]


def test_the_share_of_many_boxes_follows_yun() -> None:
    """E(1 - s) over Beta(1, 1) is 1/2; cut off at the edges, of a side of x a mean of x - x^2 / 4 remains.

    With x = sqrt(1 - s) the area is the square of that in expectation, as both sides are cut independently given x:
    E(x^2 (1 - x / 4)^2) over 1 - s uniform = 1/2 - 2/5 * 1/2 + 1/3 * 1/16.
    """
    stream = np.random.default_rng(0)
    taken = [1 - draw_cutmix(stream, 2, 1.0, 10_000).lam for _ in range(20_000)]
    assert np.mean(taken) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=4 * np.std(taken) / math.sqrt(20_000))


def test_an_epoch_with_cutmix_depends_on_its_number_alone() -> None:
    plans = [
        plan_epoch(ROWS, np.ones(len(ROWS.train)), epoch, CONFIGURATION, n_views=2, cutmix=1.0) for epoch in (0, 0, 1)
    ]
    boxes = [[each.mix.box for each in plan] for plan in plans]
    assert boxes[0] == boxes[1] != boxes[2]
    assert len(set(boxes[0])) == len(boxes[0])


def test_cut_images_are_the_augmented_ones_with_a_box_of_their_partners() -> None:
    box, other = Box(top=8, bottom=24, left=40, right=64), np.array([3, 0, 1, 5, 2, 4])
    plain, cut = (
        batch_inputs(
            Planned(rows=ROWS_6, views=VIEWS, mix=mix),
            np.arange(6),
            input_source(frozen=False),
            3,
            CONFIGURATION,
            used=[],
            phases=Phases(),
        )
        for mix in (None, Mix(other=other, lam=0.5, box=box))
    )
    assert torch.equal(cut[:, :, 8:24, 40:64], plain[other][:, :, 8:24, 40:64])
    outside = torch.ones_like(plain, dtype=torch.bool)
    outside[:, :, 8:24, 40:64] = False
    assert torch.equal(cut[outside], plain[outside])


@pytest.mark.parametrize(
    "classes",
    [
        "none",
        "inverse-frequency",
        "effective-number",
        "focal",
        "ldam-drw",
        "logit-adjustment",
        "balanced-softmax",
        "dynamic",
    ],
)
@pytest.mark.parametrize("tasks", ["fixed", "uncertainty", "dwa", "gradnorm"])
def test_cutmix_trains_with_every_loss(classes: str, tasks: str) -> None:
    configuration = CONFIGURATION.model_copy(update={"loss": LossSettings(classes=classes, tasks=tasks)})
    module = build_training_module("csasn", branches(), cohort(), ROWS.train, configuration).train()
    mix = draw_cutmix(np.random.default_rng(0), 6, 1.0, 64)
    batch = Planned(rows=ROWS_6, views=VIEWS, mix=mix)
    images = batch_inputs(batch, np.arange(6), input_source(frozen=False), 0, configuration, used=[], phases=Phases())
    loss = module(images, labels_of(batch, cohort(), CPU))
    loss.backward()
    module.loss.end_step()
    assert torch.isfinite(loss)
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in module.network.parameters())


def test_images_are_blended_as_the_features_that_the_branches_give_never_as_pixels() -> None:
    module = fresh_module().eval()
    other, share = np.array([3, 0, 1, 5, 2, 4]), 0.3

    def seen(mix: Mix | None, places: list[int]) -> object:
        batch = Planned(rows=ROWS_6 + 7, views=VIEWS, mix=mix)
        return batch_inputs(
            batch, np.array(places), input_source(frozen=False), 3, CONFIGURATION, used=["vit", "cnn"], phases=Phases()
        )

    mix = Mix(other=other, lam=share)
    with torch.no_grad():
        plain = module.read(seen(None, [*range(6)])).features
        whole, part = (module.read(seen(mix, places)).features for places in ([*range(6)], [1, 4]))
    by_hand = {name: share * each.map + (1 - share) * each.map[other] for name, each in plain.items()}
    for name in ("vit", "cnn"):
        torch.testing.assert_close(whole[name].map, by_hand[name])
        torch.testing.assert_close(part[name].map, by_hand[name][[1, 4]])
        assert not torch.allclose(whole[name].map, plain[name].map)
    torch.testing.assert_close(
        part["vit"].token, (share * plain["vit"].token + (1 - share) * plain["vit"].token[other])[[1, 4]]
    )


@pytest.mark.parametrize("blocks", [0, 1], ids=["from pixels", "from cached activations"])
def test_mixup_in_fine_tuning_blends_every_batch(blocks: int) -> None:
    """A setting that is turned is never without effect: from pixels it once was."""
    fit = CONFIGURATION.fit.model_copy(update={"finetune": FinetuneSettings(epochs=1, blocks=blocks, mixup=0.4)})
    course = StageRun(
        fabric=None,
        module=None,
        inputs=input_source(frozen=blocks > 0),
        rows=ROWS,
        stage=Stage(name="finetune", n_epochs=1, learning_rate=1e-4),
        configuration=CONFIGURATION.model_copy(update={"fit": fit}),
    )
    assert all(batch.mix is not None and batch.mix.box is None for batch in course.plan(0))


def test_blending_that_would_do_nothing_or_be_twofold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fit\.finetune.mixup \(0\.4\) acts in fine-tuning alone"):
        Configuration(fit=FitSettings(finetune=FinetuneSettings(mixup=0.4)))
    with pytest.raises(ValueError, match="a row has two labels, not four"):
        Configuration(fit=FitSettings(finetune=FinetuneSettings(epochs=2, mixup=0.4, cutmix=1.0)))


@pytest.mark.parametrize("changes", [{"epochs": 2, "blocks": 1}, {}], ids=["cached", "frozen alone"])
def test_cutmix_is_refused_where_no_pixels_are_trained_on(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="acts in fine-tuning from pixels alone"):
        Configuration(fit=FitSettings(finetune=FinetuneSettings(cutmix=1.0, **changes)))
    assert Configuration(fit=FitSettings(finetune=FinetuneSettings(cutmix=1.0, epochs=2))).fit.finetune.cutmix == 1
