import json
from pathlib import Path

import polars as pl
import pytest

from csasn.cli import main
from csasn.config import EvaluateSettings
from csasn.evidence import aggregation
from csasn.evidence.beside import drops
from csasn.schema import classes_of
from synthetic_run import make_run, manifest, predictions

SETTINGS = EvaluateSettings(n_bootstrap=100, calibration_bins=5)


def patients_of(frame: pl.DataFrame) -> pl.DataFrame:
    main_rows = frame.filter(pl.col("model") == "csasn")
    return aggregation.tested_rows(aggregation.per_unit(main_rows, classes_of(manifest()), unit="patient"), "csasn")


def test_a_run_falls_by_nothing_beside_itself_and_by_its_noise_beside_a_worse_one() -> None:
    table = manifest()
    classes = classes_of(table)
    good = predictions(table, classes)
    worse = good.with_columns(pl.col("logit_PTC") * 0)
    same = drops(patients_of(good), patients_of(good), classes, SETTINGS)
    assert {each.site for each in same} == {"all", "Harbour", "Hill & Dale", "River"}
    assert all((each.estimate, each.low, each.high, each.p) == (0, 0, 0, 1) for each in same)
    found = drops(patients_of(worse), patients_of(good), classes, SETTINGS)
    whole = {each.metric: each for each in found if each.site == "all" and each.target == "all"}
    assert whole["macro_auroc"].estimate < 0
    assert whole["macro_auroc"].high < 0
    assert whole["macro_auroc"].estimate == pytest.approx(whole["macro_auroc"].here - whole["macro_auroc"].other)


def test_the_command_sets_two_runs_of_one_cohort_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    main(["evaluate", str(run.folder), "--beside", str(other.folder)])
    assert "metrics.json" in capsys.readouterr().out
    found = json.loads(run.path("metrics.json").read_text())["beside"]
    assert (found["run"], found["scheme"]) == (str(other.folder.resolve()), "grouped-kfold")
    assert len(found["drops"]) == 4 * 4
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(run.folder), "--beside", str(run.folder)])
    assert stopped.value.code == 1
    assert "twice" in capsys.readouterr().err
    third = make_run(tmp_path / "three", counts={"benign": 20, "PTC": 20})
    with pytest.raises(SystemExit):
        main(["evaluate", str(run.folder), "--beside", str(third.folder)])
    assert "of one cohort" in capsys.readouterr().err
