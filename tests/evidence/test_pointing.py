"""The pointing game, the energy, their baselines and rank correlation: golden values by hand, and what must stay."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from csasn.evidence.statistics.pointing import Target, alike, baseline, energy, enlarged, pointing
from csasn.imaging.letterbox import letterbox, letterbox_place


def target(rows: slice, columns: slice, *, size_px: int = 8) -> Target:
    mask = np.zeros((size_px, size_px), dtype=bool)
    mask[rows, columns] = True
    return Target(mask=mask, place=(0, 0, size_px, size_px))


@pytest.mark.parametrize(
    ("shape", "size_px"), [((7, 7), 224), ((6, 6), 168), ((16, 16), 224), ((2, 3), 32), ((1, 1), 8)]
)
def test_enlarging_is_torchs_bilinear_interpolation(shape: tuple[int, int], size_px: int) -> None:
    cells = np.random.default_rng(0).random(shape)
    own = functional.interpolate(torch.from_numpy(cells)[None, None], (size_px, size_px), mode="bilinear")
    assert enlarged(cells, size_px) == pytest.approx(own[0, 0].numpy(), abs=1e-12)


def test_pointing_and_energy_by_hand() -> None:
    nodule = target(slice(0, 4), slice(0, 4))
    square = np.zeros((8, 8))
    square[1, 2], square[6, 6] = 3.0, 1.0
    assert pointing(square, nodule) == 1
    assert energy(square, nodule) == 0.75
    square[6, 6] = 5.0
    assert pointing(square, nodule) == 0
    assert energy(square, nodule) == 0.375
    square[1, 2] = 5.0
    assert pointing(square, nodule) == 0.5  # two largest pixels, one of them on the nodule


def test_a_point_within_fifteen_of_224_px_is_on_the_nodule() -> None:
    nodule = target(slice(100, 120), slice(100, 120), size_px=224)
    for column, hit in ((119, 1), (134, 1), (135, 0), (85, 1), (84, 0)):
        square = np.zeros((224, 224))
        square[110, column] = 1
        assert pointing(square, nodule) == hit
    square = np.zeros((224, 224))
    square[119 + 11, 119 + 11] = 1  # 15.6 px along the diagonal
    assert pointing(square, nodule) == 0


def test_a_flat_map_is_a_random_point_and_a_uniform_map() -> None:
    nodule = target(slice(2, 6), slice(1, 5))
    for square in (np.zeros((8, 8)), np.full((8, 8), 0.3)):
        assert (pointing(square, nodule), energy(square, nodule)) == pytest.approx(baseline("random", nodule))
    assert baseline("random", nodule) == (0.25, 0.25)  # the tolerance is below a pixel here


def test_a_random_point_hits_as_often_as_the_baseline_says() -> None:
    nodule = Target(mask=target(slice(20, 40), slice(8, 30), size_px=56).mask, place=(10, 0, 40, 56))
    rng, hits = np.random.default_rng(0), []
    for _ in range(4000):
        square = np.zeros((56, 56))
        square[10 + rng.integers(40), rng.integers(56)] = 1
        hits.append(pointing(square, nodule))
    assert np.mean(hits) == pytest.approx(baseline("random", nodule)[0], abs=0.03)  # four standard errors


def test_baselines_know_the_pictures_place_in_the_square() -> None:
    pixels = np.full((40, 80), 9, dtype=np.uint8)
    top, left, height, width = letterbox_place(pixels.shape, 32)
    assert (top, left, height, width) == (8, 0, 16, 32)
    assert (letterbox(pixels, 32)[top : top + height, left : left + width] == 9).all()
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:16, 0:16] = True
    point, share = baseline("random", Target(mask=mask, place=(top, left, height, width)))
    assert share == 0.25
    assert point > share
    middle = Target(mask=np.pad(np.ones((2, 2), dtype=bool), 15), place=(top, left, height, width))
    assert baseline("centre", middle)[0] == 1
    assert baseline("centre", middle)[1] > baseline("random", middle)[1]
    assert baseline("centre", target(slice(0, 2), slice(0, 2), size_px=32))[0] == 0


def test_the_centred_gaussian_holds_what_the_normal_distribution_says() -> None:
    """Within one SD (a quarter of the side) either way of two truncated at two: (0.6827 / 0.9545) squared."""
    nodule = target(slice(256, 768), slice(256, 768), size_px=1024)
    assert baseline("centre", nodule)[1] == pytest.approx((0.682689 / 0.954500) ** 2, abs=1e-4)


def test_the_centred_gaussian_pixel_by_pixel() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:3, 0:3] = True
    nodule = Target(mask=mask, place=(1, 0, 4, 6))
    bells = [[np.exp(-8 * ((k + 0.5) / n - 0.5) ** 2) for k in range(n)] for n in (4, 6)]  # SD a quarter of the side
    total = sum(a * b for a in bells[0] for b in bells[1])
    inside = sum(a * b for a in bells[0][:2] for b in bells[1][:3])
    assert baseline("centre", nodule) == (0.0, pytest.approx(inside / total))
    assert baseline("random", nodule) == (0.25, 0.25)


def test_a_map_of_zeros_counts_as_uniform_and_a_faint_one_as_it_is() -> None:
    nodule, faint = target(slice(0, 4), slice(0, 4)), np.zeros((8, 8))
    assert energy(faint, nodule) == 0.25
    faint[3, 3], faint[4, 4] = 3e-9, 1e-9
    assert energy(faint, nodule) == pytest.approx(0.75)


def test_a_factor_on_a_map_and_mirroring_both_change_nothing() -> None:
    rng = np.random.default_rng(1)
    nodule, square = target(slice(5, 20), slice(3, 11), size_px=32), rng.random((32, 32))
    mirrored = Target(mask=nodule.mask[:, ::-1], place=nodule.place)
    for other, where in ((4 * square, nodule), (square[:, ::-1], mirrored)):
        assert pointing(other, where) == pointing(square, nodule)
        assert energy(other, where) == pytest.approx(energy(square, nodule))


def test_alike_is_the_rank_correlation_and_0_for_a_flat_map() -> None:
    first = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert alike(first, first**3) == pytest.approx(1)
    assert alike(first, -first) == pytest.approx(-1)
    assert alike(first, np.array([[2.0, 1.0], [3.0, 4.0]])) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert alike(first, np.zeros((2, 2))) == 0
