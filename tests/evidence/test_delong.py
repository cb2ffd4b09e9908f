"""DeLong's covariance where patients bring several units, and of readers that rank alike."""

import numpy as np
import pytest

from csasn.evidence.statistics.delong import delong


def naive_clusters(y: np.ndarray, p: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Obuchowski's covariance, pair by pair and patient by patient."""
    m, n, names = y.sum(), (~y).sum(), np.unique(patients)
    areas, tens, ones = [], [], []
    for reader in p:
        wins = np.array([[float(a > b) + 0.5 * (a == b) for b in reader[~y]] for a in reader[y]])
        areas.append(wins.mean())
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    of_ten, of_one = patients[y], patients[~y]
    n_ten, n_one, every = len(np.unique(of_ten)), len(np.unique(of_one)), len(names)
    found = np.zeros((len(p), len(p)))
    for r in range(len(p)):
        for s in range(len(p)):
            ten = [[(tens[q][of_ten == name] - areas[q]).sum() for name in names] for q in (r, s)]
            one = [[(ones[q][of_one == name] - areas[q]).sum() for name in names] for q in (r, s)]
            s10 = n_ten / ((n_ten - 1) * m) * np.dot(ten[0], ten[1])
            s01 = n_one / ((n_one - 1) * n) * np.dot(one[0], one[1])
            s11 = every / (every - 1) * np.dot(ten[0], one[1])
            s11_turned = every / (every - 1) * np.dot(ten[1], one[0])
            found[r, s] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return found


def test_clustered_delong_equals_a_naive_one_and_plain_delong_without_clusters() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(20, 50))
        y, patients = rng.random(n) < 0.5, rng.integers(0, n // 2, n)
        p = np.round(rng.normal(size=(2, n)) + y, 1)
        np.testing.assert_allclose(delong(y, p, patients).covariance, naive_clusters(y, p, patients), atol=1e-12)
        np.testing.assert_allclose(
            delong(y, p, np.arange(n)[::-1].astype(str)).covariance, delong(y, p).covariance, atol=1e-12
        )
    with pytest.raises(ValueError, match="received 1 positive and 2 negative"):
        delong(np.array([True, True, False, False]), np.arange(4.0), np.array([1, 1, 2, 3]))


def test_readers_that_rank_alike_have_a_difference_of_exactly_nothing() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.random(500) < 0.3, rng.random(500)
    for alike in (p, p**3):
        found = delong(y, np.stack([p, alike]), np.arange(500) // 3)
        assert found.difference() == (0, 0, 0)
        assert np.isnan(found.z())
