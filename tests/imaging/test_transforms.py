from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from csasn.config import AugmentationSettings
from csasn.imaging.transforms import Draws, apply, draw, plain

SETTINGS = AugmentationSettings()


def one(**changes: object) -> Draws:
    """Identity draws for one image, but for the changes."""
    arrays = {name: np.array([value], dtype=getattr(plain(1), name).dtype) for name, value in changes.items()}
    return replace(plain(1), **arrays)


def picture() -> Tensor:
    """A letterboxed picture (1, 1, 64, 64): content in rows 16..47, a bright spot up left, dark pixels inside."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 1, 64, 64)
    image[..., 16:48, :] = 0.3 + 0.2 * torch.rand(32, 64, generator=generator)
    image[..., 18:22, 4:8] = 1.0
    image[..., 30:34, 30:34] = 0.0
    return image


def test_draws_do_not_depend_on_the_batch_or_its_order() -> None:
    numbers = np.random.default_rng(0).permutation(500).astype(np.uint64)
    together = draw(SETTINGS, numbers, seed=3, epoch=2)
    for start in (0, 77, 499):
        alone = draw(SETTINGS, numbers[start : start + 1], seed=3, epoch=2)
        for field in fields(Draws):
            assert getattr(alone, field.name)[0] == getattr(together, field.name)[start], field.name


@pytest.mark.parametrize("changed", [{"seed": 4, "epoch": 2}, {"seed": 3, "epoch": 3}, {"seed": 2, "epoch": 3}])
def test_seeds_and_epochs_differ(changed: dict[str, int]) -> None:
    numbers = np.arange(200, dtype=np.uint64)
    first, second = draw(SETTINGS, numbers, seed=3, epoch=2), draw(SETTINGS, numbers, **changed)
    for name in ("rotation_deg", "scale", "gain", "contrast", "speckle_sd"):
        assert abs(np.corrcoef(getattr(first, name), getattr(second, name))[0, 1]) < 0.25
    assert 0.3 < (first.flip == second.flip).mean() < 0.7


def test_draws_fill_their_ranges_evenly_and_independently() -> None:
    draws = draw(SETTINGS, np.arange(20_000, dtype=np.uint64), seed=0, epoch=1)
    columns = {
        "rotation": (draws.rotation_deg + SETTINGS.rotation_deg) / (2 * SETTINGS.rotation_deg),
        "scale": (draws.scale - 1 + SETTINGS.scale) / (2 * SETTINGS.scale),
        "gain": (draws.gain + SETTINGS.gain) / (2 * SETTINGS.gain),
        "contrast": (draws.contrast - 1 + SETTINGS.contrast) / (2 * SETTINGS.contrast),
        "speckle": draws.speckle_sd / SETTINGS.speckle,
    }
    for name, unit in columns.items():
        shares = np.histogram(unit, bins=10, range=(0, 1))[0] / len(unit)
        assert np.abs(shares - 0.1).max() < 0.01, name
        assert unit.min() >= -1e-5, name
        assert unit.max() <= 1 + 1e-5, name
    correlations = np.corrcoef([*columns.values(), draws.flip])
    assert np.abs(correlations - np.eye(6)).max() < 0.03
    assert abs(draws.flip.mean() - 0.5) < 0.015
    assert len(set(draws.speckle_seed.tolist())) == 20_000


def test_plain_is_the_identity_bit_for_bit() -> None:
    images = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    images[1, :, :10] = 0
    assert torch.equal(apply(images, plain(4)), images)


def test_an_image_is_changed_alike_in_any_batch() -> None:
    images = torch.rand(6, 1, 40, 40, generator=torch.Generator().manual_seed(2))
    numbers = np.array([9, 4, 7, 1, 0, 30], dtype=np.uint64)
    together = apply(images, draw(SETTINGS, numbers, seed=0, epoch=5))
    for at in range(6):
        alone = apply(images[at : at + 1], draw(SETTINGS, numbers[at : at + 1], seed=0, epoch=5))
        assert torch.allclose(alone[0], together[at], atol=1e-6)


def test_a_flip_mirrors_left_and_right_alone() -> None:
    flipped = apply(picture(), one(flip=True))
    assert torch.allclose(flipped, picture().flip(3), atol=1e-5)


def test_nothing_mirrors_top_and_bottom() -> None:
    draws = draw(SETTINGS, np.arange(64, dtype=np.uint64), seed=0, epoch=1)
    spot = torch.zeros(64, 1, 64, 64)
    spot[..., 6:10, 28:36] = 1.0  # up in the middle: it stays up, whatever is drawn
    assert (apply(spot, draws)[:, :, :32].sum(dim=(1, 2, 3)) > 10).all()
    assert (apply(spot, draws)[:, :, 32:].sum(dim=(1, 2, 3)) == 0).all()


def test_rotation_is_counter_clockwise_and_scale_enlarges() -> None:
    right = torch.zeros(1, 1, 65, 65)
    right[..., 30:35, 50:55] = 1.0
    turned = apply(right, one(rotation_deg=30))
    rows, columns = torch.nonzero(turned[0, 0] > 0.5, as_tuple=True)
    assert rows.float().mean() < 26  # a point on the right moves up
    assert 46 < columns.float().mean() < 52
    enlarged = apply(right, one(scale=1.1))
    assert torch.nonzero(enlarged[0, 0] > 0.5)[:, 1].float().mean() > 53


def test_the_letterbox_border_stays_black() -> None:
    bright = one(gain=0.1, contrast=0.8, speckle_sd=0.08, speckle_seed=5)
    changed = apply(picture(), bright)
    assert not changed[..., :16, :].any()
    assert not changed[..., 48:, :].any()
    assert (changed[..., 30:34, 30:34] > 0.1).all()  # black inside the picture is not border: it is lifted
    turned = apply(picture(), replace(bright, rotation_deg=np.array([8], dtype=np.float32)))
    assert not turned[..., :8, :].any()
    assert not turned[..., 56:, :].any()


def test_gain_contrast_and_speckle_do_what_they_say() -> None:
    grey = torch.full((1, 1, 64, 64), 0.4)
    assert torch.allclose(apply(grey, one(gain=0.1)), grey + 0.1)
    assert torch.allclose(apply(grey, one(contrast=0.5)), torch.full_like(grey, 0.45))
    speckled = apply(grey, one(speckle_sd=0.08, speckle_seed=11)) / grey - 1
    assert abs(float(speckled.std()) - 0.08) < 1e-3
    neighbours = torch.corrcoef(torch.stack([speckled[..., 1:].flatten(), speckled[..., :-1].flatten()]))[0, 1]
    assert neighbours > 0.8


def test_a_batch_keeps_its_range_and_mean_brightness() -> None:
    images = picture().expand(64, -1, -1, -1).contiguous()
    changed = apply(images, draw(SETTINGS, np.arange(64, dtype=np.uint64), seed=0, epoch=1))
    assert changed.dtype == torch.float32
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert abs(float(changed.mean()) - float(images.mean())) < 0.03
    assert torch.equal(images, picture().expand(64, -1, -1, -1))  # the input is left as it was
