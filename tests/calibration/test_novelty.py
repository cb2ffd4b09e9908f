"""Detectors of the untrained, on points whose distances are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_curve

from csasn.calibration.novelty import DETECTORS, Images, fit_detectors, fit_gaussians
from csasn.evidence.statistics.risk_coverage import fpr_at_sensitivity, risk_coverage


def images(
    rng: np.random.Generator, n: int, *, shift: float = 0.0, strange: float = 0.0, energy: float = 0.0
) -> Images:
    """Embeddings about one of two means, shifted off their plane; statistics moved by `strange`."""
    embedding = rng.normal(size=(n, 30))
    embedding[:, 0] += np.where(np.arange(n) % 2, 6, -6)
    embedding[:, 5] += shift
    return Images(
        energy=rng.normal(energy, 1, n),
        embedding=embedding,
        statistics=rng.normal(strange, 1, (n, 4))
        @ np.array([[1, 0.9, 0, 0], [0, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]),
    )


def test_mahalanobis_of_known_gaussians_follows_chi_squared() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    means = np.array([[0, 0, 0, 0], [30, 0, 0, 0]])
    group = np.arange(20_000) % 2
    points = rng.normal(size=(20_000, 4)) @ mixing + means[group]
    fitted = fit_gaussians(points, group)
    far = means[0] + np.array([3.0, 0, 0, 0]) @ mixing
    assert fitted.distance(far[None])[0] == pytest.approx(9, rel=0.05)
    new = rng.normal(size=(20_000, 4)) @ mixing + means[1]
    assert (fitted.distance(new) > chi2.ppf(0.95, 4)).mean() == pytest.approx(0.05, abs=0.006)


def test_each_detector_sees_what_it_looks_at_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    train, tuning = images(rng, 400), images(rng, 200)
    fitted = fit_detectors(train, np.arange(400) % 2, tuning)
    usual = {name: each.mean() for name, each in fitted.novelty(images(rng, 400)).items()}
    assert all(abs(usual[name]) < 0.3 for name in DETECTORS if name != "combined")
    cases = {
        "energy": (images(rng, 400, energy=4), {"energy"}),
        "embedding": (images(rng, 400, shift=8), {"mahalanobis", "combined"}),
        "statistics": (images(rng, 400, strange=6), {"gate", "combined"}),
    }
    for strange, expected in cases.values():
        found = {name for name, each in fitted.novelty(strange).items() if each.mean() > 2}
        assert found == expected


def test_neighbours_see_a_new_direction_and_not_a_new_length() -> None:
    rng = np.random.default_rng(4)
    direction = np.eye(3)[np.arange(300) % 2] * 5

    def of(points: np.ndarray) -> Images:
        return Images(energy=np.zeros(len(points)), embedding=points, statistics=rng.normal(size=(len(points), 2)))

    train = direction + rng.normal(scale=0.3, size=(300, 3))
    train[:, 2] += 5 * (np.arange(300) % 2)  # so that no column is of one scale alone
    fitted = fit_detectors(of(train), np.arange(300) % 2, of(train[::2] * 1.001), n_neighbours=10)
    longer, turned = train[:50] * 3, -train[:50]
    assert fitted.novelty(of(longer))["neighbours"].mean() < 1
    assert fitted.novelty(of(turned))["neighbours"].min() > 5


def test_novelty_is_standardised_by_the_tuning_images_alone() -> None:
    rng = np.random.default_rng(2)
    train, tuning = images(rng, 300), images(rng, 100)
    found = fit_detectors(train, np.arange(300) % 2, tuning).novelty(tuning)
    for name in ("energy", "mahalanobis", "neighbours", "gate"):
        assert found[name].mean() == pytest.approx(0, abs=1e-9)
        assert found[name].std() == pytest.approx(1)


def scaled_distances(points: np.ndarray, train: np.ndarray, group: np.ndarray) -> list[float]:
    """Squared distances to the nearest of the groups' means, under one shrunk covariance, inverted whole."""
    means = {name: train[group == name].mean(axis=0) for name in set(group.tolist())}
    centred = np.array([row - means[name] for row, name in zip(train, group.tolist(), strict=True)])
    precision = np.linalg.inv(ledoit_wolf(centred, assume_centered=True)[0])
    return [min(float((row - mean) @ precision @ (row - mean)) for mean in means.values()) for row in points]


def test_every_detector_by_hand() -> None:
    rng = np.random.default_rng(9)
    group = np.array(["b", "a", "c"] * 12)
    parts = []
    for n in (36, 15, 6):
        embedding = 3 + rng.normal(size=(n, 3)) * np.array([0.01, 1, 40])
        statistics = 2 + rng.normal(size=(n, 2)) @ np.array([[1, 30], [0.3, 5]])
        parts.append(Images(energy=rng.normal(size=n), embedding=embedding, statistics=statistics))
    train, tuning, asked = parts
    found = fit_detectors(train, group, tuning, n_neighbours=4).novelty(asked)
    scale = train.embedding.std(axis=0)
    scale = np.maximum(scale, 1e-3 * train.embedding.std())
    centre, spread = train.statistics.mean(axis=0), train.statistics.std(axis=0)
    unit = {id(each): each.embedding / scale for each in parts}
    unit = {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in unit.items()}
    raw: dict[str, list[list[float]]] = {"energy": [], "mahalanobis": [], "neighbours": [], "gate": []}
    for each in (tuning, asked):
        raw["energy"].append(each.energy.tolist())
        raw["mahalanobis"].append(
            np.log(scaled_distances(each.embedding / scale, train.embedding / scale, group)).tolist()
        )
        away = [sorted(np.linalg.norm(row - unit[id(train)], axis=1)) for row in unit[id(each)]]
        raw["neighbours"].append([row[3] for row in away])
        gates = [(part.statistics - centre) / spread for part in (each, train)]
        raw["gate"].append(np.log(scaled_distances(*gates, np.zeros(36))).tolist())
    expected = {name: (np.array(new) - np.mean(old)) / np.std(old) for name, (old, new) in raw.items()}
    expected["combined"] = np.maximum(expected["mahalanobis"], expected["gate"])
    assert set(found) == set(DETECTORS)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    ten = fit_detectors(train, group, tuning).novelty(asked)["neighbours"]
    assert ten == pytest.approx(fit_detectors(train, group, tuning, n_neighbours=10).novelty(asked)["neighbours"])


def test_constant_columns_and_fewer_rows_than_columns_stay_finite() -> None:
    rng = np.random.default_rng(3)
    few = Images(
        energy=rng.normal(size=8),
        embedding=np.hstack([rng.normal(size=(8, 40)), np.ones((8, 3))]),
        statistics=np.hstack([rng.normal(size=(8, 2)), np.zeros((8, 2))]),
    )
    found = fit_detectors(few, np.arange(8) % 2, few, n_neighbours=50).novelty(few)
    assert all(np.isfinite(each).all() for each in found.values())


def test_fpr_at_sensitivity_by_hand() -> None:
    novel = np.array([True] * 4 + [False] * 5)
    novelty = np.array([9, 8, 7, 1, 8, 3, 1, 0, 0.5])
    assert fpr_at_sensitivity(novel, novelty, sensitivity=0.75) == pytest.approx(1 / 5)  # threshold 7
    assert fpr_at_sensitivity(novel, novelty, sensitivity=0.95) == pytest.approx(3 / 5)  # threshold 1, ties refused
    with pytest.raises(ValueError, match="one side"):
        fpr_at_sensitivity(np.zeros(3, dtype=bool), np.arange(3.0))


@given(seed=st.integers(0, 10_000), n=st.integers(5, 60), levels=st.integers(2, 50))
def test_fpr_at_sensitivity_agrees_with_the_roc_curve(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    novel = np.r_[True, False, rng.random(n) < 0.5]
    novelty = rng.integers(0, levels, n + 2).astype(float)
    false_rate, true_rate, _ = roc_curve(novel, novelty, drop_intermediate=False)
    expected = false_rate[np.argmax(true_rate >= 0.95)]
    assert fpr_at_sensitivity(novel, novelty) == pytest.approx(expected)


def test_risk_coverage_by_hand_with_a_tie() -> None:
    wrong = np.array([False, True, False, True])
    coverage, risk = risk_coverage(wrong, np.array([0.0, 1.0, 1.0, 2.0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 3, 1 / 2])


@given(seed=st.integers(0, 10_000))
def test_risk_coverage_ends_at_the_error_rate_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong = rng.random(30) < 0.4
    _, risk = risk_coverage(wrong, rng.integers(0, 5, 30).astype(float))
    assert risk[-1] == pytest.approx(wrong.mean())


def test_neighbours_are_looked_for_among_a_bounded_number_of_images() -> None:
    rng = np.random.default_rng(8)
    for n, n_references in ((5000, 5000), (5001, 2501), (12_000, 4000)):
        fitted = fit_detectors(images(rng, n), np.arange(n) % 2, images(rng, 50))
        assert len(fitted.references) == n_references
