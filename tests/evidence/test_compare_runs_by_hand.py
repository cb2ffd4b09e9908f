"""Two ways to put a nodule's images together, and two runs set beside or against each other, on small cohorts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from csasn.config import EvaluateSettings
from csasn.errors import BadInputError, MismatchError
from csasn.evidence.compare_runs import compare_runs, shared_settings
from csasn.evidence.estimates import resample
from csasn.evidence.gated_attention import aggregations
from csasn.evidence.generalisation import beside, remember, remembered
from csasn.evidence.record import Scope
from csasn.evidence.run_differences import differences
from csasn.files import file_sha256
from csasn.runs import Run
from csasn.schema import GATED_ATTENTION, manifest_sha256
from csasn.units import per_unit
from tests.support.evaluation import by_unit
from tests.support.hand_made import CLASSES, OWN, PREDICTIONS, SETTINGS, Unit, draws_of, figure_of, left_out_of, units
from tests.support.plain_statistics import bca_of, p_of_draws
from tests.support.synthetic_run import make_run, predictions

KEYS = (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("all", "macro_f1"), ("malignancy", "auroc"))


def last_images() -> tuple[pl.DataFrame, list[Unit]]:
    """Each nodule as its last image alone says, as attended rows and as units."""
    nodule_of = {str(row["image_path"]): str(row["nodule_id"]) for row in OWN}
    last: dict[str, Unit] = {nodule_of[each.key]: each for each in units("image")}
    rows = PREDICTIONS.filter(pl.col("model") == "csasn", pl.col("image_path").is_in([e.key for e in last.values()]))
    renamed = [Unit(**(each.__dict__ | {"key": name})) for name, each in sorted(last.items())]
    return rows.with_columns(pl.lit(GATED_ATTENTION).alias("model")), renamed


def test_mean_and_attention_on_the_same_nodules() -> None:
    rows, attended = last_images()
    attended_table = per_unit(rows, CLASSES, unit="image")
    told = asdict(aggregations(by_unit(PREDICTIONS, CLASSES), attended_table, CLASSES, SETTINGS))
    n_images: dict[str, int] = {}
    for row in OWN:
        if row["partition"] == "test":
            n_images[str(row["nodule_id"])] = n_images.get(str(row["nodule_id"]), 0) + 1
    assert told["n_nodules"] == len(n_images)
    assert told["n_several_images"] == sum(n > 1 for n in n_images.values())
    figures: Any = told["figures"]
    assert [(row["target"], row["metric"]) for row in figures] == list(KEYS)
    mean = units("nodule")
    for row in figures:
        key = (row["target"], row["metric"])
        for short, own in (("mean", mean), ("attention", attended)):
            estimate = figure_of(own, *key)
            ends = bca_of(estimate, draws_of(own, *key), left_out_of(own, *key))
            found = tuple(row[f"{short}_{end}"] for end in ("estimate", "low", "high"))
            assert found == pytest.approx((estimate, *ends), abs=1e-9)
        apart = np.subtract(draws_of(attended, *key), draws_of(mean, *key))
        assert row["estimate"] == pytest.approx(figure_of(attended, *key) - figure_of(mean, *key))
        ends = tuple(np.quantile(apart, [0.05, 0.95]))
        assert (row["low"], row["high"]) == ((None, None) if ends[0] == ends[1] else pytest.approx(ends))
        assert row["p"] == pytest.approx(p_of_draws(apart.tolist()))
        assert row["n"] == len(n_images)


COUNTS = {"benign": 7, "PTC": 5, "FTC": 4}


def remade(run: Run, seed: int, factor: float = 1.0) -> Run:
    """The run with other predictions of the same patients."""
    frame = predictions(run.manifest(), run.classes(), seed=seed)
    frame = frame.with_columns(pl.col("^logit_.*$") * factor)
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "one", counts=COUNTS), remade(make_run(folder / "two", counts=COUNTS), 5, 0.5)


def refusal(run: Run, other: Run, out: Path, **more: bool) -> str:
    with pytest.raises(BadInputError) as refused:
        compare_runs(run, other, out, **more)
    assert not (out / "comparison.json").exists()
    return str(refused.value)


def without(run: Run, *nodules: str) -> Run:
    """The run without the predictions of some nodules."""
    frame = pl.read_parquet(run.path("predictions.parquet")).filter(~pl.col("nodule_id").is_in(nodules))
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run


def with_manifest(run: Run, table: pl.DataFrame) -> Run:
    """The run over a cohort with another manifest."""
    table.write_parquet(run.path("manifest.parquet"))
    record = run.record() | {"manifest_sha256": manifest_sha256(table)}
    run.path("run.json").write_text(json.dumps(record))
    return run


def test_what_a_comparison_of_two_runs_holds(runs: tuple[Run, Run], tmp_path: Path) -> None:
    target = compare_runs(*runs, tmp_path / "out")
    assert target == tmp_path / "out/comparison.json"
    content, classes = json.loads(target.read_text()), runs[0].classes()
    settings = runs[0].configuration.evaluate.model_copy(update={"n_bootstrap": 2000})
    frames = [pl.read_parquet(run.path("predictions.parquet")).filter(pl.col("model") == "csasn") for run in runs]
    expected = []
    for unit in ("patient", "nodule"):
        tables = [per_unit(frame, classes, unit=unit) for frame in frames]
        expected += [asdict(row) for row in differences(tables, classes, settings, unit=unit)]
    assert content["differences"] == json.loads(json.dumps(expected))
    assert (content["n_patients"], content["simulated"], content["classes"]) == (16, True, ["benign", "PTC", "FTC"])
    assert [content[name] for name in ("confidence", "n_bootstrap", "calibration_bins")] == [0.95, 2000, 5]
    for told, run, name in zip(content["runs"], runs, "AB", strict=True):
        record = run.record()
        assert told == {
            "name": name,
            "folder": str(run.folder.resolve()),
            "scheme": "grouped-kfold",
            "n_tested": 16,
            "n_left_out": 0,
            "csasn": record["csasn"],
            "manifest_sha256": record["manifest_sha256"],
            "training_sha256": record["training_sha256"],
            "evaluation_sha256": record["evaluation_sha256"],
            "predictions_sha256": file_sha256(run.path("predictions.parquet")),
        }
    before = target.read_bytes()
    compare_runs(*runs, tmp_path / "out")
    assert target.read_bytes() == before
    words = "holds no comparison of these two runs: choose another --out, or remove it."
    with pytest.raises(BadInputError, match=words):
        compare_runs(runs[1], runs[0], tmp_path / "out")
    (tmp_path / "full").mkdir()
    compare_runs(*runs, tmp_path / "full")  # an empty folder may be written into
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    assert words in refusal(*runs, tmp_path / "other")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInputError, match=words):
        compare_runs(*runs, tmp_path / "file")


def test_what_two_runs_must_share(runs: tuple[Run, Run], tmp_path: Path) -> None:
    one, out = runs[0], tmp_path / "out"
    classes = make_run(tmp_path / "classes", counts={"benign": 8, "PTC": 8})
    said = refusal(one, classes, out)
    assert f"  - {one.folder}: benign, PTC, FTC (1 of them non-malignant)" in said
    assert f"  - {classes.folder}: benign, PTC (1 of them non-malignant)" in said
    cohort = make_run(tmp_path / "cohort", counts={"benign": 6, "PTC": 6, "FTC": 4})
    said = refusal(one, cohort, out)
    for run in (one, cohort):
        assert f"  {run.folder}: {run.record()['manifest_sha256']}\n" in said
    fewer = without(make_run(tmp_path / "fewer", counts=COUNTS), "N0003", "N0011")
    said = refusal(one, fewer, out)
    assert f"by {one.folder} alone: 2 (P0003, P0011)" in said
    assert f"by {fewer.folder} alone: 0" in said
    lone = without(make_run(tmp_path / "lone", counts=COUNTS), *(f"N{number:04d}" for number in range(1, 12)))
    assert "alone: 11 (P0001, P0002, P0003, P0004, P0005, P0006, P0008, P0009, P0010, P0011, …)" in refusal(
        one, lone, out
    )
    ten = without(make_run(tmp_path / "ten", counts=COUNTS), *(f"N{number:04d}" for number in range(1, 11)))
    assert "P0009, P0010, P<b>007</b>)" in refusal(one, ten, out)


def test_common_patients_are_compared_where_this_is_meant(runs: tuple[Run, Run], tmp_path: Path) -> None:
    one = runs[0]
    fewer = without(make_run(tmp_path / "fewer", counts=COUNTS), "N0003", "N0011")
    content = json.loads(compare_runs(one, fewer, tmp_path / "fewer-out", common_patients=True).read_text())
    assert content["n_patients"] == 14
    assert [(run["n_tested"], run["n_left_out"]) for run in content["runs"]] == [(16, 2), (14, 0)]
    assert {row["n"] for row in content["differences"] if row["target"] == "all"} == {14}
    table = one.manifest()
    other = pl.when(pl.col("nodule_id") == "N0005").then(pl.lit("0" * 64)).otherwise("sha256").alias("sha256")
    redone = with_manifest(make_run(tmp_path / "redone", counts=COUNTS), table.with_columns(other))
    found = compare_runs(one, redone, tmp_path / "redone-out", common_patients=True)
    assert json.loads(found.read_text())["n_patients"] == 15
    nothing = with_manifest(
        make_run(tmp_path / "no", counts=COUNTS), table.with_columns(pl.lit("0" * 64).alias("sha256"))
    )
    said = refusal(one, nothing, tmp_path / "no-out", common_patients=True)
    assert f"{one.folder} tested 16, {nothing.folder} tested 16, and no patient id goes with the same" in said
    relabelled = make_run(tmp_path / "labels", counts=COUNTS)
    frame = pl.read_parquet(relabelled.path("predictions.parquet"))
    wrong = pl.when(pl.col("nodule_id") == "N0009").then(pl.lit("FTC")).otherwise("subtype").alias("subtype")
    frame.with_columns(wrong).write_parquet(relabelled.path("predictions.parquet"))
    relabelled.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    assert "They differ for\n  - P0009\nCorrect" in refusal(one, relabelled, tmp_path / "labels-out")


def test_the_larger_settings_of_two_runs_count(runs: tuple[Run, Run]) -> None:
    pair = []
    for run, (confidence, n, bins) in zip(runs, ((0.9, 3000, 7), (0.95, 100, 4)), strict=True):
        evaluate = EvaluateSettings(confidence=confidence, n_bootstrap=n, calibration_bins=bins)
        pair.append(Run(folder=run.folder, configuration=run.configuration.model_copy(update={"evaluate": evaluate})))
    for one, other in (pair, pair[::-1]):
        told = shared_settings(one, other)
        assert (told.confidence, told.n_bootstrap, told.calibration_bins) == (0.95, 3000, 7)
    assert shared_settings(pair[1], pair[1]).n_bootstrap == 2000


def test_one_run_beside_another(runs: tuple[Run, Run], tmp_path: Path) -> None:
    found = beside(*runs)
    assert (found.run, found.scheme, found.scheme_here) == (
        str(runs[1].folder.resolve()), "grouped-kfold", "grouped-kfold"
    )  # fmt: skip
    scope = Scope(model="csasn", site="all", unit="patient")
    for told in found.drops[:4]:
        for run, value in zip(runs, (told.here, told.other), strict=True):
            frame = pl.read_parquet(run.path("predictions.parquet")).filter(pl.col("model") == "csasn")
            test = per_unit(frame, run.classes(), unit="patient").filter(pl.col("partition") == "test")
            drawn = resample(scope, test, run.classes(), run.configuration.evaluate, brief=True)
            assert value == drawn.draws(told.target, told.metric)[0]
    with pytest.raises(BadInputError, match="twice"):
        beside(runs[0], runs[0])
    cohort = make_run(tmp_path / "cohort", counts={"benign": 6, "PTC": 6, "FTC": 4})
    with pytest.raises(MismatchError) as refused:
        beside(runs[0], cohort)
    for run in (runs[0], cohort):
        assert f"  {run.folder}: {run.record()['manifest_sha256']}\n" in str(refused.value)


def test_the_run_beside_is_remembered_by_its_place(runs: tuple[Run, Run]) -> None:
    assert remembered(runs[0]) is None
    remember(*runs)
    assert runs[0].record()["beside"] == "../../two/run"
    again = remembered(runs[0])
    assert again is not None
    assert again.folder.resolve() == runs[1].folder.resolve()
    remember(runs[0], None)
    assert remembered(runs[0]) is None
    runs[0].remember("beside", "../nowhere")
    with pytest.raises(BadInputError) as refused:
        remembered(runs[0])
    assert f"beside {runs[0].folder.resolve().parent / 'nowhere'}, where" in str(refused.value)
    runs[0].remember("beside", None)
