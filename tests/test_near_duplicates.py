"""The banded search finds exactly what comparing all pairs finds, and look-alikes have near hashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from csasn.cohort.fingerprints import perceptual_hash
from csasn.cohort.near_duplicates import near_duplicates


def brute(hashes: np.ndarray, max_distance: int) -> set[tuple[int, int, int]]:
    """Each pair of different hashes by their first places, and each repeat with its first."""
    first: dict[int, int] = {}
    pairs = set()
    for place, value in enumerate(hashes.tolist()):
        if value in first:
            pairs.add((first[value], place, 0))
        else:
            first[value] = place
    places = sorted(first.values())
    for n, i in enumerate(places):
        for j in places[n + 1 :]:
            distance = (int(hashes[i]) ^ int(hashes[j])).bit_count()
            if distance <= max_distance:
                pairs.add((i, j, distance))
    return pairs


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 7), st.integers(0, 60))
def test_the_search_is_exact(seed, max_distance, n):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**64, 4, dtype=np.uint64)
    hashes = base[rng.integers(0, 4, n)]
    for _ in range(5):  # up to five flipped bits each, so that distances of 0 to 10 occur
        hashes = hashes ^ (rng.integers(0, 2, n).astype(np.uint64) << rng.integers(0, 64, n).astype(np.uint64))
    found = near_duplicates(hashes, max_distance=max_distance)
    assert {tuple(row) for row in found.tolist()} == brute(hashes, max_distance)


def test_thousands_of_equal_hashes_give_one_pair_each():
    found = near_duplicates(np.full(5000, 7, dtype=np.uint64), max_distance=3)
    assert found.shape == (4999, 3)
    assert (found[:, 0] == 0).all()


def test_a_distance_beyond_the_pigeonhole_is_refused():
    with pytest.raises(ValueError, match="0 to 7"):
        near_duplicates(np.zeros(2, dtype=np.uint64), max_distance=8)


def speckle(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 255, (14, 18), dtype=np.uint8)).resize((360, 280), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(blobs) * 0.7 + rng.rayleigh(20, (280, 360)), 0, 255).astype(np.uint8)


def test_copies_are_near_and_others_far():
    pictures = [speckle(seed) for seed in range(30)]
    hashes = [perceptual_hash(each) for each in pictures]
    for picture, code in zip(pictures, hashes, strict=True):
        smaller = np.asarray(Image.fromarray(picture).resize((250, 195)))
        brighter = np.clip(picture.astype(float) * 1.1 + 8, 0, 255).astype(np.uint8)
        assert (perceptual_hash(smaller) ^ code).bit_count() <= 3
        assert (perceptual_hash(brighter) ^ code).bit_count() <= 4
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[i + 1 :]]
    assert min(apart) > 8
