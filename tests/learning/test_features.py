"""Cached features: equal to a direct pass, resumed where they stopped, never read before they are there."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from csasn.config import AugmentationSettings
from csasn.errors import BadInputError, StorageError
from csasn.imaging.letterbox import as_images
from csasn.imaging.store import PixelStore
from csasn.imaging.views import ViewSource
from csasn.learning import features
from csasn.learning.features import FeatureCache
from csasn.network.backbones import Branch, Features, build_cnn, build_vit
from csasn.network.weights import state_sha256
from tests.support.pixel_stores import store_of

N, SIZE_PX = 20, 64


def source(*, n_views: int = 3, seed: int = 0, **augmentation: float) -> ViewSource:
    pixels = np.random.default_rng(0).integers(0, 255, (N, SIZE_PX, SIZE_PX), dtype=np.uint8)
    return ViewSource(
        store=store_of(pixels), n_views=n_views, augmentation=AugmentationSettings(**augmentation), seed=seed
    )


@pytest.fixture(params=["cnn", "vit"])
def branch(request: pytest.FixtureRequest) -> Branch:
    torch.manual_seed(0)
    if request.param == "cnn":
        return build_cnn("test_efficientnet", channels=256, overlay=None)
    return build_vit("test_vit", channels=64, size_px=SIZE_PX, overlay=None)


@pytest.fixture
def vit() -> Branch:
    torch.manual_seed(0)
    return build_vit("test_vit", channels=64, size_px=SIZE_PX, overlay=None)


def cache(folder: Path, branch: Branch, of: ViewSource | None = None) -> FeatureCache:
    return FeatureCache(
        folder, branch=branch, state_sha256=state_sha256(branch.backbone), source=source() if of is None else of
    )


class Counted:
    """Counts the images that a branch reads, and can be interrupted after some batches."""

    def __init__(self, branch: Branch, *, stop_after: int | None = None) -> None:
        self.n_images = self.n_batches = 0
        self.stop_after = stop_after
        self.hook = branch.register_forward_pre_hook(self._count)

    def _count(self, _: object, given: tuple[torch.Tensor]) -> None:
        if self.stop_after is not None and self.n_batches >= self.stop_after:
            raise KeyboardInterrupt
        self.n_batches += 1
        self.n_images += len(given[0])


def assert_half_precision(found: torch.Tensor, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-3)


def test_cached_equals_direct_for_every_view(tmp_path: Path, branch: Branch) -> None:
    views, rows = source(), np.array([4, 1, 17])
    found = cache(tmp_path, branch)
    found.ensure(np.arange(N), range(3))
    maps = []
    for view in range(3):
        with torch.no_grad():
            expected: Features = branch.eval()(views.images(rows, view))
        read = found.read(rows, np.full(3, view))
        assert read.map.dtype == torch.float16
        assert_half_precision(read.map, expected.map)
        if expected.token is None:
            assert read.token is None
        else:
            assert_half_precision(read.token, expected.token)
        maps.append(read.map)
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    mixed = found.read(rows, np.array([2, 0, 1])).map
    assert torch.equal(mixed, torch.stack([maps[2][0], maps[0][1], maps[1][2]]))


def test_views_are_plain_then_mirrored_then_drawn() -> None:
    views, rows = source(), np.array([2, 5])
    plain = as_images(views.store.pixels[rows])
    assert torch.equal(views.images(rows, 0), plain)
    assert torch.equal(views.images(rows, 1), plain.flip(-1))
    assert not torch.equal(views.images(rows, 2), plain)
    assert torch.equal(views.images(rows, 2)[1], views.images(np.array([5]), 2)[0])


def test_an_interrupted_computation_goes_on(tmp_path: Path, vit: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH_SIZE", 4)
    monkeypatch.setattr(features, "FLUSH_EVERY", 2)
    first = Counted(vit, stop_after=3)  # batches of four
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path, vit).ensure(np.arange(N), range(1))
    first.hook.remove()
    again = Counted(vit)
    seen: list[tuple[int, int]] = []
    resumed = cache(tmp_path, vit)
    resumed.ensure(np.arange(N), range(1), progress=lambda *at: seen.append(at))
    again.hook.remove()
    assert again.n_images == N - 8  # two batches were flushed; the third was not
    assert seen[-1] == (N - 8, N - 8)
    with torch.no_grad():
        expected = vit(source().images(np.arange(N), 0)).map
    assert_half_precision(resumed.read(np.arange(N), np.zeros(N, dtype=np.int64)).map, expected)


def test_only_what_is_missing_is_computed(tmp_path: Path, vit: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH_SIZE", 1)
    cache(tmp_path, vit).ensure(np.array([3, 1, 3]), range(2))
    counted = Counted(vit)
    whole = cache(tmp_path, vit)
    whole.ensure(np.array([1, 3]), range(2))
    assert counted.n_images == 0
    whole.ensure(np.array([1, 2, 3]), range(3))
    assert counted.n_images == 3 + 2  # row 2 in three views, rows 1 and 3 in the last one


def test_the_key_follows_weights_views_and_precision(tmp_path: Path, vit: Branch) -> None:
    torch.manual_seed(1)
    other = build_vit("test_vit", channels=64, size_px=SIZE_PX, overlay=None)
    same = cache(tmp_path, vit).folder
    folders = [
        cache(tmp_path, other).folder,
        cache(tmp_path, vit, source(rotation_deg=3.0)).folder,
        cache(tmp_path, vit, source(seed=1)).folder,
    ]
    assert cache(tmp_path, vit, source(n_views=4)).folder == same  # more views go into the same folder
    vit.in_bfloat16 = True
    folders.append(cache(tmp_path, vit).folder)
    assert len({same, *folders}) == 5


def test_missing_rows_are_not_read(tmp_path: Path, vit: Branch) -> None:
    found = cache(tmp_path, vit)
    found.ensure(np.array([0, 1]), range(1))
    for rows, views in (([0, 2], [0, 0]), ([0, 1], [0, 1])):
        with pytest.raises(BadInputError, match="lacks features"):
            found.read(np.array(rows), np.array(views))


@pytest.mark.parametrize("at_file", [0, 1])
def test_a_full_device_leaves_nothing_that_is_believed(
    tmp_path: Path, vit: Branch, monkeypatch: pytest.MonkeyPatch, at_file: int
) -> None:
    real, calls = os.posix_fallocate, []

    def full(descriptor: int, offset: int, length: int) -> None:
        calls.append(length)
        if len(calls) > at_file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, offset, length)

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageError, match="No space left on device"):
            cache(tmp_path, vit).ensure(np.arange(N), range(1))
        with pytest.raises(BadInputError, match="lacks features"):
            cache(tmp_path, vit).read(np.array([0]), np.array([0]))
    mended = cache(tmp_path, vit)
    with pytest.raises(BadInputError, match="lacks features"):
        mended.read(np.array([0]), np.array([0]))
    mended.ensure(np.arange(N), range(1))
    assert torch.isfinite(mended.read(np.arange(N), np.zeros(N, dtype=np.int64)).map).all()


def test_space_is_taken_before_the_first_write(tmp_path: Path, vit: Branch) -> None:
    found = cache(tmp_path, vit)
    path, row_bytes = found.folder / "map.rows", 2 * 2 * 64 * 2
    sizes = []

    def watch(done: int, total: int) -> None:
        sizes.append((path.stat().st_size, path.stat().st_blocks * 512))

    found.ensure(np.arange(N), range(3), progress=watch)
    assert all(size == N * 3 * row_bytes <= blocks for size, blocks in sizes)


def test_features_are_those_of_the_picture_alone_bit_for_bit(tmp_path: Path, branch: Branch) -> None:
    whole = cache(tmp_path / "whole", branch)
    whole.ensure(np.arange(N), range(3))
    of = source()
    row = 17
    lone = PixelStore(pixels=of.store.pixels[[row]], sha256s=[of.store.sha256s[row]], key="k")
    alone = cache(tmp_path / "alone", branch, replace(of, store=lone))
    alone.ensure(np.array([0]), range(3))
    for view in range(3):
        read, expected = alone.read(np.array([0]), np.array([view])), whole.read(np.array([row]), np.array([view]))
        assert torch.equal(read.map, expected.map)
        assert (read.token is None) == (expected.token is None)
        assert read.token is None or torch.equal(read.token, expected.token)


def test_one_picture_more_computes_one_picture(tmp_path: Path, vit: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    of = source()
    fewer = replace(of, store=PixelStore(pixels=of.store.pixels[1:], sha256s=of.store.sha256s[1:], key="k"))
    cache(tmp_path, vit, fewer).ensure(np.arange(N - 1), range(3))
    monkeypatch.setattr(features, "BATCH_SIZE", 1)
    counted = Counted(vit)
    grown = cache(tmp_path, vit, of)
    grown.ensure(np.arange(N), range(3))
    assert counted.n_images == 3  # three views of one picture
    maps = grown.read(np.arange(N), np.full(N, 2)).map
    with torch.no_grad():
        assert_half_precision(maps, vit(of.images(np.arange(N), 2)).map)
