import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import UNDEFINED, difference_of, shared_units
from csasn.evidence.estimates import Resampled, resample
from csasn.evidence.record import Scope
from csasn.evidence.statistics.paired import bootstrap_p, detectable_difference, holm, mcnemar
from csasn.schema import ClassList, classes_of
from tests.support.evaluation import evaluate
from tests.support.synthetic_run import STRENGTH, manifest, predictions


def test_holm_golden_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([]) == []


def test_bootstrap_p_is_two_sided_and_never_zero() -> None:
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(-np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0


def resampled(
    probabilities: np.ndarray, y: np.ndarray, names: list[str] | None = None
) -> tuple[Resampled, pl.DataFrame]:
    """A table of benign and PTC patients, p(PTC) given."""
    keys = names or [f"P{scope:03d}" for scope in range(len(y))]
    logits = np.stack([np.log(1 - probabilities), np.log(probabilities)], axis=1)
    frame = pl.DataFrame(
        {
            "model": "csasn",
            "fold": 0,
            "partition": "test",
            "image_path": keys,
            "site": "A",
            "nodule_id": keys,
            "patient_id": keys,
            "malignant": y,
            "subtype": np.where(y, "PTC", "benign"),
            **{f"logit_{name}": logits[:, k] for k, name in enumerate(TWO.names)},
            **{f"probability_{name}": np.exp(logits[:, k]) for k, name in enumerate(TWO.names)},
        }
    )
    scope = Scope(model="csasn", site="all", unit="patient")
    return resample(scope, frame, TWO, EvaluateSettings(n_bootstrap=300), brief=True), frame


TWO = ClassList(names=("benign", "PTC"), n_non_malignant=1)
RNG = np.random.default_rng(0)
Y = np.arange(60) % 3 == 0
P = np.clip(0.3 * Y + 0.6 * RNG.random(60), 0.01, 0.99)


def test_a_model_does_not_differ_from_itself() -> None:
    table, _ = resampled(P, Y)
    same = difference_of(table, table, "malignancy", "auroc", confidence=0.95)
    assert (same.estimate, same.low, same.high, same.p, same.error) == (0, None, None, 1, 0)
    assert same.note.startswith("no interval")


def test_differences_share_their_draws() -> None:
    first, second = resampled(P, Y)[0], resampled(np.clip(P**3, 0.001, 0.99), Y)[0]
    found = difference_of(first, second, "malignancy", "auroc", confidence=0.95)
    assert (found.estimate, found.low, found.high) == (0, None, None)  # a strictly increasing map ranks alike
    brier = difference_of(first, second, "malignancy", "brier", confidence=0.95)
    assert brier.low is not None
    assert brier.low < brier.estimate < brier.high
    draws = first.draws("malignancy", "brier")[1] - second.draws("malignancy", "brier")[1]
    assert brier.error == pytest.approx(draws.std())
    assert brier.high == pytest.approx(np.quantile(draws, 0.975))
    assert difference_of(first, second, "malignancy", "nothing", confidence=0.95) == UNDEFINED


def test_only_units_that_both_tested_are_compared() -> None:
    first, second = resampled(P, Y), resampled(P[:50], Y[:50])
    with pytest.raises(ValueError, match="same units"):
        difference_of(first[0], second[0], "malignancy", "auroc", confidence=0.95)
    own, other, apart = shared_units(first, second, TWO, EvaluateSettings(n_bootstrap=300))
    assert apart == 10
    assert own.keys == other.keys == second[0].keys
    assert difference_of(own, other, "malignancy", "auroc", confidence=0.95).estimate == 0


@pytest.mark.parametrize(
    ("b", "c", "statistic", "p", "method"),
    [
        (121, 59, 20.67222, 5.450095e-6, "McNemar corrected"),
        (70, 59, 0.7751938, 0.3786151, "McNemar corrected"),
        (12, 12, 12, 1.0, "McNemar exact"),
        (5, 20, 14**2 / 25, None, "McNemar corrected"),
        (4, 20, 4, 0.001544, "McNemar exact"),
        (0, 0, 0, 1.0, "McNemar exact"),
    ],
)
def test_mcnemar(b: int, c: int, statistic: float, p: float | None, method: str) -> None:
    found = mcnemar(b, c)
    assert found[0] == pytest.approx(statistic, rel=1e-6)
    assert p is None or found[1] == pytest.approx(p, rel=1e-3 if b == 4 else 1e-6)
    assert found[2] == method


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    assert detectable_difference(0.01) == pytest.approx(0.01 * (1.959964 + 0.841621), rel=1e-5)
    assert detectable_difference(0.01, family=9) == pytest.approx(0.01 * (2.772755 + 0.841621), rel=1e-4)
    rng = np.random.default_rng(0)
    found = rng.normal(detectable_difference(1.0), 1.0, 20_000) > 1.959964
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_compare_covers_every_rival_and_says_who_is_higher() -> None:
    table = manifest()
    classes = classes_of(table)
    found = evaluate(predictions(table, classes), table, classes, EvaluateSettings(n_bootstrap=200))
    assert len(found.comparisons) == (len(STRENGTH) - 1) * 3 * 2
    weakest = [
        each for each in found.comparisons if each.baseline == "vit-logistic-regression" and each.unit == "patient"
    ]
    assert all(each.low is not None and each.low > 0 for each in weakest)
    assert all(each.p_holm is not None and each.p is not None and each.p_holm >= each.p for each in found.comparisons)
    assert all(each.detectable is not None and each.detectable > 0 for each in found.comparisons)
    tests = found.paired_tests
    assert [(each.baseline, each.metric) for each in tests[:3]] == [
        ("cnn-only", name) for name in ("auroc", "sensitivity", "specificity")
    ]
    assert [each.p_holm for each in tests] == pytest.approx(holm([each.p for each in tests]))
    records = {
        (each.model, each.target, each.metric): each.estimate
        for each in found.records
        if each.unit == "patient" and each.site == "all"
    }
    for each in tests:
        pair = records["csasn", "malignancy", each.metric], records[each.baseline, "malignancy", each.metric]
        assert each.estimate == pytest.approx(pair[0] - pair[1])
