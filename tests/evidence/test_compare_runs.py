"""Two runs compared by the command: what is refused, and the files that are written."""

import json
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from csasn.cli import main
from csasn.errors import BadInputError
from csasn.evidence.compare_runs import compare_runs, shared_settings
from csasn.runs import Run
from csasn.schema import classes_of, manifest_sha256
from tests.support.synthetic_run import make_run, manifest, predictions, weaker

TABLE = manifest()
FRAME = predictions(TABLE, classes_of(TABLE))


def remade(run: Run, frame: pl.DataFrame) -> Run:
    """The run with other predictions."""
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("two")
    first, second = make_run(folder / "one"), make_run(folder / "two")
    return first, remade(second, weaker(FRAME))


@pytest.fixture(scope="module")
def written(runs: tuple[Run, Run]) -> Path:
    main(["compare", str(runs[0].folder), str(runs[1].folder)])
    return runs[0].path("compared-with-run")


def test_the_command_writes_page_figures_and_tables(written: Path) -> None:
    content = json.loads((written / "comparison.json").read_text())
    assert content["n_patients"] == 144
    assert content["simulated"] is True
    assert [(run["name"], run["n_tested"], run["n_left_out"]) for run in content["runs"]] == [
        ("A", 144, 0),
        ("B", 144, 0),
    ]
    assert content["n_bootstrap"] == 2000
    assert len(content["differences"]) == 2 * (5 + 5 * 3)
    assert all(row["verdict"].endswith(".") for row in content["differences"])
    page = (written / "comparison.html").read_text()
    assert "SIMULATED COHORT: not clinical evidence" in page
    assert content["differences"][0]["verdict"] in page
    assert page.count("<svg") == 2  # every patient has one nodule: figures per nodule would say the same again
    for name in ("differences-patient", "differences-patient-at-thresholds"):
        assert "SIMULATED COHORT" in (written / f"figures/{name}.svg").read_text()
        with Image.open(written / f"figures/{name}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    table = pl.read_csv(written / "tables/differences-patient-overall.csv")
    assert table["Figure"].to_list() == ["Macro AUROC", "Macro AUPRC", "Macro F1", "Brier", "ECE, most probable class"]


def test_it_is_written_again_but_never_over_something_else(runs: tuple[Run, Run], written: Path) -> None:
    before = (written / "comparison.json").read_bytes()
    main(["compare", str(runs[0].folder), str(runs[1].folder)])
    assert (written / "comparison.json").read_bytes() == before
    with pytest.raises(BadInputError, match="holds no comparison of these two runs"):
        compare_runs(runs[1], runs[0], written)
    with pytest.raises(BadInputError, match="choose another --out"):
        compare_runs(*runs, runs[0].folder)


def test_figures_are_those_of_either_run(runs: tuple[Run, Run], written: Path) -> None:
    main(["calibrate", str(runs[0].folder)])
    main(["evaluate", str(runs[0].folder)])
    records = json.loads(runs[0].path("metrics.json").read_text())["records"]
    own = {
        (row["unit"], row["target"], row["metric"]): row["estimate"]
        for row in records
        if (row["model"], row["site"]) == ("csasn", "all")
    }
    rows = json.loads((written / "comparison.json").read_text())["differences"]
    for row in rows:
        assert row["first"] == pytest.approx(own[row["unit"], row["target"], row["metric"]])
        assert row["estimate"] == pytest.approx(row["first"] - row["second"])


def test_other_cohorts_classes_and_patients_are_refused(
    runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(other: Run, *more: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["compare", str(runs[0].folder), str(other.folder), "--out", str(tmp_path / "out"), *more])
        assert end.value.code == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    classes = make_run(tmp_path / "classes", counts={"benign": 20, "PTC": 20})
    assert "on one list of classes" in refused(classes)
    counts = {"benign": 50, "PTC": 40, "FTC": 24, "MTC": 12, "ATC": 8}
    cohort = make_run(tmp_path / "cohort", counts=counts)
    said = refused(cohort)
    assert "on one cohort" in said
    assert "--common-patients" in said
    fewer = remade(make_run(tmp_path / "fewer"), FRAME.filter(pl.col("nodule_id") != "N0003"))
    said = refused(fewer)
    assert "the same tested patients" in said
    assert "alone: 1 (P0003)" in said
    said = refused(cohort, "--common-patients")  # the same names over other pictures' labels
    assert "carry the same nodules and labels" in said


def test_common_patients_are_those_tested_on_the_same_pictures(
    runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = remade(make_run(tmp_path / "fewer"), weaker(FRAME).filter(pl.col("nodule_id") != "N0003"))
    main(["compare", str(runs[0].folder), str(fewer.folder), "--out", str(tmp_path / "out"), "--common-patients"])
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert content["n_patients"] == 143
    assert [run["n_left_out"] for run in content["runs"]] == [1, 0]
    assert "were not tested by the other run" in (tmp_path / "out/comparison.html").read_text()
    redone = make_run(tmp_path / "redone")
    other = pl.read_parquet(redone.path("manifest.parquet")).with_columns(
        pl.when(pl.col("nodule_id") == "N0005").then(pl.lit("0" * 64)).otherwise("sha256").alias("sha256")
    )
    redone = with_manifest(redone, other)
    main(["compare", str(runs[0].folder), str(redone.folder), "--out", str(tmp_path / "again"), "--common-patients"])
    assert json.loads((tmp_path / "again/comparison.json").read_text())["n_patients"] == 143
    nothing = with_manifest(make_run(tmp_path / "nothing"), TABLE.with_columns(pl.lit("0" * 64).alias("sha256")))
    with pytest.raises(BadInputError, match="no patient id goes with the same pictures"):
        compare_runs(runs[0], nothing, tmp_path / "none", common_patients=True)


def with_manifest(run: Run, table: pl.DataFrame) -> Run:
    """The run over a cohort with another manifest."""
    table.write_parquet(run.path("manifest.parquet"))
    record = run.record() | {"manifest_sha256": manifest_sha256(table)}
    run.path("run.json").write_text(json.dumps(record))
    return run


def test_the_more_careful_settings_of_the_two_count(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / str(n), n_bootstrap=n) for n in (100, 3000))
    assert shared_settings(one, other) == shared_settings(other, one)
    assert shared_settings(one, other).n_bootstrap == 3000
    assert shared_settings(one, one).n_bootstrap == 2000
