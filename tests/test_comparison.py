import numpy as np
import pytest

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import bootstrap_p, compare, holm, paired_difference
from csasn.schema import classes_of
from synthetic_run import STRENGTH, manifest, predictions


def test_holm_golden_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([]) == []


def test_bootstrap_p_is_two_sided_and_never_zero() -> None:
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(-np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0


def test_a_model_does_not_differ_from_itself() -> None:
    values = np.random.default_rng(0).normal(size=20)
    mean = lambda w: (w @ values / w.sum(axis=1))[:, None]  # noqa: E731
    (same,) = paired_difference(np.arange(20), mean, mean, n_draws=100)
    assert (same.estimate, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_constant_difference_has_no_width_because_draws_are_shared() -> None:
    values = np.random.default_rng(0).normal(size=20)
    first = lambda w: ((w @ values) / w.sum(axis=1) + 0.5)[:, None]  # noqa: E731
    second = lambda w: (w @ values / w.sum(axis=1))[:, None]  # noqa: E731
    (found,) = paired_difference(np.arange(20), first, second, n_draws=200)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(0.5)


def test_compare_covers_every_rival_and_says_who_is_higher() -> None:
    table = manifest()
    found = compare(predictions(table, classes_of(table)), classes_of(table), EvaluateSettings(n_bootstrap=200))
    assert len(found) == (len(STRENGTH) - 1) * 3 * 2
    weakest = [each for each in found if each.rival == "vit-logistic-regression" and each.unit == "patient"]
    assert all(each.low is not None and each.low > 0 for each in weakest)
    assert all(each.p_holm is not None and each.p is not None and each.p_holm >= each.p for each in found)
