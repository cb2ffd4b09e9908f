"""What a certificate found is said on the terminal, by ingest and by split."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.cli import main


def table(folder: Path, **columns: list[str]) -> Path:
    """A table of 24 pictures, half of them PTC, two a patient, with the columns changed."""
    (folder / "images").mkdir()
    names = [f"images/{number}.png" for number in range(24)]
    for seed, name in enumerate(names):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48), dtype=np.uint8)).save(folder / name)
    rows = {
        "image_path": names,
        "patient_id": [f"p{number // 2}" for number in range(24)],
        "label": [("benign", "PTC")[number // 2 % 2] for number in range(24)],
    }
    pl.DataFrame(rows | columns).write_csv(folder / "table.csv")
    return folder / "table.csv"


def test_ingest_and_split_say_what_was_declared_and_which_check_failed(tmp_path, capsys: pytest.CaptureFixture[str]):
    source = table(tmp_path, site=["A", "B"] * 12)
    cohort = ["--out", str(tmp_path / "c")]
    with pytest.raises(SystemExit) as ended:
        main(["ingest", str(source), *cohort])
    assert ended.value.code == 1
    assert "p0' at site 'A'" in capsys.readouterr().err
    main(["ingest", str(source), *cohort, "--same-patients"])
    said = capsys.readouterr().out
    assert "NOTE: 12 ids stand at several sites and are one patient each, as declared (--same-patients)." in said
    assert "CHECK FAILED: each patient belongs to one site (12 found;" in said
    assert "  - p0: A, B" in said
    main(["split", "--cohort", str(tmp_path / "c"), "--out", str(tmp_path / "r")])
    assert "CHECK FAILED: each patient belongs to one site (12 found;" in capsys.readouterr().out


@pytest.mark.parametrize(("scheme", "said"), [("grouped-kfold", True), ("holdout", False)])
def test_declared_partitions_that_are_not_kept_are_said(tmp_path, capsys: pytest.CaptureFixture[str], scheme, said):
    source = table(tmp_path, split_hint=["test" if number > 15 else "train" for number in range(24)])
    main(["ingest", str(source), "--out", str(tmp_path / "c")])
    capsys.readouterr()
    options = ["--cohort", str(tmp_path / "c"), "--out", str(tmp_path / "r"), "--split.scheme", scheme]
    main(["split", *options])
    found = capsys.readouterr().out
    assert ("split_hint, images: 8 test, 16 train" in found) is said
