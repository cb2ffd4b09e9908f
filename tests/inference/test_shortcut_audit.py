"""The shortcut audit: its false alarm rate, its detector of what is drawn, and planted marks that sound it."""

import gc
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from csasn.decoding.marks import find_marks
from csasn.decoding.pictures import read_mask, read_picture
from csasn.evidence.statistics.leaks import Question, leaks, permutation_p, site_readable, within_sites_auroc
from csasn.inference.shortcut_audit import alter, chosen_rows

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.toml"


def succeed(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "csasn", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def simulated_pair(folder: Path, n_patients: int) -> dict[str, Path]:
    """The same patients twice: calipers by chance, and calipers on every malignant picture and no other."""
    for name, share in (("clean", 0), ("planted", 1)):
        options = ("--patients", n_patients, "--sites", 2, "--seed", 4, "--overlay-shortcut", share)
        succeed("simulate", "--out", folder / name, *options)
    return {name: folder / name for name in ("clean", "planted")}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twelve patients, twice."""
    return simulated_pair(tmp_path_factory.mktemp("shortcut"), 12)


def test_auroc_within_one_site_is_auroc_and_sites_are_never_compared() -> None:
    rng = np.random.default_rng(0)
    y, q = rng.random(80) < 0.4, rng.integers(0, 9, 80).astype(float)
    assert within_sites_auroc(y, q, np.full(80, "a")) == pytest.approx(roc_auc_score(y, q))
    site = np.where(np.arange(80) < 40, "a", "b")
    shifted = q + 100 * (site == "b")
    assert within_sites_auroc(y, shifted, site) == pytest.approx(within_sites_auroc(y, q, site))
    assert np.isnan(within_sites_auroc(np.array([True, False]), np.array([1.0, 0.0]), np.array(["a", "b"])))


@pytest.mark.parametrize("two_sided", [False, True])
def test_permutation_p_agrees_with_every_arrangement(two_sided: bool) -> None:
    quantity = np.array([0.1, 0.9, 0.4, 0.8, 0.3, 0.7])
    malignant = np.array([False, True, False, True, False, False])
    sums = [sum(1 + np.argsort(np.argsort(quantity))[list(pair)]) for pair in itertools.combinations(range(6), 2)]
    own = np.array(sums) - 7
    observed = 11 - 7
    exact = np.mean(np.abs(own) >= observed) if two_sided else np.mean(own >= observed)
    p = permutation_p(malignant, quantity, np.full(6, "a"), two_sided=two_sided, n_permutations=20_000)
    assert p == pytest.approx(exact, abs=0.01)


def _null(seed: int, n: int = 60) -> list[Question]:
    """Three quantities that differ by site, as the class mix does, but within sites are unrelated to the class."""
    rng = np.random.default_rng(seed)
    site = np.where(np.arange(n) % 2, "a", "b")
    malignant = rng.random(n) < np.where(site == "a", 0.7, 0.3)
    kinds = (rng.normal(size=n), rng.integers(0, 3, n).astype(float), rng.exponential(size=n))
    return [
        Question(name=str(k), two_sided=k == 0, malignant=malignant, quantity=q + 5 * (site == "a"), site=site)
        for k, q in enumerate(kinds)
    ]


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """Each call of statsmodels' multipletests collects garbage, which takes long where torch is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_heap")
def test_false_alarms_stay_below_the_declared_rate() -> None:
    n_alarms = sum(
        any(each.alarm for each in leaks(_null(seed), false_alarm_rate=0.05, smallest_auroc=0.5, n_permutations=99))
        for seed in range(200)
    )
    assert n_alarms <= 20  # 99.9 % of draws of Binomial(200, 0.05)


def test_a_leak_sounds_the_alarm_and_a_small_one_does_not() -> None:
    rng = np.random.default_rng(1)
    site, malignant = np.array(["a", "b"] * 2000), rng.random(4000) < 0.5
    for shift, alarm in ((1.0, True), (0.12, False)):  # AUROC .76, and .53 with a p far below the rate
        question = Question(
            name="q",
            two_sided=False,
            malignant=malignant,
            quantity=rng.normal(size=4000) + shift * malignant,
            site=site,
        )
        (found,) = leaks([question], false_alarm_rate=0.05, smallest_auroc=0.55, n_permutations=499)
        assert found.p_holm is not None
        assert found.p_holm <= 0.05
        assert found.alarm is alarm


def test_no_pair_to_compare_is_not_estimable() -> None:
    lone = Question(
        name="q",
        two_sided=False,
        malignant=np.array([True, False]),
        quantity=np.array([1.0, 0.0]),
        site=np.array(["a", "b"]),
    )
    (found,) = leaks([lone], false_alarm_rate=0.05, smallest_auroc=0.55, n_permutations=99)
    assert (found.auroc, found.p, found.alarm) == (None, None, False)
    assert "not estimable" in found.note


def test_sites_are_read_where_they_differ_and_not_where_they_do_not() -> None:
    rng = np.random.default_rng(2)
    site = np.array(["a", "b", "c"] * 40)
    points = rng.normal(size=(120, 20))
    blind = site_readable(points, site, n_permutations=199)
    apart = site_readable(points + 2 * (site == "a")[:, None], site, n_permutations=199)
    assert blind.p is not None
    assert blind.p > 0.01
    assert apart.p == pytest.approx(1 / 200)
    assert apart.balanced_accuracy is not None
    assert apart.balanced_accuracy > 0.6
    assert apart.chance == pytest.approx(1 / 3, abs=0.05)
    assert site_readable(points[:3], site[:3], n_permutations=9).balanced_accuracy is None


def test_drawn_calipers_are_found(cohorts: dict[str, Path]) -> None:
    """Pictures of the two cohorts differ in nothing but calipers, whose pixels are therefore known."""
    manifest = pl.read_parquet(cohorts["clean"] / "manifest.parquet")
    found = drawn = 0
    for name in manifest["image_path"].to_list()[:60]:
        clean, planted = (read_picture(cohorts[each] / name) for each in ("clean", "planted"))
        if (planted.astype(int) - clean).sum() > 0:
            ink = planted != clean
            drawn += int(ink.sum())
            found += int((find_marks(planted) & ink).sum())
    assert drawn > 1000
    assert found / drawn > 0.85


def test_variants_keep_what_they_must_keep(cohorts: dict[str, Path]) -> None:
    cohort = cohorts["planted"]
    row = pl.read_parquet(cohort / "manifest.parquet").row(0, named=True)
    pixels, mask = read_picture(cohort / row["image_path"]), read_mask(cohort / row["mask_path"])
    altered = alter(pixels, mask)
    variants, (height, width) = altered.variants, pixels.shape
    assert (variants["as-is"] == pixels).all()
    marks = find_marks(pixels)
    assert (variants["without-marks"][~marks] == pixels[~marks]).all()
    assert (variants["without-nodule"][~mask] == pixels[~mask]).all()
    assert len(np.unique(variants["without-nodule"][mask])) <= 3  # level
    inside = variants["border"][round(0.12 * height) :, round(0.12 * width) : width - round(0.12 * width)]
    assert not inside.any()
    assert "without-nodule" not in alter(pixels, None).variants
    assert alter(pixels, None).border_free is None


def test_every_class_is_drawn_in_turn() -> None:
    frame = pl.DataFrame(
        {
            "patient_id": [f"p{number}" for number in range(50) for _ in range(2)],
            "subtype": (["benign"] * 80 + ["PTC"] * 14 + ["ATC"] * 6),
            "malignant": [False] * 80 + [True] * 20,
        }
    )
    rows = chosen_rows(frame, 9, seed=0)
    assert frame[rows]["subtype"].value_counts().sort("subtype")["count"].to_list() == [6, 6, 6]
    assert len(chosen_rows(frame, 500, seed=0)) == 100


@pytest.mark.slow
def test_planted_overlays_sound_the_alarm_and_clean_ones_stay_silent(tmp_path: Path) -> None:
    cohorts = simulated_pair(tmp_path / "cohorts", 60)
    for name, alarm in (("clean", False), ("planted", True)):
        run = tmp_path / name
        options = ("--fit.baselines", "--fit.frozen.epochs", 2, "--fit.weights", "none")
        succeed("split", "--cohort", cohorts[name], "--config", SMOKE, "--out", run, *options)
        for stage in ("fit", "predict", "calibrate", "audit", "evaluate"):
            succeed(stage, run)
        content = json.loads((run / "shortcuts.json").read_text())
        assert content["alarm"] is alarm
        assert [each["n_patients"] for each in content["questions"]][:2] == [60, 60]
        assert {each["variant"] for each in content["variants"]} == {
            "as-is",
            "without-marks",
            "without-nodule",
            "border",
        }
