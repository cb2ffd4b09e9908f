"""A simulated cohort: the same bytes from the same seed, and what it says of its patients and nodules."""

import multiprocessing
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.errors import BadInputError
from csasn.files import file_sha256, read_json
from csasn.phantom.anatomy import VIEWS
from csasn.phantom.attributes import Attributes
from csasn.phantom.cohort import attribute_table, draw_patients, simulate
from csasn.phantom.contact_sheet import contact_sheet
from csasn.phantom.looks import SUBTYPES
from csasn.phantom.patients import deal_classes
from csasn.phantom.rendering import acquisitions
from csasn.phantom.scanner import draw_scanner
from csasn.phantom.tirads import tirads_level
from csasn.schema import LEDGER_COLUMNS, MANIFEST_COLUMNS, classes_of, manifest_sha256, read_manifest


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    simulate(folder, n_patients=20, n_sites=2, seed=7)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = simulate(tmp_path / "a", n_patients=4, n_sites=2, seed=3, progress=lambda *at: seen.append(at))
    simulate(tmp_path / "b", n_patients=4, n_sites=2, seed=3)
    simulate(tmp_path / "c", n_patients=4, n_sites=2, seed=4)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert not {a[name] for name in a if "/" in name} & {c[name] for name in c if "/" in name}
    assert (first.n_patients, first.n_nodules, first.n_images, first.n_sites) == (4, 4, 8, 2)
    assert seen == [(done, 8) for done in range(1, 9)]


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate(tmp_path / "one", n_patients=5, n_sites=2, seed=3, workers=1)
    simulate(tmp_path / "two", n_patients=5, n_sites=2, seed=3, workers=2, progress=lambda *at: seen.append(at))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == [(done, 10) for done in range(1, 11)]
    assert not multiprocessing.active_children()


def test_the_folder_is_a_cohort(cohort: Path) -> None:
    manifest = read_manifest(cohort)
    assert list(manifest.columns) == list(MANIFEST_COLUMNS)
    assert manifest.height == 40
    assert classes_of(manifest).names == SUBTYPES
    for row in manifest.iter_rows(named=True):
        path = cohort / row["image_path"]
        assert file_sha256(path) == row["sha256"]
        with Image.open(path) as image:
            assert image.mode == "L"
            assert image.size == (row["width_px"], row["height_px"])
            assert np.asarray(image).std() > 15
    assert (
        manifest.group_by("nodule_id").agg(pl.col("view").sort()).get_column("view").to_list() == [sorted(VIEWS)] * 20
    )
    certificate = read_json(cohort / "certificate.json")
    assert certificate["simulated"] is True
    assert certificate["manifest_sha256"] == manifest_sha256(manifest)
    assert "enriched" in str(certificate["notes"])
    assert "independent of the class" in str(certificate["notes"])
    assert all(check["passed"] for check in certificate["checks"])  # type: ignore[index,attr-defined]
    assert pl.read_csv(cohort / "ledger.csv").columns == list(LEDGER_COLUMNS)
    with Image.open(cohort / "contact_sheet.png") as sheet:
        assert sheet.size == contact_sheet(cohort, manifest).size


def test_the_manifest_describes_patient_and_nodule_as_they_were_drawn(cohort: Path) -> None:
    manifest, drawn = read_manifest(cohort), pl.read_csv(cohort / "attributes.csv")
    both = manifest.join(drawn, on="nodule_id", validate="m:1")
    assert both.height == manifest.height
    assert (both["age_years"] == both["age"]).all()
    assert (both["nodule_size_mm"] == both["size_mm"]).all()
    assert ((both["sex"] == "female") == both["female"]).all()
    assert set(both["tirads_level"]) <= {1, 2, 3, 4, 5}
    # hypo (2), solid (2): level 4 at least; never below what the composition alone decides
    assert (
        both.filter(pl.col("echogenicity") != "iso-or-hyper", pl.col("composition") == "solid")["tirads_level"].min()
        >= 4
    )
    assert set(both.filter(pl.col("composition") == "spongiform-or-cystic")["tirads_level"]) <= {1}


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({}, 3),  # solid 2, isoechoic 1
        ({"composition": "spongiform-or-cystic", "foci": "punctate"}, 1),
        ({"composition": "mixed"}, 2),
        ({"echogenicity": "hypo"}, 4),
        ({"margin": "ill-defined"}, 3),
        ({"margin": "irregular"}, 4),
        ({"foci": "punctate"}, 4),
        ({"taller_than_wide": True}, 4),
        ({"echogenicity": "hypo", "taller_than_wide": True}, 5),
        ({"capsule": "extension", "foci": "macro"}, 5),
    ],
)
def test_tirads_levels_follow_the_lexicon(changed: dict[str, Any], level: int) -> None:
    plain = Attributes(
        subtype="benign",
        composition="solid",
        echogenicity="iso-or-hyper",
        taller_than_wide=False,
        margin="smooth",
        foci="none",
        halo="thin",
        capsule="away",
        posterior=False,
        size_mm=12.0,
        age=50,
        female=True,
    )
    assert tirads_level(replace(plain, **changed)) == level


def test_names_tell_nothing_of_the_class(cohort: Path) -> None:
    manifest = read_manifest(cohort)
    names = " ".join(manifest["image_path"].to_list() + manifest["patient_id"].to_list()).lower()
    assert not [name for name in SUBTYPES if name.lower() in names]
    by_site = manifest.unique("patient_id", maintain_order=True).filter(pl.col("site") == "site-a")["subtype"].to_list()
    assert by_site != sorted(by_site)


def test_attributes_are_written_a_row_a_nodule(cohort: Path) -> None:
    table = pl.read_csv(cohort / "attributes.csv")
    manifest = read_manifest(cohort).unique("nodule_id", maintain_order=True)
    assert table["nodule_id"].to_list() == manifest["nodule_id"].to_list()
    assert table["subtype"].to_list() == manifest["subtype"].to_list()
    drawn = draw_patients(n_patients=20, n_sites=2, seed=7)
    planned = acquisitions(drawn, [draw_scanner(at, 7) for at in range(2)], seed=7, overlay_shortcut=0.0)
    assert attribute_table(planned).write_csv() == (cohort / "attributes.csv").read_text()


def test_masks_lie_within_their_images_and_have_the_drawn_size(cohort: Path) -> None:
    sizes = dict(pl.read_csv(cohort / "attributes.csv").select("nodule_id", "length_mm").iter_rows())
    for row in read_manifest(cohort).iter_rows(named=True):
        with Image.open(cohort / row["mask_path"]) as picture:
            mask = np.asarray(picture)
        assert mask.shape == (row["height_px"], row["width_px"])
        assert set(np.unique(mask)) == {0, 255}
        if row["view"] == "longitudinal":
            columns = np.flatnonzero(mask.any(axis=0))
            drawn_px = sizes[row["nodule_id"]] / row["pixel_spacing_mm"]
            least = 0.75 * min(drawn_px, row["width_px"] - 60)
            assert least < columns[-1] - columns[0] + 1 < 1.4 * drawn_px


@pytest.mark.parametrize(("n_patients", "n_sites"), [(0, 1), (-3, 1), (10, 0), (10, 27), (5, 3), (1, 1)])
def test_impossible_cohorts_are_refused(tmp_path: Path, n_patients: int, n_sites: int) -> None:
    with pytest.raises(BadInputError, match="received"):
        simulate(tmp_path / "out", n_patients=n_patients, n_sites=n_sites, seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("n_patients", "n_sites"), [(10, 1), (30, 3), (47, 4), (120, 3), (2000, 4)])
def test_every_class_has_two_patients_at_every_site(n_patients: int, n_sites: int) -> None:
    dealt = deal_classes(n_patients=n_patients, n_sites=n_sites, seed=5)
    assert len(dealt) == n_patients
    counts = Counter(dealt)
    assert {site for site, _ in dealt} == set(range(n_sites))
    if n_patients >= 10 * n_sites:
        assert min(counts[site, name] for site in range(n_sites) for name in SUBTYPES) >= 2


@pytest.mark.parametrize(("wrong", "says"), [({"overlay_shortcut": 1.5}, "1.5"), ({"workers": 0}, "--workers 0")])
def test_impossible_options_are_refused(tmp_path: Path, wrong: dict[str, float], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        simulate(tmp_path / "out", n_patients=4, n_sites=1, seed=0, **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_small_cohorts_still_have_both_groups() -> None:
    for n_patients, n_sites in ((2, 1), (3, 1), (4, 2), (9, 1)):
        dealt = deal_classes(n_patients=n_patients, n_sites=n_sites, seed=0)
        for site in range(n_sites):
            names = {name for at, name in dealt if at == site}
            assert "benign" in names
            assert len(names) > 1
