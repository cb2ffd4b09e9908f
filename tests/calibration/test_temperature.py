import numpy as np
import polars as pl
import pytest
from scipy.special import log_softmax

from csasn.calibration.prevalence import declared_prevalence, shifted
from csasn.calibration.temperature import fit_temperature, nll, temperatures, with_temperatures
from csasn.errors import BadInputError
from csasn.schema import ClassList, classes_of
from tests.support.synthetic_run import manifest, predictions

THREE = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)


def drawn(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large, and labels drawn from what they should say."""
    rng = np.random.default_rng(0)
    honest = 1.5 * rng.normal(size=(n, 3))
    p = np.exp(log_softmax(honest, axis=1))
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return honest * temperature, y


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    logits, y = drawn(20_000, temperature)
    found = fit_temperature(logits, y)
    assert found == pytest.approx(temperature, rel=0.03)
    for other in (0.9, 1.1):
        assert nll(logits / found, y) < nll(logits / (found * other), y)


def test_temperatures_come_from_tuning_rows_alone_and_move_only_sureness() -> None:
    table = manifest()
    classes = classes_of(table)
    main = predictions(table, classes).filter(pl.col("model") == "csasn")
    fitted = temperatures(main, classes)
    assert [each.fold for each in fitted] == [0, 1, 2]
    assert all(each.nll_after <= each.nll_before for each in fitted)
    turned = main.with_columns(
        pl.when(pl.col("partition") == "test").then(-pl.col("logit_PTC")).otherwise("logit_PTC").alias("logit_PTC")
    )
    assert temperatures(turned, classes) == fitted
    calibrated = with_temperatures(main, classes, fitted)
    names = [f"probability_{name}" for name in classes.names]
    before, after = main.select(names).to_numpy(), calibrated.select(names).to_numpy()
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    np.testing.assert_allclose(np.exp(calibrated.select([f"logit_{name}" for name in classes.names]).to_numpy()), after)
    first = main["fold"].to_numpy() == 0
    by_hand = np.exp(log_softmax(np.log(before[first]) / fitted[0].temperature, axis=1))
    np.testing.assert_allclose(after[first], by_hand, rtol=1e-9)


def test_too_few_tuning_patients_leave_the_temperature_at_one() -> None:
    table = manifest()
    classes = classes_of(table)
    main = predictions(table, classes).filter(pl.col("model") == "csasn")
    tuning = main.filter(pl.col("partition") == "tuning").head(9)
    (found,) = temperatures(tuning.with_columns(pl.lit(0).alias("fold")), classes)
    assert (found.temperature, found.n) == (1.0, 0)
    assert "9 tuning patients" in found.note


def test_a_prior_shift_is_bayes() -> None:
    rng = np.random.default_rng(1)
    source, target = np.array([0.5, 0.3, 0.2]), np.array([0.9, 0.08, 0.02])
    likelihood = rng.random((50, 3))
    posterior = likelihood * source / (likelihood @ source)[:, np.newaxis]
    expected = likelihood * target / (likelihood @ target)[:, np.newaxis]
    np.testing.assert_allclose(shifted(posterior, source=source, target=target), expected)
    np.testing.assert_allclose(shifted(posterior, source=source, target=source), posterior)
    with pytest.raises(ValueError, match="above 0"):
        shifted(posterior, source=np.array([0.5, 0.5, 0]), target=target)


def test_a_population_is_declared_by_malignancy_or_by_every_class() -> None:
    source = np.array([0.4, 0.45, 0.15])
    assert declared_prevalence({}, THREE, source) is None
    found = declared_prevalence({"malignancy": 0.1}, THREE, source)
    np.testing.assert_allclose(found, [0.9, 0.075, 0.025])
    whole = {"benign": 0.9, "PTC": 0.08, "FTC": 0.02}
    np.testing.assert_allclose(declared_prevalence(whole, THREE, source), [0.9, 0.08, 0.02])
    for wrong in ({"benign": 0.9}, whole | {"FTC": 0.1}, whole | {"XTC": 0.1}):
        with pytest.raises(BadInputError, match="population"):
            declared_prevalence(wrong, THREE, source)
