"""What could lead back to a patient: the order of things, the key, the crosswalk, and the rights of files."""

import csv
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from csasn.cohort import ingest as ingest_module
from csasn.cohort.ingest import IngestResult, ingest
from csasn.cohort.pacs import export_source
from csasn.cohort.pseudonyms import SECRET_NAME, Pseudonyms, keep_private, open_pseudonyms, read_crosswalk
from csasn.errors import BadInputError, StorageError
from csasn.files import folder_made_whole, write_bytes
from csasn.phantom.cohort import simulate_export
from csasn.schema import read_manifest

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pacs") / "made"
    simulate_export(folder, n_patients=12, n_sites=1, seed=2)
    return folder


@pytest.fixture
def taken_in(pacs: Path, tmp_path: Path) -> Callable[[str], IngestResult]:
    def run(name: str, private: Path | None = None) -> IngestResult:
        return ingest(
            pacs / "export",
            tmp_path / name,
            layout="dicom",
            labels=pacs / "labels.csv",
            private=private or tmp_path / "private",
        )

    return run


def pseudonyms(number: int) -> Pseudonyms:
    return Pseudonyms(secret=number.to_bytes(32, "big"))


def test_rows_stand_in_an_order_that_names_do_not_tell(tmp_path: Path) -> None:
    """Over 1,000 keys the rank correlation with the order of names is what a shuffle of 20 gives."""
    for number in range(20):
        (tmp_path / f"patient-{number:02d}.dcm").write_bytes(b"x")
    names = sorted(path.name for path in tmp_path.iterdir())
    orders = [export_source(tmp_path, pseudonyms(key)).rows["image_path"].to_list() for key in range(1000)]
    found = np.array([spearmanr([names.index(each) for each in order], range(20)).statistic for order in orders])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(1000)
    assert found.std() == pytest.approx(1 / np.sqrt(19), rel=0.1)  # variance 1 / (n - 1) under independence (Kendall)


def test_what_is_set_aside_stands_in_that_order_too(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"patient-{number:02d}.dcm").symlink_to("/nowhere")
    (tmp_path / "whole.dcm").write_bytes(b"x")
    items = [row.item for row in export_source(tmp_path, pseudonyms(1)).refused]
    assert len(items) == 12
    assert items == sorted(items)


def test_rows_files_and_their_times_follow_the_pseudonyms(
    taken_in: Callable[[str], IngestResult], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    write_secret(tmp_path / "private")
    folder = taken_in("cohort").folder
    rows = read_manifest(folder)["image_path"].to_list()
    assert rows == sorted(rows)
    crosswalk = read_crosswalk(tmp_path / "private", folder)
    sources = [crosswalk[Path(row).name[:18]][1] for row in rows]
    ranks = np.argsort(np.argsort(sources))
    times = [(folder / row).stat().st_mtime_ns for row in rows]
    assert abs(spearmanr(ranks, range(len(rows))).statistic) < 0.6  # of 24 in any order: beyond it once in 500
    assert abs(spearmanr(ranks, times).statistic) < 0.6
    ledger = pl.read_csv(folder / "ledger.csv")["item"].to_list()
    assert ledger == sorted(ledger)


def write_secret(private: Path) -> None:
    (private / SECRET_NAME).write_text(KEY.hex() + "\n")
    (private / SECRET_NAME).chmod(0o600)


def test_killed_before_the_cohort_has_its_name_the_crosswalk_is_there(
    taken_in: Callable[[str], IngestResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(found: Pseudonyms, private: Path, out: Path) -> None:
        keep_private(found, private, out)
        assert not out.exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest_module, "keep_private", kept)
        with pytest.raises(KeyboardInterrupt):
            taken_in("cohort")
    before = read_crosswalk(tmp_path / "private", tmp_path / "cohort")
    assert before
    folder = taken_in("cohort").folder
    assert read_crosswalk(tmp_path / "private", folder) == before


def test_cohorts_of_one_name_share_a_crosswalk_and_none_takes_rows_out(tmp_path: Path) -> None:
    first, second = Pseudonyms(secret=KEY), Pseudonyms(secret=KEY)
    anna, berta = (each.patient(site="S", issuer="", patient_id=name) for each, name in ((first, "A"), (second, "=B")))
    keep_private(first, tmp_path / "private", tmp_path / "one/cohort")
    keep_private(second, tmp_path / "private", tmp_path / "two/cohort")
    assert read_crosswalk(tmp_path / "private", tmp_path / "cohort") == {
        anna: ("patient", "S | A"),
        berta: ("patient", "S | =B"),
    }


@pytest.mark.parametrize("content", ["", "name,what\na,b\n", 'pseudonym,kind,original\np-1,patient\n"'])
def test_a_damaged_crosswalk_stops_before_anything_is_read(
    content: str, taken_in: Callable[[str], IngestResult], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private/crosswalk-cohort.csv").write_text(content)
    with pytest.raises(BadInputError, match="only way back"):
        taken_in("cohort")
    assert (tmp_path / "private/crosswalk-cohort.csv").read_text() == content
    assert not (tmp_path / "cohort").exists()


def test_a_crosswalk_that_is_a_folder_stops_too(taken_in: Callable[[str], IngestResult], tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private/crosswalk-cohort.csv").mkdir()
    with pytest.raises((BadInputError, StorageError), match="crosswalk-cohort"):
        taken_in("cohort")
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize("rights", [0o750, 0o705, 0o777])
def test_a_private_folder_of_others_is_refused(
    rights: int, taken_in: Callable[[str], IngestResult], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private").chmod(rights)
    with pytest.raises(BadInputError, match="chmod go="):
        taken_in("cohort")


@pytest.mark.parametrize("rights", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(
    rights: int, taken_in: Callable[[str], IngestResult], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    write_secret(tmp_path / "private")
    (tmp_path / "private" / SECRET_NAME).chmod(rights)
    with pytest.raises(BadInputError, match=r"chmod go= .*secret\.key"):
        taken_in("cohort")


def test_a_private_folder_within_the_export_is_refused(taken_in: Callable[..., IngestResult], pacs: Path) -> None:
    with pytest.raises(BadInputError, match="export lie apart"):
        taken_in("cohort", private=pacs / "export/private")
    assert not (pacs / "export/private").exists()


def test_of_two_keys_made_at_once_one_is_kept_and_the_other_is_said(tmp_path: Path) -> None:
    """Eight makers that all saw no key: exactly one key stays, and only its maker goes on."""
    makers = [open_pseudonyms(tmp_path / "private", tmp_path / f"c{n}", tmp_path / "export") for n in range(8)]
    code = (
        "import sys; from pathlib import Path; from csasn.cohort.pseudonyms import Pseudonyms, keep_private;"
        "keep_private(Pseudonyms(secret=bytes.fromhex(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, each.secret.hex(), str(tmp_path / "private"), str(tmp_path / f"c{n}")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for n, each in enumerate(makers)
    ]
    said = [each.communicate()[1] for each in running]
    ended = [each.returncode for each in running]
    assert sorted(ended) == [0, 1, 1, 1, 1, 1, 1, 1]
    assert all("another ingest meanwhile" in words for words, code in zip(said, ended, strict=True) if code)
    kept = open_pseudonyms(tmp_path / "private", tmp_path / "cohort", tmp_path / "export")
    assert kept.secret == makers[ended.index(0)].secret


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o002])
def test_files_and_folders_have_the_rights_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with folder_made_whole(tmp_path / "cohort") as scratch:
            write_bytes(scratch / "manifest.parquet", b"x")
    finally:
        os.umask(before)
    rights = {
        path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cohort", *(tmp_path / "cohort").iterdir())
    }
    assert list(rights.values()) == [0o777 & ~umask, 0o666 & ~umask]


def test_the_crosswalk_is_read_as_a_spreadsheet_shows_it(tmp_path: Path) -> None:
    found = Pseudonyms(secret=KEY)
    name = found.item("=cmd|evil.dcm")
    keep_private(found, tmp_path / "private", tmp_path / "cohort")
    with (tmp_path / "private/crosswalk-cohort.csv").open(newline="") as stream:
        assert [row["original"] for row in csv.DictReader(stream)] == ["'=cmd|evil.dcm"]
    assert read_crosswalk(tmp_path / "private", tmp_path / "cohort") == {name: ("item", "=cmd|evil.dcm")}
