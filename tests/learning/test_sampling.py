"""What an epoch shows: shares by hand, and draws that keep to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csasn.learning.sampling import drawn, shares

INDEX = np.array([0, 0, 0, 0, 1, 1, 2, -1, -1])
PATIENT = np.array([1, 1, 1, 2, 3, 3, 4, 5, 5])


def test_plain_shows_each_once() -> None:
    assert shares(INDEX, PATIENT, "plain").tolist() == [1] * 9


def test_class_balanced_by_hand() -> None:
    """Seven known rows over three classes: 7/3 each; rows of unknown class keep their share."""
    expected = [7 / 12] * 4 + [7 / 6] * 2 + [7 / 3] + [1, 1]
    assert shares(INDEX, PATIENT, "class-balanced").tolist() == pytest.approx(expected)


def test_patient_balanced_by_hand() -> None:
    """Nine rows over five patients: 9/5 each."""
    expected = [0.6, 0.6, 0.6, 1.8, 0.9, 0.9, 1.8, 0.9, 0.9]
    assert shares(INDEX, PATIENT, "patient-balanced").tolist() == pytest.approx(expected)


rows_of_a_cohort = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), min_size=2, max_size=60)


@settings(deadline=None, max_examples=60)
@given(rows=rows_of_a_cohort, seed=st.integers(0, 9), sampling=st.sampled_from(["class-balanced", "patient-balanced"]))
def test_every_row_comes_its_share_rounded_down_or_up(rows: list[tuple[int, int]], seed: int, sampling: str) -> None:
    index, patient = (np.array(column) for column in zip(*rows, strict=True))
    share = shares(index, patient, sampling)
    assert share.sum() == pytest.approx(len(rows))
    named = np.arange(len(rows)) * 7 + 3
    found = drawn(named, share, seed=seed, epoch=1)
    assert len(found) == len(rows)
    assert np.array_equal(found, drawn(named, share, seed=seed, epoch=1))
    n = np.bincount((found - 3) // 7, minlength=len(rows))
    assert ((n >= np.floor(share - 1e-9)) & (n <= np.ceil(share + 1e-9))).all()


def test_shares_are_kept_on_average_and_epochs_differ() -> None:
    share = shares(INDEX, PATIENT, "patient-balanced")
    epochs = [drawn(np.arange(9), share, seed=0, epoch=epoch) for epoch in range(2000)]
    mean = np.bincount(np.concatenate(epochs), minlength=9) / 2000
    np.testing.assert_allclose(mean, share, atol=0.05)
    assert not np.array_equal(np.sort(epochs[0]), np.sort(epochs[1])) or not np.array_equal(epochs[0], epochs[1])
