"""Pictures that look alike are found without comparing all pairs: hashes propose them, thumbnails confirm them."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from csasn.cohort.fingerprints import SIDE_PX

N_BANDS, BAND_BITS = 4, 16
MAX_DISTANCE = 3 * N_BANDS - 1  # with up to two flipped bits a band, the pigeonhole principle reaches this far
FLIPS = [sum(1 << bit for bit in bits) for n in range(3) for bits in combinations(range(BAND_BITS), n)]
BLOCK = 4_000_000  # candidate pairs held at once
ALIKE = 0.64  # least correlation of a confirmed pair; how it was chosen: docs/results/cohort.md
AROUND = 3  # thumbnail px a side whose mean and deviation a pixel is measured against
LEAST_DEVIATION = 4.0  # grey levels: what deviates less is noise
MOST_DEVIATIONS = 2.0  # an edge of the scanner's screen counts no more than this
CONFIRMED_AT_ONCE = 20_000  # pairs of thumbnails compared at once: 160 MB
Pairs = NDArray[np.int64]


def near_duplicates(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int, int, float]]:
    """Every confirmed pair (i, j, bits between their hashes, correlation), i < j, of hashes (n,) and their pictures.

    `thumbnails` is (n, SIDE_PX * SIDE_PX). A pair is proposed within MAX_DISTANCE bits and confirmed where the texture
    of its thumbnails correlates by ALIKE or more.
    """
    proposed = near_hashes(hashes, max_distance=MAX_DISTANCE)
    for start in range(0, len(proposed), CONFIRMED_AT_ONCE):
        block = proposed[start : start + CONFIRMED_AT_ONCE]
        places, inverse = np.unique(block[:, :2], return_inverse=True)
        texture = _texture(thumbnails[places])
        one, other = inverse.reshape(-1, 2).T
        correlation = np.einsum("np,np->n", texture[one], texture[other])
        for (i, j, distance), value in zip(block.tolist(), correlation.tolist(), strict=True):
            if value >= ALIKE or (distance == 0 and np.array_equal(thumbnails[i], thumbnails[j])):
                yield i, j, distance, value


def _texture(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (n, SIDE_PX * SIDE_PX) against their own surroundings, of zero mean and unit length.

    What pictures of one scanner share (layers across, borders and rulers along the picture) is taken out by the means
    of rows and columns, and brightness by its surroundings; speckle and outlines stay.
    """
    level = thumbnails.reshape(-1, SIDE_PX, SIDE_PX).astype(np.float32)
    level -= _surroundings(level)
    level /= np.sqrt(_surroundings(level**2) + LEAST_DEVIATION**2)
    np.clip(level, -MOST_DEVIATIONS, MOST_DEVIATIONS, out=level)
    for axis in (1, 2):
        level -= level.mean(axis=axis, keepdims=True)
    flat = level.reshape(len(level), -1)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _surroundings(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over AROUND x AROUND px."""
    rows = uniform_filter1d(level, AROUND, axis=1, mode="nearest")
    return np.asarray(uniform_filter1d(rows, AROUND, axis=2, mode="nearest"))


def near_hashes(hashes: NDArray[np.uint64], *, max_distance: int) -> Pairs:
    """Every pair of different hashes (n,) within max_distance bits, and each repeated hash with its first: (m, 3).

    Rows are (i, j, distance) with i < j, sorted. Exact up to 11 bits: of four bands of 16 bits one differs in at most
    two bits, so that looking up each band and its 136 neighbours finds every pair (Manku 2007). A hash that occurs many
    times gives one pair an occurrence, with its first. Raises ValueError beyond 11 bits.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance is 0 to {MAX_DISTANCE}; received {max_distance}")
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.arange(len(hashes))
    repeats = order[first[inverse] != order]
    found = [np.column_stack([first[inverse[repeats]], repeats, np.zeros(len(repeats), dtype=np.int64)])]
    flips = [flip for flip in FLIPS if flip.bit_count() <= max_distance // N_BANDS]
    for band in range(N_BANDS):
        keys = ((values >> np.uint64(band * BAND_BITS)) & np.uint64(2**BAND_BITS - 1)).astype(np.int64)
        by_key = np.argsort(keys, kind="stable")
        below = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << BAND_BITS))])
        for flip in flips:
            starts = below[keys ^ flip]
            found += _close(values, first, by_key, starts, below[(keys ^ flip) + 1] - starts, max_distance)
    return np.asarray(np.unique(np.concatenate(found), axis=0), dtype=np.int64)


def _close(
    values: NDArray[np.uint64],
    first: NDArray[np.int64],
    by_key: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    max_distance: int,
) -> list[Pairs]:
    """Candidates within a band that are near in all 64 bits, a block of them at a time."""
    found = []
    ends = np.cumsum(counts)
    at = 0
    while at < len(values):
        done = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, done + BLOCK, "right")))
        here = counts[at:stop]
        left = np.repeat(np.arange(at, stop), here)
        within = np.arange(len(left)) - np.repeat(np.cumsum(here) - here, here)
        right = by_key[np.repeat(starts[at:stop], here) + within]
        distance = np.bitwise_count(values[left] ^ values[right])
        near = (distance <= max_distance) & (left < right)
        one, other = first[left[near]], first[right[near]]
        found.append(np.column_stack([np.minimum(one, other), np.maximum(one, other), distance[near].astype(np.int64)]))
        at = stop
    return found
