"""A run folder that came from elsewhere leads nowhere else: no link and no special file in it is followed or opened."""

import os
from pathlib import Path

import pytest

from csasn.errors import BadInputError
from csasn.files import own_path
from csasn.imaging.row_files import RowFiles
from csasn.learning.monitoring.journal import Journal
from csasn.learning.recovery.lock import LOCK, trainer_lock, trainer_of
from csasn.report.run_page import report_run
from csasn.runs import open_run
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_run import make_run

FEW = {"benign": 30, "PTC": 20, "FTC": 10}


@pytest.mark.parametrize("name", ["/dev/zero", "../other/run.json", "figures/../../x", "/etc/passwd"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="lies below it"):
        own_path(tmp_path, name)


@pytest.mark.parametrize("place", ["journal.jsonl", "figures/roc.svg", "figures", "checkpoints/csasn/fold0.json"])
@pytest.mark.parametrize("to", ["there", "nowhere"])
def test_a_link_is_never_followed(tmp_path: Path, place: str, to: str) -> None:
    (tmp_path / "there").write_text("precious")
    folder = tmp_path / "run"
    (folder / place).parent.mkdir(parents=True)
    (folder / place).symlink_to(tmp_path / to)
    with pytest.raises(BadInputError, match="is a link, which is not followed"):
        own_path(folder, place)
    (folder / place).unlink()
    assert own_path(folder, place) == folder / place


def test_the_cache_of_a_study_is_shared_and_any_other_link_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, counts=FEW)
    for target, allowed in (("../../cache", True), ("../../../cache", False), (str(tmp_path), False)):
        (run.folder / "cache").symlink_to(target)
        if allowed:
            assert run.path("cache") == run.folder / "cache"
        else:
            with pytest.raises(BadInputError, match="is a link"):
                run.path("cache")
        (run.folder / "cache").unlink()


@pytest.mark.parametrize("name", ["config.toml", "manifest.parquet", "run.json", "certificate.json"])
def test_a_pipe_or_a_link_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, counts=FEW)
    run.path(name).rename(tmp_path / "kept")
    os.mkfifo(run.folder / name)
    with pytest.raises(BadInputError, match="it is a pipe"):
        open_run(run.folder)
    (run.folder / name).unlink()
    (run.folder / name).symlink_to(tmp_path / "kept")
    with pytest.raises(BadInputError, match="is a link"):
        open_run(run.folder)


def test_nothing_is_written_through_a_link_of_the_lock_the_journal_or_the_figures(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run = make_run(tmp_path, counts=FEW)
    (run.folder / LOCK).symlink_to(precious)
    with pytest.raises(BadInputError, match="is a link"), trainer_lock(run.folder):
        pass
    with pytest.raises(BadInputError, match="is a link"):
        trainer_of(run.folder)
    (run.folder / "journal.jsonl").symlink_to(precious)
    with pytest.raises(BadInputError, match="is a link"):
        Journal(run.path("journal.jsonl"))
    (tmp_path / "elsewhere").mkdir()
    evaluate_run(run)
    (run.folder / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match="is a link"):
        report_run(run)
    assert precious.read_text() == "precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["lock", "pixels.rows"])
def test_a_cache_writes_through_no_link(tmp_path: Path, name: str) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "pixels"
    precious.write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(precious)
    files = RowFiles(folder, key_bytes=4)
    with pytest.raises(BadInputError, match="is a link"), files.alone():
        files.reserve({"pixels": ((2, 2), "uint8")}, 1)
    assert precious.read_text() == "precious"
