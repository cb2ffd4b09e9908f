"""The run folder belongs to one cohort and one configuration, and remembers what each stage read and wrote."""

from pathlib import Path

import polars as pl
import pytest

from csasn.config import Configuration, FitSettings
from csasn.errors import BadInputError, MismatchError
from csasn.files import file_sha256, read_json, write_json
from csasn.runs import STAGES, Run, create_run, open_run
from csasn.schema import complete_columns, manifest_sha256

DEFAULT = Configuration()
OTHER = Configuration(fit=FitSettings(seed=7))


def make_cohort(folder: Path, *, site: str = "A") -> Path:
    folder.mkdir()
    rows = pl.DataFrame(
        {
            "image_path": ["a.png", "b.png"],
            "sha256": ["0" * 64, "1" * 64],
            "site": [site, site],
            "patient_id": ["007", "008"],
            "nodule_id": ["n1", "n2"],
            "malignant": [False, True],
            "subtype": ["benign", "PTC"],
        }
    )
    manifest = complete_columns(rows)
    manifest.write_parquet(folder / "manifest.parquet")
    (folder / "ledger.csv").write_text("item,code,reason\n")
    write_json(
        folder / "certificate.json",
        {"manifest_sha256": manifest_sha256(manifest), "images_root": "pictures", "simulated": True},
    )
    return folder


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    return make_cohort(tmp_path / "cohort")


@pytest.fixture
def run(cohort: Path, tmp_path: Path) -> Run:
    return create_run(cohort, tmp_path / "run", DEFAULT)


def made(run: Run, name: str, content: str) -> str:
    run.path(name).write_text(content)
    return name


def test_a_new_run_holds_its_cohort_its_settings_and_its_versions(run: Run, cohort: Path) -> None:
    record = run.record()
    assert record["configuration_sha256"] == DEFAULT.sha256()
    assert record["manifest_sha256"] == manifest_sha256(run.manifest())
    assert record["stages"] == {}
    assert record["versions"]["torch"][0].isdigit()
    assert run.images_root() == (cohort / "pictures").resolve()
    assert run.simulated() is True
    assert run.classes().names == ("benign", "PTC")
    assert sorted(each.name for each in run.folder.iterdir()) == [
        "certificate.json",
        "config.toml",
        "ledger.csv",
        "manifest.parquet",
        "run.json",
    ]


def test_opening_gives_the_same_run(run: Run, cohort: Path) -> None:
    assert open_run(run.folder) == run
    assert create_run(cohort, run.folder, DEFAULT) == run


def test_an_empty_folder_is_taken_and_a_full_one_is_not(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert create_run(cohort, tmp_path / "empty", DEFAULT).stages() == {}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="not empty and is not a run folder"):
        create_run(cohort, tmp_path / "full", DEFAULT)
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_what_is_no_run_folder_is_refused(cohort: Path, tmp_path: Path) -> None:
    for folder in (cohort, tmp_path / "nowhere"):
        with pytest.raises(BadInputError, match="is not a run folder"):
            open_run(folder)


def test_another_cohort_is_refused_with_both_hashes(run: Run, tmp_path: Path) -> None:
    other = make_cohort(tmp_path / "other", site="B")
    with pytest.raises(MismatchError, match="another cohort") as caught:
        create_run(other, run.folder, DEFAULT)
    assert str(run.record()["manifest_sha256"]) in str(caught.value)
    assert str(read_json(other / "certificate.json")["manifest_sha256"]) in str(caught.value)


def test_another_configuration_is_refused_with_both_hashes(run: Run, cohort: Path) -> None:
    with pytest.raises(MismatchError, match="another configuration") as caught:
        create_run(cohort, run.folder, OTHER)
    assert DEFAULT.sha256() in str(caught.value)
    assert OTHER.sha256() in str(caught.value)


def test_a_manifest_that_its_certificate_does_not_know_is_refused(cohort: Path, tmp_path: Path) -> None:
    manifest = pl.read_parquet(cohort / "manifest.parquet").reverse()
    manifest.write_parquet(cohort / "manifest.parquet")
    with pytest.raises(MismatchError, match="certif") as caught:
        create_run(cohort, tmp_path / "run", DEFAULT)
    assert manifest_sha256(manifest) in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["cohort", "configuration"])
def test_a_change_by_hand_is_seen_on_opening(run: Run, what: str) -> None:
    if what == "configuration":
        text = run.path("config.toml").read_text()
        run.path("config.toml").write_text(text.replace("n_folds = 5", "n_folds = 4"))
    else:
        run.manifest().reverse().write_parquet(run.path("manifest.parquet"))
    with pytest.raises(MismatchError, match=f"another {what}"):
        open_run(run.folder)


def test_a_file_is_required_as_its_stage_wrote_it(run: Run) -> None:
    with pytest.raises(BadInputError, match="has not been made yet"):
        run.require("split.csv")
    made(run, "split.csv", "first")
    with pytest.raises(BadInputError, match="has not been made yet"):
        run.require("split.csv")
    run.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",), notes={"n": 1})
    assert run.require("split.csv") == run.path("split.csv")
    assert run.stages()["split"]["n"] == 1
    expected = file_sha256(run.path("split.csv"))
    made(run, "split.csv", "second")
    with pytest.raises(MismatchError, match="stage `split`") as caught:
        run.require("split.csv")
    assert expected in str(caught.value)
    assert file_sha256(run.path("split.csv")) in str(caught.value)
    run.path("split.csv").unlink()
    with pytest.raises(BadInputError, match="has not been made yet"):
        run.require("split.csv")


def test_a_stage_is_finished_while_inputs_and_outputs_stand(run: Run) -> None:
    assert not run.finished("split")
    made(run, "split.csv", "x")
    run.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",))
    made(run, "history.csv", "y")
    run.finish("fit", inputs=("split.csv",), outputs=("history.csv",))
    assert run.finished("split")
    assert run.finished("fit")
    made(run, "split.csv", "changed")
    assert not run.finished("split")
    assert not run.finished("fit")


def test_finishing_a_stage_forgets_the_later_ones(run: Run) -> None:
    for stage in STAGES:
        made(run, stage, stage)
        run.finish(stage, inputs=(), outputs=(stage,))
    assert tuple(run.stages()) == STAGES
    run.finish("fit", inputs=("split",), outputs=("fit",))
    assert tuple(run.stages()) == ("split", "fit")
    assert run.record()["configuration_sha256"] == DEFAULT.sha256()
    with pytest.raises(BadInputError, match="has not been made yet"):
        run.require("predict")


def test_identifiers_that_look_like_numbers_stay_text(run: Run) -> None:
    made(run, "split.csv", "fold,image_path,patient_id,partition\n0,1,007,train\n")
    run.finish("split", inputs=(), outputs=("split.csv",))
    assert run.split().rows() == [(0, "1", "007", "train")]
