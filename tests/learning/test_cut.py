"""A branch cut below its last blocks: the two parts are the whole, from pixels and from the cache."""

from pathlib import Path

import numpy as np
import pytest
import torch

from csasn.config import AugmentationSettings, FinetuneSettings, FitSettings
from csasn.errors import BadInputError
from csasn.imaging.views import ViewSource
from csasn.learning.features import FeatureCache
from csasn.learning.objective.labels import Labels
from csasn.learning.optimisation import Stage, parameter_groups
from csasn.learning.scoring import InputSource
from csasn.network.backbones import build_cnn
from tests.support.pixel_stores import store_of
from tests.support.small_training import SIZE_PX, N, branches, cohort, fresh_module


@pytest.mark.parametrize("kind", ["cnn", "vit"])
@pytest.mark.parametrize("n_blocks_left", [1, 2])
def test_both_parts_make_the_whole(kind: str, n_blocks_left: int) -> None:
    branch = branches()[kind].eval()
    images = torch.rand(2, 1, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        below = branch.begin(images, n_blocks_left=n_blocks_left)
        found, whole = branch.finish(below), branch(images)
    assert (below.n_blocks_left, found.n_blocks_left) == (n_blocks_left, 0)
    torch.testing.assert_close(found.map, whole.map)
    if whole.token is not None:
        torch.testing.assert_close(found.token, whole.token)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_the_last_block_cannot_be_cut_off_too(kind: str) -> None:
    branch = branches()[kind]
    n = len(branch.backbone.blocks)
    branch.require_blocks(n - 1)
    with pytest.raises(BadInputError, match=rf"leave at least one block.*received {n}, and test_.* has {n} blocks"):
        branch.require_blocks(n)


def test_networks_of_another_make_are_refused() -> None:
    branch = build_cnn("test_resnet", channels=96, overlay=None)
    with pytest.raises(BadInputError, match="no blocks that are known here"):
        branch.require_blocks(1)


def test_cached_activations_give_the_loss_and_gradients_of_pixels(tmp_path: Path) -> None:
    """Up to the cache's float16; and nothing below the cut gets a gradient."""
    module = fresh_module().eval()
    pixels = np.random.default_rng(0).integers(1, 255, (N, SIZE_PX, SIZE_PX), dtype=np.uint8)
    source = ViewSource(store=store_of(pixels), n_views=1, augmentation=AugmentationSettings(), seed=0)
    caches = {
        name: FeatureCache(tmp_path, branch=branch, state_sha256="s", source=source, n_blocks_left=2)
        for name, branch in module.network.branches.items()
    }
    rows, views = np.arange(6), np.zeros(6, dtype=np.int64)
    for cache in caches.values():
        cache.ensure(rows, range(1))
    stage = Stage(name="finetune", n_epochs=1, learning_rate=1e-5)
    parameter_groups(module, stage, FitSettings(finetune=FinetuneSettings(blocks=2)))
    index = torch.from_numpy(cohort().class_index[rows])
    losses, gradients = [], []
    for each in (caches, None):
        inputs = InputSource(cohort=cohort(), source=source, caches=each, device=torch.device("cpu"))
        module.zero_grad()
        loss = module(inputs.batch(rows, views, ["vit", "cnn"]), Labels.plain(index, index > 0))
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert gradients[0].keys() == gradients[1].keys()
    assert {name.split(".")[2] for name in gradients[0] if name.startswith("network.branches.")} == {"cnn", "vit"}
    for name, gradient in gradients[0].items():
        assert (gradient - gradients[1][name]).norm() <= 0.05 * gradients[1][name].norm() + 1e-6, name
