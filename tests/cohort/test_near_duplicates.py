"""The banded search finds exactly what comparing all pairs finds, and look-alikes have near hashes."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from csasn.cohort.fingerprints import fingerprint
from csasn.cohort.near_duplicates import near_duplicates, near_hashes


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
@given(st.integers(0, 2**32), st.integers(0, 11), st.integers(0, 60))
def test_the_search_is_exact(seed, max_distance, n):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**64, 4, dtype=np.uint64)
    hashes = base[rng.integers(0, 4, n)]
    for _ in range(7):  # up to seven flipped bits each, so that distances of 0 to 14 occur
        hashes = hashes ^ (rng.integers(0, 2, n).astype(np.uint64) << rng.integers(0, 64, n).astype(np.uint64))
    found = near_hashes(hashes, max_distance=max_distance)
    assert {tuple(row) for row in found.tolist()} == brute(hashes, max_distance)


def test_thousands_of_equal_hashes_give_one_pair_each():
    found = near_hashes(np.full(5000, 7, dtype=np.uint64), max_distance=3)
    assert found.shape == (4999, 3)
    assert (found[:, 0] == 0).all()


def test_a_distance_beyond_the_pigeonhole_is_refused():
    with pytest.raises(ValueError, match="0 to 11"):
        near_hashes(np.zeros(2, dtype=np.uint64), max_distance=12)


def speckle(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 255, (14, 18), dtype=np.uint8)).resize((360, 280), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(blobs) * 0.7 + rng.rayleigh(20, (280, 360)), 0, 255).astype(np.uint8)


def changed(picture: np.ndarray) -> dict[str, np.ndarray]:
    """What a workstation makes of a picture on its way into another folder."""
    height, width = picture.shape
    lettered = Image.fromarray(picture)
    ImageDraw.Draw(lettered).text((12, height - 24), "RT LOBE 12", fill=255)
    saved = io.BytesIO()
    Image.fromarray(picture).save(saved, format="JPEG", quality=50)
    return {
        "smaller": np.asarray(Image.fromarray(picture).resize((width * 3 // 5, height * 3 // 5))),
        "brighter": np.clip(picture.astype(float) * 1.1 + 8, 0, 255).astype(np.uint8),
        "cropped": picture[height // 50 :, width // 50 :],
        "lettered": np.asarray(lettered),
        "saved again": np.asarray(Image.open(saved)),
    }


def pairs_of(pictures: list[np.ndarray]) -> set[tuple[int, int]]:
    prints = [fingerprint(each) for each in pictures]
    thumbnails = np.stack([np.frombuffer(each.thumbnail, dtype=np.uint8) for each in prints])
    hashes = np.array([each.hash for each in prints], dtype=np.uint64)
    return {(i, j) for i, j, *_ in near_duplicates(hashes, thumbnails)}


@pytest.mark.parametrize("change", ["smaller", "brighter", "cropped", "lettered", "saved again"])
def test_copies_are_found_and_nothing_else(change):
    pictures = [speckle(seed) for seed in range(30)]
    copies = [changed(each)[change] for each in pictures]
    assert pairs_of(pictures + copies) == {(place, place + 30) for place in range(30)}


def test_pictures_that_share_only_their_scanner_are_not_alike():
    """The same layers, border and letters around another nodule and other speckle: near hashes, and yet no pair."""
    depth, across = np.linspace(0, 9, 280)[:, None], np.linspace(0, 9, 360)
    pictures = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y, x = rng.normal((4, 5), 0.4)
        nodule = 90 * np.exp(-((depth - y) ** 2) - (across - x) ** 2 / 2)
        noise = rng.rayleigh(30, (280, 360))
        picture = np.clip(30 + 30 * np.sin(depth * 2) + nodule + noise, 0, 255).astype(np.uint8)
        picture[:, :40] = 0
        canvas = Image.fromarray(picture)
        ImageDraw.Draw(canvas).text((60, 250), "THYROID TRANS", fill=255)
        pictures.append(np.asarray(canvas))
    hashes = np.array([fingerprint(each).hash for each in pictures], dtype=np.uint64)
    assert len(near_hashes(hashes, max_distance=11)) > 0
    assert not pairs_of(pictures)


def test_a_flat_thumbnail_is_like_its_very_equal_only():
    hashes = np.zeros(3, dtype=np.uint64)
    thumbnails = np.full((3, 1024), 7, dtype=np.uint8)
    thumbnails[2] = np.random.default_rng(0).integers(0, 255, 1024)
    assert [(i, j) for i, j, *_ in near_duplicates(hashes, thumbnails)] == [(0, 1)]


def on_screen(picture: np.ndarray) -> np.ndarray:
    """A capture of the whole screen, twice as large in black, with the ruler that all captures share."""
    tissue = np.asarray(Image.fromarray(picture).resize((720, 560)))
    screen = np.zeros((768, 1024), dtype=np.uint8)
    screen[104:664, 152:872] = tissue
    screen[104:664:24, 876:884] = 200
    return screen


def test_a_capture_of_the_screen_is_known_by_its_tissue_alone():
    pictures = [speckle(seed) for seed in range(40)]
    screens = [on_screen(each) for each in pictures]
    assert pairs_of(screens) == set()
    assert pairs_of([*pictures[:8], *screens[:8]]) == {(place, place + 8) for place in range(8)}
