from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.stats import binom

from csasn.cohort.phantom.acoustics import echo_envelope
from csasn.cohort.phantom.anatomy import VIEWS, Tissue, draw_tissue
from csasn.cohort.phantom.attributes import (
    COMPOSITION,
    ECHOGENICITY,
    FOCI,
    HALO,
    LOOKS,
    MARGIN,
    SUBTYPES,
    Attributes,
    draw_attributes,
    taller_by_size,
)
from csasn.cohort.phantom.cohort import Patient, deal_classes, draw_patients, simulate
from csasn.cohort.phantom.nodule import draw_diameters
from csasn.cohort.phantom.scanner import Scanner, draw_scanner, take_picture
from csasn.errors import BadInputError
from csasn.files import file_sha256, read_json
from csasn.schema import LEDGER_COLUMNS, MANIFEST_COLUMNS, classes_of, manifest_sha256, read_manifest


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    simulate(folder, n_patients=20, n_sites=2, seed=7)
    return folder


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return draw_patients(n_patients=2000, n_sites=4, seed=1)


def bare(scanner: Scanner) -> Scanner:
    """The scanner without margins and overlays."""
    return replace(
        scanner,
        margin_left_px=0,
        margin_right_px=0,
        margin_top_px=0,
        margin_bottom_px=0,
        ruler=False,
        text=False,
        caliper_share=0.0,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = simulate(tmp_path / "a", n_patients=4, n_sites=2, seed=3, progress=lambda *at: seen.append(at))
    simulate(tmp_path / "b", n_patients=4, n_sites=2, seed=3)
    simulate(tmp_path / "c", n_patients=4, n_sites=2, seed=4)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert not {a[name] for name in a if name.endswith(".png")} & {c[name] for name in c if name.endswith(".png")}
    assert (first.n_patients, first.n_nodules, first.n_images, first.n_sites) == (4, 4, 8, 2)
    assert seen == [(done, 8) for done in range(1, 9)]


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
    assert pl.read_csv(cohort / "ledger.csv").columns == list(LEDGER_COLUMNS)


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


def test_small_cohorts_still_have_both_groups() -> None:
    for n_patients, n_sites in ((2, 1), (3, 1), (4, 2), (9, 1)):
        dealt = deal_classes(n_patients=n_patients, n_sites=n_sites, seed=0)
        for site in range(n_sites):
            names = {name for at, name in dealt if at == site}
            assert "benign" in names
            assert len(names) > 1


def outside_bands(drawn: Sequence[Attributes]) -> list[str]:
    """Attributes whose count leaves its simultaneous 99 % binomial band, over all looks, attributes and levels."""
    observed: list[tuple[str, int, int, float]] = []
    for name, look in LOOKS.items():
        group = [each for each in drawn if each.look == name]
        for attribute, levels, shares in (
            ("composition", COMPOSITION, look.composition),
            ("echogenicity", ECHOGENICITY, look.echogenicity),
            ("margin", MARGIN, look.margin),
            ("foci", FOCI, look.foci),
            ("halo", HALO, look.halo),
        ):
            for level, share in zip(levels, shares, strict=True):
                count = sum(getattr(each, attribute) == level for each in group)
                observed.append((f"{name} {attribute} {level}", count, len(group), share))
        for size, share in zip(("small", "large"), taller_by_size(look), strict=True):
            part = [each for each in group if (each.size_mm < 10) == (size == "small")]
            observed.append((f"{name} taller {size}", sum(each.taller_than_wide for each in part), len(part), share))
    tail = 0.01 / len(observed) / 2
    return [
        what
        for what, count, n, share in observed
        if not binom.ppf(tail, n, share) <= count <= binom.ppf(1 - tail, n, share)
    ]


def test_attributes_have_their_published_frequencies(patients: list[Patient]) -> None:
    assert not outside_bands([patient.attributes for patient in patients])


def test_frequencies_out_of_line_are_noticed(patients: list[Patient]) -> None:
    rounder = [replace(patient.attributes, margin="smooth") for patient in patients]
    assert {"PTC margin smooth", "PTC margin irregular"} <= set(outside_bands(rounder))


def test_attributes_are_drawn_conditionally() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_attributes("benign", rng) for _ in range(4000)]

    def share(what: str, level: str, given: str, condition: str) -> float:
        group = [each for each in drawn if (getattr(each, given) == condition)]
        return float(np.mean([getattr(each, what) == level for each in group]))

    bright = "iso-or-hyper"
    assert share("echogenicity", bright, "composition", "mixed") > share("echogenicity", bright, "composition", "solid")
    assert share("foci", "punctate", "echogenicity", "hypo") > share("foci", "punctate", "echogenicity", bright)


def test_sizes_overlap_between_the_classes(patients: list[Patient]) -> None:
    sizes = {name: [p.attributes.size_mm for p in patients if p.attributes.subtype == name] for name in SUBTYPES}
    for name in SUBTYPES[1:]:
        less = np.mean(np.array(sizes["benign"])[:, None] < np.array(sizes[name])[None, :])
        assert 0.2 < less < 0.8, name


def test_diameters_keep_size_and_shape(patients: list[Patient]) -> None:
    for patient in patients:
        diameters = patient.diameters
        assert diameters.length_mm == patient.attributes.size_mm
        assert max(diameters.depth_mm, diameters.width_mm) <= diameters.length_mm + 1e-9
        assert (diameters.depth_mm > diameters.width_mm) == patient.attributes.taller_than_wide


def test_homogeneous_tissue_gives_rayleigh_speckle() -> None:
    rng = np.random.default_rng(0)
    echo = np.zeros((600, 600), dtype=np.float32)
    envelope = echo_envelope(echo, 0.9, np.linspace(1.5, 2.5, 600), rng)
    assert abs(envelope.mean() / envelope.std() - 1.91) < 0.05
    assert abs(float((envelope.astype(np.float64) ** 2).mean()) - 2) < 0.1
    top, bottom = envelope[:100], envelope[-100:]
    assert (
        np.corrcoef(top[:, 2:].ravel(), top[:, :-2].ravel())[0, 1]
        < np.corrcoef(bottom[:, 2:].ravel(), bottom[:, :-2].ravel())[0, 1]
    )  # the beam is wider below


def grey_behind(attenuation: float, echo_db: float) -> tuple[float, float]:
    """Mean grey below an inclusion of 5 mm, and beside it at the same depth, in otherwise even tissue."""
    scanner = bare(draw_scanner(0, 0))
    height, width = scanner.grid.height_px, scanner.grid.width_px
    echo, loss = np.zeros((height, width), dtype=np.float32), np.full((height, width), 1.5, dtype=np.float32)
    rows, columns = slice(100, 100 + round(5 / scanner.grid.spacing_mm)), slice(140, 180)
    echo[rows, columns], loss[rows, columns] = echo_db, attenuation
    tissue = Tissue(echo_db=echo, attenuation=loss, mask=echo != 0)
    picture = take_picture(scanner, tissue, "transverse", np.random.default_rng(0)).pixels
    below = picture[rows.stop + 10 : rows.stop + 70].astype(float)
    return float(below[:, 150:170].mean()), float(below[:, 40:100].mean())


def test_calcium_casts_a_shadow_and_fluid_brightens() -> None:
    behind, beside = grey_behind(38.0, 17.0)
    assert behind < 0.5 * beside
    behind, beside = grey_behind(0.05, -42.0)
    assert behind > beside + 5


def test_scanners_differ_between_sites_and_are_fixed_by_the_seed() -> None:
    scanners = [draw_scanner(site, 0) for site in range(6)]
    assert scanners == [draw_scanner(site, 0) for site in range(6)]
    assert len({(scanner.frequency_mhz, scanner.grid) for scanner in scanners}) == 6
    assert all(7 <= scanner.frequency_mhz <= 15 for scanner in scanners)
    assert all(50 <= scanner.dynamic_range_db <= 80 for scanner in scanners)


def test_every_attribute_can_be_rendered() -> None:
    rng = np.random.default_rng(0)
    scanner = draw_scanner(1, 0)
    plain = draw_attributes("benign", rng)
    changes = [{"composition": name} for name in COMPOSITION] + [{"foci": name} for name in FOCI]
    changes += [{"margin": name} for name in MARGIN] + [{"halo": name} for name in HALO]
    changes += [{"size_mm": size, "taller_than_wide": taller} for size in (4.0, 45.0) for taller in (True, False)]
    for number, change in enumerate(changes):
        attributes = replace(plain, **change)
        view = VIEWS[number % 2]
        tissue = draw_tissue(attributes, draw_diameters(attributes, rng), view, scanner.grid, rng)
        picture = take_picture(scanner, tissue, view, rng)
        assert np.isfinite(tissue.echo_db).all(), change
        assert tissue.mask.sum() > 100, change
        assert picture.pixels.shape == picture.mask.shape
