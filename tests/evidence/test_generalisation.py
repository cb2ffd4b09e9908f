import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from csasn import units
from csasn.cli import main
from csasn.config import EvaluateSettings
from csasn.evidence.generalisation import drops
from csasn.runs import Run
from csasn.schema import classes_of
from tests.support.synthetic_run import make_run, manifest, predictions

SETTINGS = EvaluateSettings(n_bootstrap=100, calibration_bins=5)


def patients_of(frame: pl.DataFrame) -> pl.DataFrame:
    main_rows = frame.filter(pl.col("model") == "csasn")
    return units.tested_rows(units.per_unit(main_rows, classes_of(manifest()), unit="patient"), "csasn")


def test_a_run_falls_by_nothing_beside_itself_and_by_its_noise_beside_a_worse_one() -> None:
    table = manifest()
    classes = classes_of(table)
    good = predictions(table, classes)
    worse = good.with_columns(pl.col("logit_PTC") * 0)
    same = drops(patients_of(good), patients_of(good), classes, SETTINGS)
    assert {each.site for each in same} == {"all", "Harbour", "Hill & Dale", "River"}
    assert all((each.estimate, each.low, each.high, each.p) == (0, None, None, 1) for each in same)
    assert all("no interval" in each.note for each in same)
    found = drops(patients_of(worse), patients_of(good), classes, SETTINGS)
    whole = {each.metric: each for each in found if each.site == "all" and each.target == "all"}
    assert whole["macro_auroc"].estimate < 0
    assert whole["macro_auroc"].high < 0
    assert whole["macro_auroc"].estimate == pytest.approx(whole["macro_auroc"].here - whole["macro_auroc"].other)


def test_the_command_sets_two_runs_of_one_cohort_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    main(["calibrate", str(run.folder)])
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


def evaluated(run: Run, *more: str) -> dict[str, Any] | None:
    """What metrics.json says of the other run after `calibrate` and `evaluate`."""
    main(["calibrate", str(run.folder)])
    main(["evaluate", str(run.folder), *more])
    found: dict[str, Any] | None = json.loads(run.path("metrics.json").read_text())["beside"]
    return found


def test_the_other_run_is_remembered_until_it_is_told_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = (make_run(tmp_path / name, counts={"benign": 12, "PTC": 9}) for name in ("study/one", "study/two"))
    assert evaluated(run) is None
    told = evaluated(run, "--beside", str(other.folder))
    assert told is not None
    assert run.record()["beside"] == "../../two/run"
    main(["report", str(run.folder)])
    page = run.path("report.html").read_bytes()
    assert f"The same patients read under grouped-kfold ({other.folder.resolve()})".encode() in page
    run.path("report.html").unlink()
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))  # forgets what came after it
    assert evaluated(run) == told
    main(["report", str(run.folder)])
    assert run.path("report.html").read_bytes() == page
    moved = Run(folder=(tmp_path / "study").rename(tmp_path / "moved") / "one/run", configuration=run.configuration)
    again = evaluated(moved)
    assert again is not None
    assert again["drops"] == told["drops"]
    (tmp_path / "moved/two").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["evaluate", str(moved.folder)])
    assert f"is evaluated beside {tmp_path / 'moved/two/run'}, where there is no run folder" in capsys.readouterr().err
    assert evaluated(moved, "--beside", "none") is None
    assert evaluated(moved) is None
    assert "beside" not in moved.record()
