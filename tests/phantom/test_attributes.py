"""Attributes of simulated nodules are as frequent, and tell as much, as published."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from csasn.files import read_json
from csasn.phantom.anatomy import VIEWS
from csasn.phantom.attributes import SUSPICION, Attributes, draw_attributes, frequencies
from csasn.phantom.cohort import draw_patients, simulate
from csasn.phantom.looks import FOCI, LOOKS, SUBTYPES
from csasn.phantom.patients import Patient, deal_classes
from csasn.phantom.rendering import acquisitions
from csasn.phantom.scanner import draw_scanner
from tests.support.bare_scanner import bare


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return draw_patients(n_patients=2000, n_sites=4, seed=1)


def outside_bands(drawn: Sequence[Attributes]) -> list[str]:
    """Counts outside the 99 % binomial band of their published frequency, class by class and cell by cell."""
    observed: list[tuple[str, int, int, float]] = []
    for name, look in LOOKS.items():
        group = [each for each in drawn if each.subtype == name]
        for attribute in SUSPICION:
            for level, share in frequencies(look, attribute).items():
                count = sum(getattr(each, attribute) == level for each in group)
                observed.append((f"{name} {attribute} {level}", count, len(group), share))
        taller = [each.taller_than_wide for each in group]
        observed.append((f"{name} taller", sum(taller), len(group), look.taller_than_wide))
        for size, share in zip(("small", "large"), look.taller_by_size(), strict=True):
            part = [each for each in group if (each.size_mm < 10) == (size == "small")]
            observed.append((f"{name} taller {size}", sum(each.taller_than_wide for each in part), len(part), share))
        observed.append((f"{name} female", sum(each.female for each in group), len(group), look.female))
    return [
        what
        for what, count, n, share in observed
        if not binom.ppf(0.005, n, share) <= count <= binom.ppf(0.995, n, share)
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mix", ["enriched", "natural"])
def test_every_cell_has_its_published_frequency(seed: int, mix: str) -> None:
    drawn = draw_patients(n_patients=2000, n_sites=4, seed=seed, mix=mix)  # type: ignore[arg-type]
    assert not outside_bands([patient.attributes for patient in drawn])


def test_frequencies_out_of_line_are_noticed(patients: list[Patient]) -> None:
    rounder = [replace(patient.attributes, margin="smooth") for patient in patients]
    assert {"PTC margin smooth", "PTC margin irregular"} <= set(outside_bands(rounder))


def test_a_level_is_drawn_as_often_as_published_rounded_up_or_down() -> None:
    drawn = draw_attributes("PTC", 480, np.random.default_rng(0))
    counts = Counter(each.foci for each in drawn)
    assert {name: counts[name] for name in FOCI} == pytest.approx(
        {"none": 216, "macro": 48, "rim": 9.6, "punctate": 206.4}, abs=1
    )


def test_attributes_are_drawn_together() -> None:
    drawn = draw_attributes("benign", 4000, np.random.default_rng(2))

    def share(what: str, level: str, given: str, condition: str) -> float:
        group = [each for each in drawn if (getattr(each, given) == condition)]
        return float(np.mean([getattr(each, what) == level for each in group]))

    bright = "iso-or-hyper"
    assert share("echogenicity", bright, "composition", "mixed") > share("echogenicity", bright, "composition", "solid")
    assert share("foci", "punctate", "echogenicity", "hypo") > share("foci", "punctate", "echogenicity", bright)
    assert share("capsule", "bulging", "margin", "irregular") > share("capsule", "bulging", "margin", "smooth")
    large = np.mean([each.capsule == "away" for each in drawn if each.size_mm > 20])
    assert large < np.mean([each.capsule == "away" for each in drawn if each.size_mm < 12])


def attribute_auroc(negative: str, positive: str) -> float:
    """AUROC of a logistic regression on all attributes, learned on one half of 4,000 nodules and read on the other."""
    rng = np.random.default_rng(0)
    groups = [draw_attributes(name, 4000, rng) for name in (negative, positive)]  # type: ignore[arg-type]
    features = [
        [SUSPICION[name].index(getattr(each, name)) == level for name in SUSPICION for level in range(4)]
        + [each.taller_than_wide, np.log(each.size_mm)]
        for group in groups
        for each in group
    ]
    truth = np.repeat([0, 1], 4000)
    x = np.array(features, dtype=float)
    model = LogisticRegression(max_iter=500).fit(x[::2], truth[::2])
    return float(roc_auc_score(truth[1::2], model.predict_proba(x[1::2])[:, 1]))


@pytest.mark.parametrize(
    ("negative", "positive", "lowest", "highest"),
    [
        ("benign", "PTC", 0.915, 0.945),
        ("benign", "FTC", 0.73, 0.79),
        ("benign", "MTC", 0.88, 0.92),
        ("benign", "ATC", 0.94, 0.98),  # the published cells alone give .96 to .97 however they go together
        ("PTC", "MTC", 0.76, 0.83),
    ],
)
def test_attributes_tell_as_much_as_published(negative: str, positive: str, lowest: float, highest: float) -> None:
    assert lowest < attribute_auroc(negative, positive) < highest


@pytest.mark.parametrize("what", ["size", "site", "calipers"])
def test_no_single_feature_gives_the_class_away(patients: list[Patient], what: str) -> None:
    planned = acquisitions(patients, [draw_scanner(at, 1) for at in range(4)], seed=1, overlay_shortcut=0.0)
    if what == "size":
        x = np.log([[each.patient.attributes.size_mm] for each in planned])
    elif what == "site":
        x = np.eye(4)[[each.patient.site_number for each in planned]]
    else:
        x = np.array([[each.calipers] for each in planned], dtype=float)
    names = np.array([each.patient.attributes.subtype for each in planned])
    for target in [names != "benign", *(names == name for name in SUBTYPES)]:
        assert roc_auc_score(target, LogisticRegression().fit(x, target).predict_proba(x)[:, 1]) < 0.65


def test_calipers_follow_malignancy_only_where_asked(tmp_path: Path, patients: list[Patient]) -> None:
    scanners = [draw_scanner(at, 1) for at in range(4)]
    malignant = np.array([patient.attributes.subtype != "benign" for patient in patients for _ in VIEWS])
    agreement = {}
    for shortcut in (0.0, 0.7, 1.0):
        planned = acquisitions(patients, scanners, seed=1, overlay_shortcut=shortcut)
        agreement[shortcut] = float(np.corrcoef(malignant, [each.calipers for each in planned])[0, 1])
    assert abs(agreement[0.0]) < 0.05 < 0.6 < agreement[0.7] < agreement[1.0]
    assert agreement[1.0] == pytest.approx(1)
    simulate(tmp_path / "out", n_patients=4, n_sites=1, seed=1, overlay_shortcut=1.0)
    notes = str(read_json(tmp_path / "out/certificate.json")["notes"])
    assert "OVERLAY SHORTCUT PLANTED (--overlay-shortcut 1)" in notes
    table = pl.read_csv(tmp_path / "out/attributes.csv")
    assert table["calipers_transverse"].to_list() == (table["subtype"] != "benign").to_list()


def test_calipers_change_nothing_but_their_own_marks(patients: list[Patient]) -> None:
    first = acquisitions(patients[:1], [bare(draw_scanner(0, 1))], seed=1, overlay_shortcut=0.0)[0]
    without = replace(first, calipers=False).pictures()[0]
    marked = replace(first, calipers=True).pictures()[0]
    changed = without.pixels != marked.pixels
    assert 0 < changed.mean() < 0.01
    np.testing.assert_array_equal(without.mask, marked.mask)


def test_the_natural_mix_is_that_of_operated_nodules() -> None:
    dealt = Counter(name for _, name in deal_classes(n_patients=26_000, n_sites=26, seed=1, mix="natural"))
    n_malignant = 26_000 - dealt["benign"]
    assert n_malignant / 26_000 == pytest.approx(0.4, abs=0.04)  # each site has a mix of its own
    shares = {name: dealt[name] / n_malignant for name in SUBTYPES[1:]}
    assert shares == pytest.approx({"PTC": 0.922, "FTC": 0.046, "MTC": 0.016, "ATC": 0.015}, abs=0.01)


def test_sizes_overlap_between_the_classes(patients: list[Patient]) -> None:
    sizes = {name: [p.attributes.size_mm for p in patients if p.attributes.subtype == name] for name in SUBTYPES}
    for name in SUBTYPES[1:]:
        less = np.mean(np.array(sizes["benign"])[:, None] < np.array(sizes[name])[None, :])
        assert 0.3 < less < 0.7, name


def test_diameters_keep_size_and_shape(patients: list[Patient]) -> None:
    for patient in patients:
        diameters = patient.diameters
        assert diameters.length_mm == patient.attributes.size_mm
        assert max(diameters.depth_mm, diameters.width_mm) <= diameters.length_mm + 1e-9
        assert (diameters.depth_mm > diameters.width_mm) == patient.attributes.taller_than_wide
