"""`csasn check` prints what the issue of a certificate asks for, and finds each thing that was broken since."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.cli import main
from csasn.cli.outcome import EXIT_REFUSED
from csasn.files import file_sha256, read_json, write_json

N_IMAGES = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 24 pictures, two of which look alike, and a run split in three folds."""
    folder = tmp_path_factory.mktemp("made")
    lines = ["image_path,patient_id,site,label,mask_path"]
    for number in range(N_IMAGES):
        smooth = np.random.default_rng(0 if number == 4 else number).integers(40, 200, (8, 8)).astype(np.uint8)
        picture = Image.fromarray(smooth).resize((96, 96), Image.Resampling.BICUBIC)
        if number == 4:  # its pixels differ from those of number 0, its look does not
            picture = picture.point(lambda value: value + 1)
        (folder / "source").mkdir(exist_ok=True)
        picture.save(folder / f"source/{number}.png")
        mask = Image.new("1", (96, 96))
        mask.paste(1, (30, 40, 60, 70))
        mask.save(folder / f"source/{number}m.png")
        label = ("benign", "benign", "PTC", "FTC")[number % 4]
        lines.append(f"{number}.png,p{number},{'AB'[number // 2 % 2]},{label},{number}m.png")
    (folder / "source/table.csv").write_text("\n".join(lines) + "\n")
    main(["ingest", str(folder / "source/table.csv"), "--out", str(folder / "cohort"), "--workers", "1"])
    command = ["split", "--cohort", str(folder / "cohort"), "--out", str(folder / "run"), "--split.n-folds", "3"]
    main(command)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy that may be broken; both certificates lead to its own pictures."""
    shutil.copytree(made, tmp_path / "made")
    for name in ("cohort", "run"):
        path = tmp_path / "made" / name / "certificate.json"
        write_json(path, read_json(path) | {"images_root": str(tmp_path / "made/source")})
    return tmp_path / "made"


def check(folder: Path) -> int:
    try:
        main(["check", str(folder)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_what_a_sound_cohort_and_its_run_print(made, capsys):
    assert check(made / "cohort") == 0
    said = capsys.readouterr().out
    assert "48 images and masks read again, 0 differences" in said
    for line in (
        "[ok] each patient belongs to one site",
        "[ok] no patient ids differ in case, space or width alone",
        "[ok] no pixels stand under two patients",
        "[ok] no file stands under two patients",
        "[ok] each nodule has one diagnosis",
        "[LOOK] no pictures of different patients look alike\n       0.png = 4.png",
        f"side by side: {made / 'cohort/near_duplicates.png'}",
        "A               benign                             12       12       12  above 0.735 (95 %)",
        "B               FTC                                 6        6        6  above 0.541 (95 %)",
    ):
        assert line in said, line
    certificate = read_json(made / "cohort/certificate.json")
    for sha in (value for name, value in certificate["looked_at"].items() if name.endswith("sha256")):
        assert str(sha) in said
    assert check(made / "run") == 0
    said = capsys.readouterr().out
    for line in (
        "[ok] no patient stands in two partitions of a fold",
        "[ok] every image stands once in every fold",
        "[ok] pictures that look alike stand in one partition of each fold",
    ):
        assert line in said, line


def test_sites_left_out_are_disjoint_per_fold(made, tmp_path, capsys):
    run = tmp_path / "run"
    rows = ["--split.scheme", "leave-one-site-out", "--split.near-duplicates", "ignore"]
    with pytest.raises(SystemExit):  # each site has classes of its own: nothing could be learned of the other's
        main(["split", "--cohort", str(made / "cohort"), "--out", str(run), *rows])
    assert "class benign is in no other site" in capsys.readouterr().err


def repaint(folder: Path) -> None:
    Image.new("L", (96, 96), 7).save(folder / "source/3.png")


def change_mask(folder: Path) -> None:
    Image.new("1", (96, 96), 0).save(folder / "source/5m.png")


def lose_picture(folder: Path) -> None:
    (folder / "source/6.png").unlink()


def change_table(name: str, **columns: pl.Expr) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "cohort" / name
        pl.read_parquet(path).with_columns(**columns).write_parquet(path)

    return change


def spell(folder: Path) -> None:
    path = folder / "cohort/ledger.csv"
    path.write_text(path.read_text() + "x.png,refused,blank,one value\n")


def hide_sheet(folder: Path) -> None:
    (folder / "cohort/near_duplicates.png").unlink()


def whitewash(folder: Path) -> None:
    path = folder / "cohort/certificate.json"
    certificate = read_json(path)
    write_json(path, certificate | {"checks": [each | {"passed": True} for each in certificate["checks"]]})


def forge_hash(folder: Path) -> None:
    path = folder / "cohort/certificate.json"
    certificate = read_json(path)
    write_json(path, certificate | {"looked_at": certificate["looked_at"] | {"everything_sha256": "0" * 64}})


first = pl.col("image_path") == "0.png"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (repaint, "DIFFERS 3.png: its bytes changed"),
        (change_mask, "DIFFERS 5m.png: its bytes changed"),
        (lose_picture, "DIFFERS 6.png: No such file"),
        (change_table("manifest.parquet", nodule_id=pl.when(first).then(pl.lit("p2")).otherwise("nodule_id")),
         "DIFFERS certificate.json: checks"),  # one nodule under two diagnoses
        (change_table("manifest.parquet", patient_id=pl.when(first).then(pl.lit("p2")).otherwise("patient_id")),
         "DIFFERS certificate.json: checks"),  # one patient under two sites
        (change_table("manifest.parquet", site=pl.lit("C")), "DIFFERS certificate.json: counts"),
        (change_table("fingerprints.parquet", pixel_sha256=pl.lit("0" * 64)), "DIFFERS certificate.json: checks"),
        (change_table("fingerprints.parquet", perceptual_hash=pl.col("perceptual_hash") ^ (1 << 40)),
         "DIFFERS certificate.json: looked_at"),
        (spell, "DIFFERS certificate.json: n_refused"),
        (hide_sheet, "the file is missing"),
        (whitewash, "DIFFERS certificate.json: checks"),
        (forge_hash, "DIFFERS certificate.json: looked_at"),
    ],
)  # fmt: skip
def test_a_broken_cohort_is_found(copy, capsys, damage, said):
    assert check(copy / "cohort") == 0
    capsys.readouterr()
    damage(copy)
    assert check(copy / "cohort") == EXIT_REFUSED
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda split: split.with_columns(partition=pl.when(first & (pl.col("fold") == 0)).then(pl.lit("test"))
                                          .otherwise(pl.lit("train"))), "is tested exactly once"),
        (lambda split: split[1:], "stands once in every fold: fold 0, 0.png: 0 times"),
        (lambda split: split.with_columns(patient_id=pl.lit("p0")), "no patient stands in two partitions of a fold"),
        (lambda split: split.with_columns(partition=pl.when(pl.col("image_path") == "4.png").then(pl.lit("train"))
                                          .otherwise("partition")), "look alike stand in one partition"),
    ],
)  # fmt: skip
def test_a_broken_split_is_found_even_where_its_hashes_were_made_again(copy, capsys, change, said):
    run = copy / "run"
    change(pl.read_csv(run / "split.csv")).write_csv(run / "split.csv")
    assert check(run) == EXIT_REFUSED
    assert "is not the file that stage `split` wrote" in capsys.readouterr().err
    sha256 = file_sha256(run / "split.csv")
    record = read_json(run / "run.json")
    record["stages"]["split"]["outputs"]["split.csv"] = sha256
    write_json(run / "run.json", record)
    write_json(run / "certificate.json", read_json(run / "certificate.json") | {"split_sha256": sha256})
    assert check(run) == EXIT_REFUSED
    found = capsys.readouterr().out
    assert said in found
    assert "DIFFERS certificate.json: split_checks" in found
