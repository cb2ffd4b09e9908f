import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.evidence.decision import EVERYONE, RULE, biopsies, decision_curves, threshold_for, would_biopsy
from csasn.schema import ClassList

TWO = ClassList(names=("benign", "PTC"), n_non_malignant=1)
SETTINGS = EvaluateSettings(n_bootstrap=200, fixed_sensitivity=0.9)


def rows(p: list[float], malignant: list[bool], *, partition: str = "test", fold: int = 0) -> pl.DataFrame:
    keys = [f"{partition}{place}" for place in range(len(p))]
    return pl.DataFrame(
        {
            "fold": fold,
            "partition": partition,
            "patient_id": keys,
            "malignant": malignant,
            "subtype": ["PTC" if each else "benign" for each in malignant],
            "probability_benign": [1 - each for each in p],
            "probability_PTC": p,
        }
    )


def nodules(patients: pl.DataFrame, levels: list[int | None], sizes: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"patient_id": patients["patient_id"], "tirads_level": levels, "nodule_size_mm": sizes},
        schema_overrides={"tirads_level": pl.Int32, "nodule_size_mm": pl.Float64},
    )


def test_the_rule_biopsies_from_its_sizes_on() -> None:
    patients = rows([0.5] * 9, [True] * 9)
    levels = [1, 2, 3, 3, 4, 4, 5, 5, None]
    called, known = would_biopsy(patients, nodules(patients, levels, [90, 90, 24.9, 25, 14.9, 15, 9.9, 10, 90]))
    assert called.tolist() == [False, False, False, True, False, True, False, True, False]
    assert known.tolist() == [True] * 8 + [False]
    _, known = would_biopsy(patients, nodules(patients, [1, 2, 3, 3, 4, 4, 5, 5, 5], [None] * 9))
    assert known.tolist() == [True, True] + [False] * 7


def test_a_patient_is_biopsied_for_any_nodule() -> None:
    patients = rows([0.5], [True])
    several = pl.concat([nodules(patients, [2], [30.0]), nodules(patients, [5], [12.0])])
    called, known = would_biopsy(patients, several)
    assert (called.tolist(), known.tolist()) == ([True], [True])


def test_curves_by_hand() -> None:
    p, malignant = [0.9, 0.6, 0.3, 0.8, 0.2, 0.1], [True, True, True, False, False, False]
    test = rows(p, malignant)
    found = decision_curves(test, nodules(test, [5, 5, 1, 5, 1, 1], [20.0] * 6), TWO, SETTINGS)
    assert {each.target for each in found} == {"malignancy", "PTC"}
    at = {(each.target, each.threshold): each for each in found}
    half = at["malignancy", 0.5]  # two true and one false at odds 1
    assert (half.model, half.treat_all, half.rule) == (pytest.approx(1 / 6), pytest.approx(0.0), pytest.approx(1 / 6))
    assert half.low <= half.model <= half.high
    quarter = at["malignancy", 0.25]  # three true, one false at odds 1/3
    assert quarter.model == pytest.approx(3 / 6 - 1 / 6 / 3)
    assert quarter.treat_all == pytest.approx(0.5 - 0.5 / 3)
    assert at["PTC", 0.5].rule is None
    assert at["malignancy", 0.99].model == 0.0
    lacking = decision_curves(test, nodules(test, [5, None, 1, 5, 1, 1], [20.0] * 6), TWO, SETTINGS)
    assert all(each.rule is None for each in lacking)
    one_sided = rows([0.4, 0.6], [True, True])
    assert decision_curves(one_sided, nodules(one_sided, [1, 1], [5.0, 5.0]), TWO, SETTINGS) == []


def test_a_threshold_for_a_sensitivity_is_the_highest_that_reaches_it() -> None:
    y, p = np.array([True] * 10 + [False] * 2), np.append(np.arange(1, 11) / 10, [0.05, 0.95])
    assert threshold_for(y, p, 0.9) == pytest.approx(0.2)
    assert threshold_for(y, p, 0.91) == pytest.approx(0.1)
    assert threshold_for(y, p, 1.0) == pytest.approx(0.1)
    assert threshold_for(y, p, 0.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="positives"):
        threshold_for(~np.ones(12, dtype=bool), p, 0.9)


def test_biopsies_saved_at_equal_sensitivity_by_hand() -> None:
    tuning = rows([0.9, 0.8, 0.7, 0.6, 0.3, 0.2], [True, True, True, True, False, False], partition="tuning")
    test = rows([0.9, 0.7, 0.65, 0.2, 0.8, 0.1, 0.1, 0.1], [True] * 4 + [False] * 4)
    table = pl.concat([tuning, test])
    # the rule finds 3 of 4 cancers in tuning, so the model's threshold is .7
    levels = [5, 5, 5, 1, 5, 1, 5, 5, 1, 1, 5, 5, 5, 1]
    rule, everyone = biopsies(table, nodules(table, levels, [20.0] * 14), TWO, SETTINGS)
    assert (rule.reference, everyone.reference) == (RULE, EVERYONE)
    assert (rule.reference_sensitivity, rule.model_sensitivity) == (0.5, 0.5)
    assert (rule.reference_biopsies, rule.model_biopsies) == (pytest.approx(62.5), pytest.approx(37.5))
    assert rule.saved == pytest.approx(25.0)
    assert rule.low <= 25 <= rule.high
    # .9 of four cancers is all four: threshold .6, four biopsies of eight
    assert (everyone.model_sensitivity, everyone.model_biopsies) == (0.75, pytest.approx(50.0))
    assert everyone.saved == pytest.approx(50.0)
    assert everyone.n == 8


def test_what_cannot_be_counted_says_so() -> None:
    tuning = rows([0.3, 0.2], [False, False], partition="tuning")
    test = rows([0.9, 0.1], [True, False])
    table = pl.concat([tuning, test])
    rule, everyone = biopsies(table, nodules(table, [None] * 4, [None] * 4), TWO, SETTINGS)
    assert (rule.saved, rule.n) == (None, 2)
    assert "not estimable: 4 of 4 patients lack" in rule.note
    assert everyone.saved is None
    assert "folds without a malignant tuning patient left out: 0" in everyone.note
