"""The radiologists' level as a baseline: its AUROC, its draws and its words, by independent means."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from csasn.evidence.ablation import Arm, ablation_content
from csasn.evidence.run_differences import read_at
from csasn.evidence.statistics.bootstrap import patient_weights
from csasn.evidence.study import ArmFigure, LevelBaseline, LevelDifference
from csasn.evidence.tirads_baseline import drawn_by_level, levels_of
from csasn.report.study_page import _by_level
from csasn.runs import Run
from csasn.schema import classes_of
from csasn.units import per_unit
from tests.support.synthetic_run import make_run, manifest, predictions

CLASSES = classes_of(manifest())
NODULES = pl.DataFrame(
    {"patient_id": ["a", "a", "b", "c"], "tirads_level": [2, 5, 3, None]}, schema_overrides={"tirads_level": pl.Int32}
)


def test_a_patient_has_the_level_of_the_most_suspicious_nodule() -> None:
    assert levels_of(("b", "a"), NODULES).tolist() == [3, 5]
    assert levels_of(("b", "c"), NODULES) is None
    assert levels_of(("b", "unheard of"), NODULES) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("rule") / "run")
    predictions(manifest(), CLASSES).write_parquet(made.path("predictions.parquet"))
    made.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return made


def graded(run: Run) -> pl.DataFrame:
    """The manifest with levels that follow malignancy, but loosely."""
    own = run.manifest()
    rng = np.random.default_rng(5)
    of_patient = own.select("patient_id", "malignant").unique("patient_id", maintain_order=True)
    level = np.clip(rng.integers(1, 4, len(of_patient)) + 2 * of_patient["malignant"].to_numpy(), 1, 5)
    levels = of_patient.select("patient_id", tirads_level=pl.Series(level, dtype=pl.Int32))
    return own.drop("tirads_level", strict=False).join(levels, on="patient_id", maintain_order="left")


def test_its_auroc_and_its_draws_are_those_of_the_same_patients(run: Run) -> None:
    settings, frame = run.configuration.evaluate, pl.read_parquet(run.path("predictions.parquet"))
    table = per_unit(frame.filter(pl.col("model") == "csasn"), CLASSES, unit="patient")
    resampled = read_at(table, CLASSES, settings, "patient").resampled
    own = graded(run)
    estimate, draws = drawn_by_level(resampled, own, settings)
    of_patient = own.group_by("patient_id").agg(pl.col("tirads_level").max(), pl.col("malignant").any())
    at = {name: (level, yes) for name, level, yes in of_patient.iter_rows()}
    level, y = (np.array([at[name][k] for name in resampled.keys]) for k in (0, 1))
    assert 0.6 < roc_auc_score(y, level) < 1
    assert estimate == pytest.approx(roc_auc_score(y, level))
    weights = patient_weights(resampled.units.strata(), n_draws=settings.n_bootstrap, seed=0)
    assert list(resampled.keys) == sorted(resampled.keys)
    expected = [roc_auc_score(y, level, sample_weight=each) for each in weights[:50]]
    assert draws[:50] == pytest.approx(expected)


def test_a_study_tells_it_where_every_nodule_has_a_level(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [Arm(name="full", module="", instead="", runs={0: run})]
    bare = run.manifest().with_columns(tirads_level=pl.lit(None, dtype=pl.Int32))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "manifest", lambda _: bare)
        assert asdict(ablation_content(arms, full="full"))["tirads"] is None
    own = graded(run)
    monkeypatch.setattr(Run, "manifest", lambda _: own)
    content = asdict(ablation_content(arms, full="full"))
    told, figures = content["tirads"], content["variants"][0]["figures"]
    network = next(each["estimate"] for each in figures if (each["target"], each["metric"]) == ("malignancy", "auroc"))
    assert told["difference"]["estimate"] == pytest.approx(network - told["figure"]["estimate"])
    assert told["difference"]["low"] < told["difference"]["estimate"] < told["difference"]["high"]
    assert told["figure"]["low"] < told["figure"]["estimate"] < told["figure"]["high"]
    assert told["figure"]["n"] == own["patient_id"].n_unique()


def test_its_words() -> None:
    figure = ArmFigure(target="malignancy", metric="auroc", estimate=0.7, low=0.65, high=0.75, n=1234)
    less = LevelDifference(estimate=0.05, low=-0.01, high=0.11)
    higher = _by_level(LevelBaseline(figure=figure, difference=less))
    assert higher == (
        "The TI-RADS level alone tells malignancy with an AUROC of 0.700 (0.650–0.750) on 1,234 patients; the full "
        "network's is higher by 0.050 (−0.010 to 0.110)."
    )
    more = LevelDifference(estimate=-0.05, low=-0.11, high=0.01)
    lower = _by_level(LevelBaseline(figure=figure, difference=more))
    assert lower.endswith("the full network's is lower by 0.050 (−0.010 to 0.110).")
    assert _by_level(None).startswith("No TI-RADS level to compare with")
