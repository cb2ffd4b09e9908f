"""Simulated pictures: speckle, gain, shadows, scanners, and where a nodule lies."""

from dataclasses import replace

import numpy as np
import pytest

from csasn.phantom.acoustics import echo_envelope, time_gain_db
from csasn.phantom.anatomy import VIEWS, Tissue, draw_tissue
from csasn.phantom.attributes import draw_attributes
from csasn.phantom.geometry import Grid, Lobe
from csasn.phantom.looks import CAPSULE, COMPOSITION, FOCI, HALO, MARGIN
from csasn.phantom.nodule import Diameters, draw_diameters
from csasn.phantom.scanner import DEPTH_PX, draw_scanner, take_picture
from tests.support.bare_scanner import bare


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


def test_speckle_between_scan_lines_has_the_same_statistics() -> None:
    envelope = echo_envelope(
        np.zeros((500, 300), dtype=np.float32), 0.9, np.full(500, 1.2), np.random.default_rng(0), columns_a_line=2
    )
    assert envelope.shape == (500, 600)
    for columns in (envelope[:, ::2], envelope[:, 1::2]):
        assert abs(columns.mean() / columns.std() - 1.91) < 0.05
        assert abs(float((columns.astype(np.float64) ** 2).mean()) - 2) < 0.1


def test_speckle_is_finer_along_the_beam_than_across() -> None:
    scanner = bare(draw_scanner(2, 0))
    shape = scanner.grid.shape
    even = np.zeros(shape, dtype=np.float32)
    tissue = Tissue(echo_db=even, attenuation=even + np.float32(1.5), mask=even > 0)
    grey = take_picture(scanner, tissue, "transverse", np.random.default_rng(0)).pixels.astype(float)

    def width(part: np.ndarray, axis: int) -> int:
        """Pixels until neighbours' correlation falls below a half."""
        part = part - part.mean(axis=1, keepdims=True)
        for lag in range(1, 30):
            near, far = (part[lag:], part[:-lag]) if axis == 0 else (part[:, lag:], part[:, :-lag])
            if (near * far).mean() < 0.5 * (part**2).mean():
                return lag
        return 30

    focus = round(scanner.focus_mm / scanner.grid.spacing_mm)
    near, far = grey[focus - 30 : focus + 30], grey[-60:]
    assert width(near, 0) < width(near, 1) < width(far, 1)


def grey_behind(attenuation: float, echo_db: float) -> tuple[float, float]:
    """Mean grey below an inclusion of 5 mm, and beside it at the same depth, in otherwise even tissue."""
    scanner = bare(draw_scanner(0, 0))
    echo, loss = np.zeros(scanner.grid.shape, dtype=np.float32), np.full(scanner.grid.shape, 1.5, dtype=np.float32)
    rows, columns = slice(150, 150 + round(5 / scanner.grid.spacing_mm)), slice(220, 280)
    echo[rows, columns], loss[rows, columns] = echo_db, attenuation
    tissue = Tissue(echo_db=echo, attenuation=loss, mask=echo != 0)
    picture = take_picture(scanner, tissue, "transverse", np.random.default_rng(0)).pixels
    below = picture[rows.stop + 15 : rows.stop + 100].astype(float)
    return float(below[:, 235:265].mean()), float(below[:, 60:160].mean())


def test_gain_evens_out_soft_tissue_alone() -> None:
    loss = np.full((100, 40), 1.5, dtype=np.float32)
    loss[50:, :20] = 38.0  # a wall of calcium counts as the densest soft tissue
    gain = time_gain_db(loss, 0.1, 10.0)
    assert gain[49, 0] == pytest.approx(50 * 1.5 * 0.1, rel=1e-5)
    assert gain[99, 0] == pytest.approx(50 * 1.5 * 0.1 + 50 * 1.6 * 0.1, rel=1e-5)


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
    assert {scanner.grid.height_px for scanner in scanners} == {DEPTH_PX}
    for scanner in scanners:
        height, width = scanner.stored_px
        assert scanner.pixel_spacing_mm * height == pytest.approx(scanner.grid.depth_mm)
        assert scanner.pixel_spacing_mm * width == pytest.approx(
            scanner.grid.spacing_mm * scanner.grid.width_px, rel=0.01
        )


def test_stored_pictures_are_as_large_as_real_ones() -> None:
    heights = np.array([draw_scanner(site, seed).stored_px[0] for site in range(4) for seed in range(100)])
    assert heights.min() >= 190
    assert heights.max() <= 731
    assert 300 < np.median(heights) < 360


@pytest.mark.parametrize("posterior", [False, True])
def test_a_nodule_keeps_its_relation_to_the_capsule(posterior: bool) -> None:
    rng = np.random.default_rng(3)
    scanner = bare(draw_scanner(0, 0))
    plain = replace(
        draw_attributes("benign", 1, rng)[0], margin="smooth", composition="solid", echogenicity="marked", foci="none"
    )
    diameters = Diameters(depth_mm=10.0, width_mm=11.0, length_mm=12.0)
    ends: dict[str, float] = {}
    for capsule in CAPSULE:
        attributes = replace(plain, capsule=capsule, posterior=posterior)
        masks = [
            draw_tissue(attributes, diameters, "longitudinal", scanner.grid, np.random.default_rng(seed)).mask
            for seed in range(8)
        ]
        rows = [np.flatnonzero(mask.any(axis=1))[[0, -1]] for mask in masks]
        ends[capsule] = float(np.mean([last if posterior else -first for first, last in rows]))
        area_mm2 = np.mean([mask.sum() for mask in masks]) * scanner.grid.spacing_mm**2
        assert area_mm2 == pytest.approx(np.pi / 4 * 10 * 12, rel=0.1)
    assert ends["away"] < ends["contact"] < ends["bulging"] < ends["extension"]


def test_a_capsule_is_lifted_by_a_bulge_and_broken_by_an_extension() -> None:
    attributes = replace(
        draw_attributes("PTC", 1, np.random.default_rng(3))[0],
        margin="smooth", composition="solid", echogenicity="marked", foci="none", halo="absent", posterior=False,
    )  # fmt: skip
    grid = Grid(height_px=512, width_px=560, spacing_mm=0.08)
    brightest = {}
    for capsule in ("bulging", "extension"):
        above = []
        for seed in range(6):
            tissue = draw_tissue(
                replace(attributes, capsule=capsule),
                Diameters(depth_mm=12.0, width_mm=12.0, length_mm=12.0),
                "longitudinal",
                grid,
                np.random.default_rng(seed),
            )
            columns = np.flatnonzero(tissue.mask.any(axis=0))
            middle = columns[len(columns) // 2]
            top = int(np.flatnonzero(tissue.mask[:, middle])[0])
            above.append(tissue.echo_db[top - 10 : top, middle - 15 : middle + 15].max(axis=0).mean())
        brightest[capsule] = float(np.median(above))
    assert brightest["bulging"] > 4  # the capsule over it, against the gland's 0 dB
    assert brightest["extension"] < brightest["bulging"] - 3


def test_a_lobe_knows_how_high_it_is() -> None:
    lobe = Lobe(depth_mm=20.0, across_mm=1.0, half_height_mm=8.0, half_width_mm=10.0, power=2.0, side=1)
    assert lobe.half_height_at(1.0) == pytest.approx(8.0)
    assert lobe.half_height_at(7.0) == pytest.approx(8.0 * 0.8)
    depth, across = np.float32([[12.0], [20.0]]), np.float32([[1.0, 11.0]])
    np.testing.assert_allclose(lobe.distance(depth, across), [[0.0, 8 * (2**0.5 - 1)], [-8.0, 0.0]], atol=1e-5)


def test_every_attribute_can_be_rendered() -> None:
    rng = np.random.default_rng(0)
    scanner = draw_scanner(1, 0)
    plain = draw_attributes("benign", 1, rng)[0]
    changes = [{"composition": name} for name in COMPOSITION] + [{"foci": name} for name in FOCI]
    changes += [{"margin": name} for name in MARGIN] + [{"halo": name} for name in HALO]
    changes += [{"capsule": name, "posterior": back} for name in CAPSULE for back in (True, False)]
    changes += [{"size_mm": size, "taller_than_wide": taller} for size in (4.0, 45.0) for taller in (True, False)]
    for number, change in enumerate(changes):
        attributes = replace(plain, **change)
        view = VIEWS[number % 2]
        tissue = draw_tissue(attributes, draw_diameters(attributes, rng), view, scanner.grid, rng)
        picture = take_picture(scanner, tissue, view, rng)
        assert np.isfinite(tissue.echo_db).all(), change
        assert tissue.mask.sum() > 100, change
        assert picture.pixels.shape == picture.mask.shape
