import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.schema import classes_of
from tests.support.evaluation import evaluate
from tests.support.synthetic_run import manifest, predictions

TABLE = manifest()
CLASSES = classes_of(TABLE)
FRAME = predictions(TABLE, CLASSES).filter(pl.col("model") == "csasn")


def test_the_calibration_section_adds_up_and_the_population_moves_the_prevalence() -> None:
    settings = EvaluateSettings(n_bootstrap=100, calibration_bins=5, population={"malignancy": 0.05})
    found = evaluate(FRAME, TABLE, CLASSES, settings)
    section = found.calibration
    for stage in ("raw", "calibrated"):
        for target in ("all", "malignancy", *CLASSES.names):
            bins = [each for each in section.reliability if (each.stage, each.target) == (stage, target)]
            assert sum(each.n for each in bins) == 144
            assert all(each.low <= each.observed <= each.high for each in bins)
    records = {
        (each.target, each.metric): each for each in found.records if (each.unit, each.site) == ("patient", "all")
    }
    for each in section.murphy:
        assert each.brier == pytest.approx(records[each.target, "brier"].estimate)
        assert each.brier == pytest.approx(each.reliability - each.resolution + each.uncertainty + each.within)
    raw, calibrated = section.corrections
    assert raw.brier == pytest.approx(records["all", "brier"].estimate)
    assert raw.ece == pytest.approx(records["all", "ece"].estimate)
    assert calibrated.nll < raw.nll  # these logits are too timid by design
    assert sum(each.population for each in section.population) == pytest.approx(1)
    benign = section.population[0]
    assert benign.population == pytest.approx(0.95)
    assert benign.mean_after > benign.mean_before
    sensitivity, specificity = (records["malignancy", name].estimate for name in ("sensitivity", "specificity"))
    expected = sensitivity * 0.05 / (sensitivity * 0.05 + (1 - specificity) * 0.95)
    ppv = records["malignancy", "ppv_in_population"]
    assert ppv.estimate == pytest.approx(expected)
    assert ppv.low < expected < ppv.high
    assert ppv.estimate < records["malignancy", "ppv"].estimate


def test_without_a_declared_population_nothing_is_adjusted() -> None:
    found = evaluate(FRAME, TABLE, CLASSES, EvaluateSettings(n_bootstrap=100))
    assert found.calibration.population == []
    assert not any(each.metric.endswith("_in_population") for each in found.records)
    assert np.isfinite([each.temperature for each in found.calibration.temperatures]).all()
