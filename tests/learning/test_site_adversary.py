"""The site head: its reversed gradient and schedule by hand, whose sites it knows, and that it takes the site away."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from csasn.config import AugmentationSettings, Configuration, LossSettings
from csasn.errors import BadInputError, StoppedError
from csasn.imaging.views import ViewSource
from csasn.learning.module import build_training_module
from csasn.learning.objective.labels import Labels, Whole
from csasn.learning.objective.site_adversary import DAMPING, SiteAdversary, training_sites
from csasn.learning.optimisation import Stage, parameter_groups
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource
from csasn.learning.training import StageRun, train_stage
from csasn.network.backbones import Features
from tests.support.pixel_stores import store_of
from tests.support.small_training import CLASSES, CONFIGURATION, FROZEN, ROWS, SIZE_PX, branches, cohort
from tests.support.small_unit import fingerprint_of, start_fabric, train_unit

WITH_HEAD = CONFIGURATION.model_copy(update={"loss": LossSettings(site_adversary=1.0)})
N, N_TRAIN, N_TUNING = 600, 300, 100


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return start_fabric()


def test_the_schedule_by_hand() -> None:
    head = SiteAdversary(3, np.array([0, 1]), largest=2.0)
    expected = [0, 2 * (2 / (1 + math.exp(-5)) - 1), 2 * (2 / (1 + math.exp(-10)) - 1)]
    assert [head.reversal(p) for p in (0, 0.5, 1)] == pytest.approx(expected)


def test_loss_and_gradients_by_hand() -> None:
    """Two sites, weights (1, -1) on one feature; evaluation mode leaves the input as it is (mean 0, variance 1)."""
    head = SiteAdversary(1, np.array([4, 7]), largest=1.0).eval()
    with torch.no_grad():
        head.norm.eps = 0.0
        head.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        head.head.bias.zero_()
    embedding = torch.tensor([[0.5], [0.25]], requires_grad=True)
    labels = Labels.plain(torch.tensor([0, 0]), torch.tensor([False, False]))
    whole = Whole(norms={"site": torch.tensor(2.0)}, portion=1.0)
    p = [1 / (1 + math.exp(-2 * x)) for x in (0.5, 0.25)]  # of the first site
    loss = head(embedding, labels, torch.tensor([4, 7]), whole, 0.5)
    assert loss.item() == pytest.approx(-(math.log(p[0]) + math.log(1 - p[1])) / 2 + DAMPING / 2 * 2, rel=1e-5)
    loss.backward()
    by_row = [2 * (p[0] - 1) / 2, 2 * p[1] / 2]  # d L / d x, the logits' difference being 2 x
    reversal = 2 / (1 + math.exp(-5)) - 1
    assert embedding.grad[:, 0].tolist() == pytest.approx([-reversal * each for each in by_row], rel=1e-5)
    own = sum(g * x / 2 for g, x in zip(by_row, (0.5, 0.25), strict=True))  # d L / d w_1, half of the difference's
    assert head.head.weight.grad[0].item() == pytest.approx(own + DAMPING * 1.0, rel=1e-5)


def test_it_knows_the_sites_of_its_training_rows_alone() -> None:
    """Other sites of the tuning rows change neither its size nor a bit of what is trained."""
    ours, theirs = cohort(), cohort()
    theirs.site[ROWS.tuning] = 9
    states = []
    for each in (ours, theirs):
        torch.manual_seed(0)
        states.append(build_training_module("csasn", branches(), each, ROWS.train, WITH_HEAD).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert states[0]["loss.adversary.head.weight"].shape[0] == 4
    fewer = build_training_module("csasn", branches(), ours, ROWS.train[:6], WITH_HEAD)
    assert fewer.loss.adversary.sites.tolist() == [0, 1]


def test_one_training_site_is_refused_and_none_is_asked_for_without_the_head() -> None:
    with pytest.raises(BadInputError, match=r"fold 2 has those of one.*site_adversary 0"):
        training_sites(cohort().site, np.arange(3), where="fold 2")
    with pytest.raises(BadInputError, match="at least two sites"):
        build_training_module("csasn", branches(), cohort(), np.arange(3), WITH_HEAD)
    assert build_training_module("csasn", branches(), cohort(), np.arange(3), CONFIGURATION).loss.adversary is None


def test_the_head_learns_faster_and_decays_by_its_own_penalty() -> None:
    module = build_training_module("csasn", branches(), cohort(), ROWS.train, WITH_HEAD)
    groups = parameter_groups(module, FROZEN, WITH_HEAD.fit)
    of = {id(each): group for group in groups for each in group["params"]}
    adversary, fusion = of[id(module.loss.adversary.head.weight)], of[id(module.network.head.output.malignancy.weight)]
    assert adversary["lr"] == pytest.approx(10 * fusion["lr"])
    assert (adversary["weight_decay"], fusion["weight_decay"]) == (0, WITH_HEAD.fit.weight_decay)


@pytest.mark.parametrize("cut_at", [2, 4, 11])
def test_resumed_with_the_head_a_training_is_the_same_bit_for_bit(fabric: Fabric, tmp_path: Path, cut_at: int) -> None:
    def fingerprints(folder: Path, cut_at: int | None) -> list[str]:
        stop, found = StopSignal(), []

        def on_step(learning: object, step: int) -> None:
            found.append(fingerprint_of(learning.tree()))
            stop.requested = step + 1 == cut_at

        end = train_unit(fabric, folder, on_step, every_steps=0, stop=stop, configuration=WITH_HEAD)
        return [*found, end]

    uncut = fingerprints(tmp_path / "uncut", None)
    with pytest.raises(StoppedError):
        fingerprints(tmp_path / "cut", cut_at)
    assert fingerprints(tmp_path / "cut", None) == uncut[cut_at:]


class Sited:
    """Cached maps in which classes and sites have directions of their own, beside unit noise."""

    def __init__(self, index: NDArray[np.int64], site: NDArray[np.int64]) -> None:
        rng = np.random.default_rng(256)
        of_class, of_site = rng.normal(size=(3, 256)), rng.normal(size=(2, 256))
        signal = of_class[index] + 1.5 * of_site[site]
        self.maps = (signal[:, None, :, None, None] + rng.normal(size=(N, 2, 256, 2, 2))).astype(np.float32)

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Features:
        return Features(map=torch.from_numpy(self.maps[rows, views]), token=None)


def probed(fabric: Fabric, *, largest: float, seed: int) -> tuple[float, float]:
    """AUROC of a linear probe for the site on unseen rows of the embedding, and the classes' on the tuning rows."""
    rng = np.random.default_rng(seed)
    index, site = rng.integers(3, size=N), rng.integers(2, size=N)
    store_rows = np.arange(N)
    rows = FoldRows(fold=0, train=store_rows[:N_TRAIN], tuning=store_rows[N_TRAIN : N_TRAIN + N_TUNING])
    together = LabelledRows(
        classes=CLASSES, store_rows=store_rows, class_index=index, malignant=index > 0, patient=store_rows, site=site
    )
    configuration: Configuration = CONFIGURATION.model_copy(
        update={
            "loss": LossSettings(site_adversary=largest),
            "fit": CONFIGURATION.fit.model_copy(update={"batch_size": 32, "patience_epochs": 99, "ema_decay": 0.98}),
        }
    )
    torch.manual_seed(seed)
    module = build_training_module("cnn-only", branches(), together, rows.train, configuration)
    store = store_of(np.zeros((N, SIZE_PX, SIZE_PX), dtype=np.uint8))
    source = ViewSource(store=store, n_views=2, augmentation=AugmentationSettings(), seed=0)
    inputs = InputSource(cohort=together, source=source, caches={"cnn": Sited(index, site)}, device=torch.device("cpu"))
    stage = Stage(name="frozen", n_epochs=30, learning_rate=1e-3)
    history = train_stage(
        StageRun(fabric=fabric, module=module, inputs=inputs, rows=rows, stage=stage, configuration=configuration)
    )
    with torch.no_grad():
        seen = inputs.batch(store_rows, np.zeros(N, dtype=np.int64), module.network.head.used)
        embedding = module.eval().read(seen).embedding.numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)).fit(embedding[:N_TRAIN], site[:N_TRAIN])
    unseen = slice(N_TRAIN + N_TUNING, None)
    return roc_auc_score(site[unseen], probe.decision_function(embedding[unseen])), history[-1]["tuning_auroc"]


def test_with_the_head_the_site_is_harder_to_read_from_the_feature_and_the_class_is_not(fabric: Fabric) -> None:
    without, with_head = (
        np.mean([probed(fabric, largest=largest, seed=seed) for seed in range(3)], axis=0) for largest in (0.0, 1.0)
    )
    assert with_head[0] < without[0] - 0.05
    assert with_head[1] > without[1] - 0.02
