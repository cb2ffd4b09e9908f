"""Changes of a run's predictions that must leave its evidence as it was, or move it in a known way."""

import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csasn.config import EvaluateSettings
from csasn.evidence.evaluate import Evaluation
from csasn.evidence.record import Record
from csasn.evidence.statistics.ranking import auprc, auroc
from csasn.schema import ClassList, classes_of
from tests.support.evaluation import evaluate
from tests.support.synthetic_run import manifest, predictions

QUICK = EvaluateSettings(n_bootstrap=100, calibration_bins=5)
RANKS = ("auroc", "auprc", "sensitivity_at_specificity", "specificity_at_sensitivity")


def described(table: pl.DataFrame) -> pl.DataFrame:
    """The manifest with device, age, sex, size and TI-RADS level, one value a patient."""
    rng = np.random.default_rng(9)
    patients = table["patient_id"].unique().sort()
    n = len(patients)
    facts = pl.DataFrame(
        {
            "patient_id": patients,
            "device": [f"scanner {place % 2}" for place in range(n)],
            "age_years": rng.uniform(20, 85, n),
            "sex": ["female" if place % 3 else "male" for place in range(n)],
            "nodule_size_mm": rng.uniform(4, 45, n),
            "tirads_level": rng.integers(1, 6, n),
        }
    )
    return table.drop(facts.columns[1:]).join(facts, on="patient_id", how="left", maintain_order="left")


TABLE = described(manifest())
CLASSES = classes_of(TABLE)
FRAME = predictions(TABLE, CLASSES).filter(pl.col("model").is_in(["csasn", "cnn-only"]))


@pytest.fixture(scope="module")
def before() -> Evaluation:
    return evaluate(FRAME, TABLE, CLASSES, QUICK)


def per_patient(found: Evaluation) -> list[Record]:
    return [each for each in found.records if each.unit == "patient"]


def keyed(records: list[Record]) -> dict[tuple[str, str, str, str], tuple[float | None, float | None, float | None]]:
    return {(r.model, r.site, r.target, r.metric): (r.estimate, r.low, r.high) for r in records}


def assert_alike(one: dict, other: dict, *, tolerance: float = 1e-9) -> None:
    assert one.keys() == other.keys()
    for key, values in one.items():
        for mine, theirs in zip(values, other[key], strict=True):
            assert (mine is None) == (theirs is None), key
            assert mine is None or mine == pytest.approx(theirs, abs=tolerance), key


def test_the_order_of_rows_changes_nothing(before: Evaluation) -> None:
    shuffled = evaluate(
        FRAME.sample(fraction=1.0, shuffle=True, seed=3),
        TABLE.sample(fraction=1.0, shuffle=True, seed=4),
        CLASSES,
        QUICK,
    )
    for name in Evaluation.__slots__:
        mine, theirs = getattr(before, name), getattr(shuffled, name)
        assert json.dumps(mine, default=asdict) == json.dumps(theirs, default=asdict), name


def test_the_order_of_classes_changes_no_figure_of_a_class(before: Evaluation) -> None:
    turned = ClassList(names=("benign", "ATC", "MTC", "FTC", "PTC"), n_non_malignant=1)
    after = evaluate(FRAME, TABLE, turned, QUICK)
    estimates = {key: values[:1] for key, values in keyed(per_patient(before)).items()}
    assert_alike(estimates, {key: values[:1] for key, values in keyed(per_patient(after)).items()})


def test_renamed_classes_keep_their_figures(before: Evaluation) -> None:
    names = {"benign": "benign", "PTC": "one", "FTC": "two", "MTC": "three", "ATC": "four"}
    kinds = ("logit", "probability")
    columns = {f"{kind}_{old}": f"{kind}_{new}" for kind in kinds for old, new in names.items()}
    renamed = FRAME.rename(columns).with_columns(pl.col("subtype").replace_strict(names))
    table = TABLE.with_columns(pl.col("subtype").replace_strict(names))
    classes = ClassList(names=tuple(names.values()), n_non_malignant=1)
    back = {new: old for old, new in names.items()}
    found = keyed(per_patient(evaluate(renamed, table, classes, QUICK)))
    after = {(key[0], key[1], back.get(key[2], key[2]), key[3]): values for key, values in found.items()}
    assert_alike(keyed(per_patient(before)), after)


def test_images_that_stand_twice_change_no_figure_per_patient(before: Evaluation) -> None:
    frames, tables = (pl.concat([each, each.with_columns(pl.col("image_path") + "_copy")]) for each in (FRAME, TABLE))
    after = evaluate(frames, tables, CLASSES, QUICK)
    assert_alike(keyed(per_patient(before)), keyed(per_patient(after)))
    shares = ("sensitivity", "specificity", "ppv", "npv")
    image = [
        {k: v for k, v in keyed([r for r in each.records if r.unit == "image"]).items() if k[3] in shares}
        for each in (before, after)
    ]
    widths = [[high - low for p, low, high in each.values() if p not in (None, 0.0, 1.0)] for each in image]
    assert np.median(np.array(widths[1]) / np.array(widths[0])) == pytest.approx(1, abs=0.05)  # copies inform no one


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_strictly_increasing_maps_leave_every_ranking(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.random(50) < 0.4, np.round(rng.random(50), 2)
    y[:2] = True, False
    for metric in (auroc, auprc):
        assert metric(y, p**power) == pytest.approx(float(metric(y, p)))


def test_a_temperature_on_every_logit_of_two_classes_leaves_rankings_and_calls() -> None:
    """With two classes a temperature is a strictly increasing map of the patient's probability."""
    table = manifest({"benign": 40, "PTC": 40}, odd_patient="P7")
    classes = classes_of(table)
    frame = predictions(table, classes).filter(pl.col("model") == "csasn")
    once = frame.filter(pl.col("image_path").str.contains("transverse"))  # one image: the mean of logs is its own
    cold = once.with_columns(pl.col("logit_benign", "logit_PTC") * 0.4)
    first, second = (evaluate(each, table, classes, QUICK) for each in (once, cold))
    held = (*RANKS, "sensitivity", "specificity", "ppv", "npv", "macro_auroc", "balanced_accuracy", "kappa", "mcc")
    pairs = [{k: v for k, v in keyed(per_patient(each)).items() if k[3] in held} for each in (first, second)]
    assert len(pairs[0]) > 50
    assert_alike(*pairs)
    briers = [keyed(per_patient(each))["csasn", "all", "all", "brier"][0] for each in (first, second)]
    assert briers[0] != pytest.approx(briers[1])
    assert [each.covered for each in first.prediction_sets.coverage] == [
        each.covered for each in second.prediction_sets.coverage
    ]


def test_exchanging_the_two_models_turns_the_signs(before: Evaluation) -> None:
    swapped = FRAME.with_columns(pl.col("model").replace({"csasn": "cnn-only", "cnn-only": "csasn"}))
    after = evaluate(swapped, TABLE, CLASSES, QUICK)
    for mine, theirs in zip(before.comparisons, after.comparisons, strict=True):
        assert mine.estimate == pytest.approx(-theirs.estimate)
        assert mine.low == pytest.approx(-theirs.high)
        assert mine.p == pytest.approx(theirs.p)
        assert mine.detectable == pytest.approx(theirs.detectable)
    for mine, theirs in zip(before.paired_tests, after.paired_tests, strict=True):
        assert mine.estimate == pytest.approx(-theirs.estimate)
        assert mine.p == pytest.approx(theirs.p)
        assert (mine.b, mine.c) == (theirs.c, theirs.b)


def test_subgroups_cover_every_patient_once(before: Evaluation) -> None:
    assert {each.by for each in before.subgroups} == {"device", "age", "sex", "nodule_size"}
    for by in ("device", "age", "sex", "nodule_size"):
        rows = [each for each in before.subgroups if each.by == by]
        assert sum(each.n for each in rows if each.metric == "auroc") == 144
        for metric in ("sensitivity", "specificity"):
            whole = keyed(per_patient(before))["csasn", "all", "malignancy", metric][0]
            own = [each for each in rows if each.metric == metric]
            hits, n = sum(each.n_positive for each in own), sum(each.n for each in own)
            assert hits / n == pytest.approx(whole)
