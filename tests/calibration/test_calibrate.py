"""What `calibrate` keeps is what `evaluate` measures, and nothing is fitted twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from csasn.calibration import fit
from csasn.calibration.calibrate import CALIBRATION, calibrate_run, novelty_name, read_calibration, read_gate
from csasn.calibration.embeddings import images_of, read_embeddings
from csasn.calibration.fit import fit_gate
from csasn.calibration.novelty import DETECTORS
from csasn.errors import BadInputError, MismatchError
from csasn.evidence.evaluate import evaluate_run
from csasn.files import write_json
from csasn.runs import Run, create_run
from csasn.schema import rare_classes
from tests.support.synthetic_readings import with_abstention, with_embeddings
from tests.support.synthetic_run import make_run

FOLDS = (0, 1, 2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return with_embeddings(make_run(tmp_path))


def test_the_record_comes_back_as_it_was_fitted(run: Run) -> None:
    calibrate_run(run)
    kept = read_calibration(run)
    assert {each.unit for each in kept.operating_points} == {"patient", "nodule", "image"}
    assert {each.fold for each in kept.temperatures} == set(FOLDS)
    assert {(each.fold, each.detector) for each in kept.novelty} == {(f, d) for f in FOLDS for d in DETECTORS}
    before = run.path(CALIBRATION).read_bytes()
    calibrate_run(run)
    assert run.path(CALIBRATION).read_bytes() == before


@pytest.mark.parametrize("fold", FOLDS)
def test_a_kept_gate_measures_as_the_fitted_one_bit_for_bit(run: Run, fold: int) -> None:
    calibrate_run(run)
    frame = read_embeddings(run, "embeddings", fold)
    fitted, n = fit_gate(frame, run.configuration.novelty)
    kept = read_gate(run, read_calibration(run), fold)
    assert kept.thresholds == fitted.thresholds
    assert n > 0
    expected = fitted.detectors.novelty(images_of(frame))
    for name, found in kept.detectors.novelty(images_of(frame)).items():
        np.testing.assert_array_equal(found, expected[name])


def test_the_gate_is_kept_as_arrays_alone(run: Run) -> None:
    calibrate_run(run)
    with safe_open(run.path(novelty_name(0)), framework="numpy") as file:
        assert all(file.get_tensor(name).dtype == np.float64 for name in file.keys())  # noqa: SIM118
        assert "references" in file.keys()  # noqa: SIM118


def test_each_gate_is_fitted_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit a fold by `calibrate`; `evaluate` fits those alone of the models that were trained without a class."""
    fits: list[int] = []
    real = fit.fit_detectors

    def counted(*args: Any, **kwargs: Any) -> Any:
        fits.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(fit, "fit_detectors", counted)
    calibrate_run(run)
    assert len(fits) == len(FOLDS)
    evaluate_run(run)
    assert len(fits) == len(FOLDS)
    with_abstention(run)
    evaluate_run(run)
    assert len(fits) == len(FOLDS) + len(FOLDS) * len(rare_classes(run.manifest()))


def test_evaluate_measures_what_was_kept(run: Run) -> None:
    """Other temperatures, thresholds and sets in the file are what the figures are made of."""
    calibrate_run(run)
    before = json.loads(evaluate_run(run).read_text())
    content = json.loads(run.path(CALIBRATION).read_text())
    for each in content["temperatures"]:
        each["temperature"] = 5.0
    for each in content["operating_points"]:
        each["threshold"] = 0.0
    for each in content["prediction_sets"]["thresholds"]:
        each["threshold"] = 0.0
    for each in content["novelty"]:
        each["threshold"] = -1e9
    write_json(run.path(CALIBRATION), content)
    outputs = (CALIBRATION, *(novelty_name(fold) for fold in FOLDS))
    run.finish("calibrate", inputs=("predictions.parquet", "split.csv"), outputs=outputs)
    after = json.loads(evaluate_run(run).read_text())
    assert {each["temperature"] for each in after["calibration"]["temperatures"]} == {5.0}
    assert after["calibration"]["corrections"][0] == before["calibration"]["corrections"][0]  # the raw ones
    assert after["calibration"]["corrections"][1] != before["calibration"]["corrections"][1]
    found = [
        each["estimate"]
        for each in after["records"]
        if each["metric"] == "sensitivity" and each["estimate"] is not None
    ]
    assert found
    assert set(found) == {1.0}  # everything lies at or above 0
    assert all(each["covered"] == 0 for each in after["prediction_sets"]["coverage"])
    shares = json.loads(run.path("abstention.json").read_text())["abstained"]
    assert {each["share"] for each in shares} == {1.0}


def test_evaluate_asks_for_calibrate_first_and_refuses_a_changed_file(run: Run) -> None:
    with pytest.raises(BadInputError, match="calibrate"):
        evaluate_run(run)
    calibrate_run(run)
    run.path(CALIBRATION).write_text(run.path(CALIBRATION).read_text().replace('"temperature":', '"temprature":'))
    with pytest.raises(MismatchError, match="is not the file that stage `calibrate` wrote"):
        evaluate_run(run)
    run.finish("calibrate", inputs=("predictions.parquet",), outputs=(CALIBRATION,))
    with pytest.raises(BadInputError, match=r"temperatures\[0\]\.temperature"):
        evaluate_run(run)


def test_another_alpha_is_calibrated_again_and_trains_nothing(run: Run) -> None:
    calibrate_run(run)
    evaluate_run(run)
    settings = run.configuration
    changed = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"set_alpha": 0.2})})
    again = create_run(run.folder.parent / "cohort", run.folder, changed)
    assert set(again.stages()) == {"split", "fit", "predict"}
    calibrate_run(again)
    assert read_calibration(again).prediction_sets.alpha == 0.2
    wider = changed.model_copy(update={"evaluate": changed.evaluate.model_copy(update={"n_bootstrap": 120})})
    assert "calibrate" in create_run(run.folder.parent / "cohort", run.folder, wider).stages()
