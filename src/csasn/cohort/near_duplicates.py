"""Pictures that look alike are found among all of them without comparing all pairs."""

import numpy as np
from numpy.typing import NDArray

N_BANDS, BAND_BITS = 4, 16
MAX_DISTANCE = 2 * N_BANDS - 1  # with one flipped bit a band, the pigeonhole principle reaches this far
BLOCK = 4_000_000  # candidate pairs held at once
Pairs = NDArray[np.int64]


def near_duplicates(hashes: NDArray[np.uint64], *, max_distance: int) -> Pairs:
    """Every pair of different hashes (n,) within max_distance bits, and each repeated hash with its first: (m, 3).

    Rows are (i, j, distance) with i < j, sorted. Exact up to 7 bits: of four bands of 16 bits one differs in at most
    one bit, so that looking up each band and its 16 neighbours finds every pair (Manku 2007). A hash that occurs many
    times gives one pair an occurrence, with its first. Raises ValueError beyond 7 bits.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance is 0 to {MAX_DISTANCE}; received {max_distance}")
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.arange(len(hashes))
    repeats = order[first[inverse] != order]
    found = [np.column_stack([first[inverse[repeats]], repeats, np.zeros(len(repeats), dtype=np.int64)])]
    for band in range(N_BANDS):
        keys = ((values >> np.uint64(band * BAND_BITS)) & np.uint64(2**BAND_BITS - 1)).astype(np.int64)
        by_key = np.argsort(keys, kind="stable")
        ordered = keys[by_key]
        for flip in (0, *(1 << bit for bit in range(BAND_BITS))):
            starts = np.searchsorted(ordered, keys ^ flip, "left")
            counts = np.searchsorted(ordered, keys ^ flip, "right") - starts
            found += _close(values, first, by_key, starts, counts, max_distance)
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 3), dtype=np.int64)
    return np.asarray(pairs, dtype=np.int64)


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
