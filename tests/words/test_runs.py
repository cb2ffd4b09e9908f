"""The run folder belongs to one cohort and one configuration, and remembers what each stage read and wrote."""

from pathlib import Path

import polars as pl
import pytest

from csasn.cli.run_commands import stage as function_of_stage
from csasn.config import Configuration, FitSettings
from csasn.errors import BadInputError, MismatchError
from csasn.files import file_sha256, read_json, write_json
from csasn.runs import Run, create_run, open_run, settings_sha256
from csasn.schema import complete_columns, manifest_sha256
from csasn.settings_files import flat_settings, validated
from csasn.stages import STAGES, later_stages, needs_training, require_stage, stages_to_redo

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
    assert record | settings_sha256(DEFAULT) == record
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


def test_another_setting_of_training_is_refused_by_name_with_both_values(run: Run, cohort: Path) -> None:
    with pytest.raises(MismatchError, match="other settings of training") as caught:
        create_run(cohort, run.folder, OTHER)
    assert "fit.seed: 0 -> 7" in str(caught.value)
    assert str(caught.value).count("->") == 2  # the legend and the one setting
    assert open_run(run.folder) == run


FREE = {
    "evaluate": {"n_bootstrap": 200, "population": {"malignant": 0.1}, "set_alpha": 0.2},
    "novelty": {"abstained_fraction": 0.1},
    "fit": {"accelerator": "cpu", "save_every_steps": 5},
}


def test_settings_of_evaluation_never_cost_a_training(run: Run, cohort: Path) -> None:
    """More draws, a declared population, another alpha or accelerator: the folder takes them."""
    finish_all(run)
    words: list[str] = []
    again = create_run(cohort, run.folder, validated(FREE, source="test"), log=words.append)
    assert tuple(again.stages()) == ("split", "fit", "predict", "audit", "explain", "abstention")
    assert again == open_run(run.folder)
    assert settings_sha256(again.configuration)["training_sha256"] == settings_sha256(DEFAULT)["training_sha256"]
    assert "evaluate.n_bootstrap: 1000 -> 200" in words[0]
    assert "fit.accelerator: 'auto' -> 'cpu'" in words[0]
    create_run(cohort, run.folder, again.configuration, log=words.append)
    assert len(words) == 1


@pytest.mark.parametrize(
    ("changes", "redone"),
    [
        ({"fit": {"accelerator": "cpu"}}, set()),
        (
            {"predict": {"gated_attention": True}},
            {"predict", "calibrate", "audit", "explain", "abstention", "evaluate", "report"},
        ),
        ({"novelty": {"abstained_fraction": 0.1}}, {"calibrate", "evaluate", "report"}),
        ({"evaluate": {"set_alpha": 0.2}}, {"calibrate", "evaluate", "report"}),
        ({"evaluate": {"n_bootstrap": 150}}, {"evaluate", "report"}),
        ({"shortcuts": {"n_patients": 9}}, {"audit", "evaluate", "report"}),
        ({"explain": {"n_patients": 9}}, {"explain", "evaluate", "report"}),
        ({"explain": {"n_similar": 9}}, {"evaluate", "report"}),
    ],
)
def test_only_what_depends_on_a_changed_setting_is_done_again(
    run: Run, cohort: Path, changes: dict[str, dict[str, object]], redone: set[str]
) -> None:
    finish_all(run)
    again = create_run(cohort, run.folder, validated(changes, source="test"))
    assert set(again.stages()) == set(STAGES) - redone


def test_cut_while_it_takes_new_settings_a_folder_takes_them_the_next_time(
    run: Run, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(run)
    changed = validated(FREE, source="test")
    with monkeypatch.context() as cut:
        cut.setattr("csasn.runs.write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            create_run(cohort, run.folder, changed)
    assert "evaluate" not in run.stages()
    with pytest.raises(MismatchError, match="another configuration of evaluation"):
        open_run(run.folder)
    for settings in (DEFAULT, changed, DEFAULT):
        assert create_run(cohort, run.folder, settings) == open_run(run.folder)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_of_an_earlier_version_is_refused(run: Run) -> None:
    record = {name: each for name, each in run.record().items() if name not in settings_sha256(DEFAULT)}
    write_json(run.path("run.json"), record | {"configuration_sha256": DEFAULT.sha256()})
    with pytest.raises(MismatchError, match="has no training_sha256"):
        open_run(run.folder)


def finish_all(run: Run) -> None:
    for stage in STAGES:
        made(run, stage, stage)
        run.finish(stage, inputs=(), outputs=(stage,))


def test_every_stage_stands_after_those_that_it_reads() -> None:
    names = list(STAGES)
    assert all(names.index(each) < names.index(name) for name, stage in STAGES.items() for each in stage.reads)
    assert later_stages("split") == set(names) - {"split"}
    assert later_stages("explain") == {"evaluate", "report"}
    assert later_stages("report") == frozenset()


def test_a_stage_that_is_none_is_an_error(run: Run) -> None:
    for call in (lambda: require_stage("reprot"), lambda: run.finish("reprot", inputs=(), outputs=())):
        with pytest.raises(BadInputError, match="There is no stage 'reprot'"):
            call()
    with pytest.raises(BadInputError, match="There is no stage 'reprot'"):
        function_of_stage("reprot")


def test_settings_that_stages_name_exist() -> None:
    names = set(flat_settings(DEFAULT))
    for each in STAGES.values():
        assert all(any(name == own or name.startswith(f"{own}.") for name in names) for own in each.settings)
    assert {name for name in names if not needs_training(name)} >= {"evaluate.n_bootstrap", "fit.accelerator"}
    assert needs_training("predict.n_views")  # early stopping reads tuning images in these views
    assert stages_to_redo([]) == frozenset()


def test_a_manifest_that_its_certificate_does_not_know_is_refused(cohort: Path, tmp_path: Path) -> None:
    manifest = pl.read_parquet(cohort / "manifest.parquet").reverse()
    manifest.write_parquet(cohort / "manifest.parquet")
    with pytest.raises(MismatchError, match="certif") as caught:
        create_run(cohort, tmp_path / "run", DEFAULT)
    assert manifest_sha256(manifest) in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["cohort", "configuration of training", "configuration of evaluation"])
def test_a_change_by_hand_is_seen_on_opening(run: Run, what: str) -> None:
    text = run.path("config.toml").read_text()
    if what == "configuration of training":
        run.path("config.toml").write_text(text.replace("n_folds = 5", "n_folds = 4"))
    elif what == "configuration of evaluation":
        run.path("config.toml").write_text(text.replace("n_bootstrap = 1000", "n_bootstrap = 100"))
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


def test_finishing_a_stage_forgets_those_that_read_it(run: Run) -> None:
    finish_all(run)
    assert tuple(run.stages()) == tuple(STAGES)
    run.finish("explain", inputs=(), outputs=("explain",))
    assert tuple(run.stages()) == ("split", "fit", "predict", "calibrate", "audit", "explain", "abstention")
    run.finish("fit", inputs=("split",), outputs=("fit",))
    assert tuple(run.stages()) == ("split", "fit")
    assert run.record() | settings_sha256(DEFAULT) == run.record()
    with pytest.raises(BadInputError, match="has not been made yet"):
        run.require("predict")


def test_identifiers_that_look_like_numbers_stay_text(run: Run) -> None:
    made(run, "split.csv", "fold,image_path,patient_id,partition\n0,1,007,train\n")
    run.finish("split", inputs=(), outputs=("split.csv",))
    assert run.split().rows() == [(0, "1", "007", "train")]
