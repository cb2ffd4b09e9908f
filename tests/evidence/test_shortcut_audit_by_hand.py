"""The audit's permutations, alarms and sites, draw by draw."""

import math
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from csasn.config import ShortcutSettings
from csasn.evidence.shortcut_audit import shortcuts_content
from csasn.evidence.statistics.leaks import Question, leaks, permutation_p, site_readable, within_sites_auroc
from csasn.runs import Run
from csasn.schema import ALTERED_COLUMNS, MANIFEST_COLUMNS, STATISTICS
from tests.support.synthetic_run import make_run

RNG = np.random.default_rng(0)
N = 40
SITE = np.array(["b", "a", "c", "a"] * 10)
SICK = RNG.random(N) < 0.4
QUANTITY = np.round(RNG.normal(size=N) + 0.6 * SICK, 1)


def pairs_of(malignant: np.ndarray, quantity: np.ndarray, site: np.ndarray) -> float:
    """Pairs of one site, one by one."""
    wins = pairs = 0.0
    for i in range(len(site)):
        for j in range(len(site)):
            if site[i] == site[j] and malignant[i] and not malignant[j]:
                pairs += 1
                wins += (quantity[i] > quantity[j]) + (quantity[i] == quantity[j]) / 2
    return float(wins / pairs)


def p_of(malignant: np.ndarray, quantity: np.ndarray, site: np.ndarray, *, n: int, two_sided: bool, seed: int) -> float:
    """Labels dealt anew within each site, the draws of one site after those of another, counted one by one."""
    rng, totals, own = np.random.default_rng(seed), [0.0] * n, 0.0
    for name in sorted(set(site.tolist())):
        here = np.flatnonzero(site == name)
        values = quantity[here].tolist()
        ranks = [1 + sum(b < a for b in values) + (sum(b == a for b in values) - 1) / 2 for a in values]
        middle, n_sick = (len(here) + 1) / 2, int(malignant[here].sum())
        own += sum(rank - middle for rank, i in zip(ranks, here, strict=True) if malignant[i])
        for draw in range(n):
            order = rng.random(len(here)).argsort()[:n_sick]
            totals[draw] += sum(ranks[place] - middle for place in order)
    beyond = [abs(each) >= abs(own) - 1e-9 if two_sided else each >= own - 1e-9 for each in totals]
    return (1 + sum(beyond)) / (1 + n)


@pytest.mark.parametrize("two_sided", [False, True])
def test_a_permutation_p_draw_by_draw(two_sided: bool) -> None:
    for sign in (1, -1):
        found = permutation_p(SICK, sign * QUANTITY, SITE, two_sided=two_sided, n_permutations=450, seed=3)
        expected = p_of(SICK, sign * QUANTITY, SITE, n=450, two_sided=two_sided, seed=3)
        assert found == pytest.approx(expected)
    assert within_sites_auroc(SICK, QUANTITY, SITE) == pytest.approx(pairs_of(SICK, QUANTITY, SITE))
    default = permutation_p(SICK, QUANTITY, SITE, two_sided=two_sided, n_permutations=99)
    assert default == pytest.approx(p_of(SICK, QUANTITY, SITE, n=99, two_sided=two_sided, seed=0))


def question(malignant: list[bool], quantity: list[float], *, two_sided: bool = False) -> Question:
    return Question(
        name="q",
        two_sided=two_sided,
        malignant=np.array(malignant, dtype=bool),
        quantity=np.array(quantity, dtype=float),
        site=np.full(len(quantity), "a"),
    )


def test_an_alarm_needs_a_small_enough_p_and_a_large_enough_area() -> None:
    sick, values = [True] * 8 + [False] * 8, [float(16 - place) for place in range(16)]
    values[0], values[15] = values[15], values[0]
    rising, falling = question(sick, values), question(sick, [-each for each in values])
    area = pairs_of(np.array(sick), np.array(values), np.full(16, "a"))
    p = p_of(np.array(sick), np.array(values), np.full(16, "a"), n=999, two_sided=False, seed=0)
    assert 0.5 < area < 1
    for rate, smallest, alarm in ((p, area, True), (p - 1e-6, area, False), (p, area + 1e-6, False)):
        (found,) = leaks([rising], false_alarm_rate=rate, smallest_auroc=smallest, n_permutations=999)
        assert (found.auroc, found.p, found.p_holm) == (pytest.approx(area), pytest.approx(p), pytest.approx(p))
        assert found.alarm is alarm
        assert (found.n_patients, found.n_malignant, found.note) == (16, 8, "")
    (lower,) = leaks([falling], false_alarm_rate=0.2, smallest_auroc=0.55, n_permutations=999)
    assert not lower.alarm
    both = question(sick, [-each for each in values], two_sided=True)
    (either,) = leaks([both], false_alarm_rate=0.2, smallest_auroc=area, n_permutations=999)
    assert either.alarm
    assert either.auroc == pytest.approx(1 - area)
    (flat,) = leaks([both], false_alarm_rate=0.2, smallest_auroc=area + 1e-6, n_permutations=999)
    assert not flat.alarm
    nothing = question([], [])
    told, other = leaks([nothing, rising], false_alarm_rate=0.2, smallest_auroc=0.5, n_permutations=999)
    assert (told.auroc, told.p, told.p_holm, told.alarm, told.n_patients) == (None, None, None, False, 0)
    assert told.note == "not estimable: no site has both malignant and other patients to compare"
    assert other.p_holm == pytest.approx(p)  # what cannot be asked is not counted
    twice = leaks([rising, rising], false_alarm_rate=0.2, smallest_auroc=0.5, n_permutations=999)
    assert [each.p_holm for each in twice] == pytest.approx([2 * p] * 2)


def readable_by_hand(
    points: np.ndarray, site: np.ndarray, n_permutations: int, seed: int
) -> tuple[float, float, float]:
    """Five folds fitted one by one: balanced accuracy, its mean over sites dealt anew, and the share not below it."""
    names, code = sorted(set(site.tolist())), np.array([sorted(set(site.tolist())).index(each) for each in site])
    told = np.zeros(len(code), dtype=int)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(points, code):
        scaler = StandardScaler().fit(points[train])
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
        told[test] = model.fit(scaler.transform(points[train]), code[train]).predict(scaler.transform(points[test]))

    def balanced(truth: np.ndarray) -> float:
        return sum(float((told[truth == k] == k).mean()) for k in range(len(names))) / len(names)

    rng = np.random.default_rng(seed)
    drawn = [balanced(rng.permutation(code)) for _ in range(n_permutations)]
    own = balanced(code)
    return own, sum(drawn) / n_permutations, (1 + sum(each >= own - 1e-12 for each in drawn)) / (1 + n_permutations)


def test_sites_are_read_fold_by_fold() -> None:
    rng = np.random.default_rng(4)
    site = np.array(["a"] * 9 + ["b"] * 5 + ["c"] * 7 + ["few"] * 4)
    points = rng.normal(size=(25, 3)) + 1.2 * (site == "b")[:, None] * [1, 0, 0]
    for seed in (0, 3):
        found = site_readable(points, site, n_permutations=60, seed=seed)
        expected = readable_by_hand(points[:21], site[:21], 60, seed)
        assert (found.balanced_accuracy, found.chance, found.p) == pytest.approx(expected)
        assert (found.n_patients, found.n_sites, found.note) == (21, 3, "")
    assert site_readable(points, site, n_permutations=60) == site_readable(points, site, n_permutations=60, seed=0)
    two = site_readable(points[:14], site[:14], n_permutations=60)
    assert two.n_sites == 2
    assert two.balanced_accuracy is not None
    lone = site_readable(points[:13], site[:13], n_permutations=60)
    assert (lone.balanced_accuracy, lone.chance, lone.p, lone.n_patients, lone.n_sites) == (None, None, None, 9, 1)
    assert lone.note == "not estimable: fewer than two sites have 5 patients"


COUNTS = {"benign": 18, "PTC": 12}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Thirty patients of two sites; each pair of images says the opposite of its site, their mean says it."""
    made = make_run(tmp_path_factory.mktemp("audit"), counts=COUNTS)
    shortcuts = ShortcutSettings(n_permutations=199, false_alarm_rate=0.2)
    made = Run(folder=made.folder, configuration=made.configuration.model_copy(update={"shortcuts": shortcuts}))
    number = pl.col("nodule_id").str.slice(1).cast(pl.Int64)
    table = made.manifest().with_columns(
        pl.when(number % 2 == 0).then(pl.lit("A")).otherwise(pl.lit("B")).alias("site")
    )
    table.select(list(MANIFEST_COLUMNS)).write_parquet(made.path("manifest.parquet"))
    made = Run(folder=made.folder, configuration=made.configuration)  # reads the manifest anew
    rng, n = np.random.default_rng(5), len(table)
    side = np.where(table["site"] == "A", 1.0, -1.0)
    noise = 9 * np.where(np.arange(n) % 2, 1, -1) * np.repeat(rng.choice([-1, 1], n // 2), 2)
    made.path("embeddings").mkdir()
    names = ["image_statistics.parquet"]
    looks = table.select("image_path").with_columns(pl.lit(0.5).alias(name) for name in STATISTICS)
    looks.write_parquet(made.path(names[0]))
    for fold in (0, 1, 2):
        names.append(f"embeddings/fold{fold}.parquet")
        place = (table["nodule_id"].str.slice(1).cast(pl.Int64) // 2 + fold) % 3
        points = np.stack([side + noise, rng.normal(size=n), rng.normal(size=n)], axis=1)
        table.select(
            place.replace_strict({0: "train", 1: "test", 2: "test"}).alias("partition"),
            "image_path",
            pl.lit(0.0).alias("energy"),
            pl.Series("embedding", points.astype(np.float32), dtype=pl.Array(pl.Float32, 3)),
        ).write_parquet(made.path(names[-1]))
    made.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet", *names))
    return made


def altered(run: Run, *, masks: bool) -> pl.DataFrame:
    """altered.parquet; without masks no picture lacks its nodule, and no border is known to be free."""
    rng, table = np.random.default_rng(6), run.manifest()
    free = np.arange(len(table)) % 7 > 0
    shares = rng.random(len(table)).round(2)
    rows = [
        table.select("image_path").with_columns(
            pl.lit(0, pl.Int32).alias("fold"),
            pl.lit(variant).alias("variant"),
            pl.Series("malignancy", rng.normal(size=len(table)) + table["malignant"].to_numpy()),
            pl.Series("marked_share", shares),
            pl.Series("border_free", free if masks else [None] * len(table), dtype=pl.Boolean),
        )
        for variant in ("as-is", "without-marks", "border", *(["without-nodule"] if masks else []))
    ]
    found = pl.concat(rows).select(list(ALTERED_COLUMNS))
    found.write_parquet(run.path("altered.parquet"))
    run.finish("audit", inputs=("predictions.parquet",), outputs=("altered.parquet",))
    return found


@pytest.mark.parametrize("masks", [True, False])
def test_the_audit_of_a_run(run: Run, masks: bool) -> None:
    frame, table = altered(run, masks=masks), run.manifest()
    found = asdict(shortcuts_content(run))
    names = sorted(table["patient_id"].unique().to_list())
    images = {name: table.filter(pl.col("patient_id") == name)["image_path"].to_list() for name in names}
    sick = np.array([table.filter(pl.col("patient_id") == name)["malignant"][0] for name in names])
    site = np.array([table.filter(pl.col("patient_id") == name)["site"][0] for name in names])

    def mean(column: str, variant: str) -> np.ndarray:
        own = frame.filter(pl.col("variant") == variant)
        values = dict(zip(own["image_path"], own[column], strict=True))
        return np.array([sum(values[each] for each in images[name]) / 2 for name in names])

    whole = frame.filter(pl.col("variant") == "as-is")
    border = dict(zip(whole["image_path"], whole["border_free"], strict=True))
    free = np.array([all(border[each] for each in images[name]) for name in names])
    asked = {
        "do marks away from the nodule follow malignancy?": (mean("marked_share", "as-is"), True),
        "does what the marks add to the logit follow malignancy?": (
            mean("malignancy", "as-is") - mean("malignancy", "without-marks"), False,
        ),
        "does the border alone tell malignancy?": (mean("malignancy", "border"), False),
    }  # fmt: skip
    assert [each["question"] for each in found["questions"]] == list(asked)
    for told, (quantity, two_sided) in zip(found["questions"], asked.values(), strict=True):
        kept = free if "border" in told["question"] else np.ones(30, dtype=bool)
        assert (told["n_patients"], told["two_sided"]) == (kept.sum(), two_sided)
        if not kept.any():
            assert told["auroc"] is None
            continue
        assert told["auroc"] == pytest.approx(pairs_of(sick[kept], quantity[kept], site[kept]))
        p = p_of(sick[kept], quantity[kept], site[kept], n=199, two_sided=two_sided, seed=0)
        assert told["p"] == pytest.approx(p)
    assert found["n_without_border_check"] == 30 - free.sum()
    assert found["alarm"] == any(each["alarm"] for each in found["questions"])
    assert free.any() == masks
    variants = ("as-is", "without-marks", "without-nodule", "border")
    assert [each["variant"] for each in found["variants"]] == list(variants)
    for told in found["variants"]:
        if not masks and told["variant"] == "without-nodule":
            assert told == {"variant": "without-nodule", "auroc_within_sites": None, "median_change": None,
                            "n_patients": 0, "note": "not estimable: there are no masks"}  # fmt: skip
            continue
        logit, before = mean("malignancy", told["variant"]), mean("malignancy", "as-is")
        change = [abs(1 / (1 + math.exp(-a)) - 1 / (1 + math.exp(-b))) for a, b in zip(logit, before, strict=True)]
        assert told["median_change"] == pytest.approx(np.median(change))
        assert told["auroc_within_sites"] == pytest.approx(pairs_of(sick, logit, site))
        assert (told["n_patients"], told["note"]) == (30, "")


def test_the_site_is_read_from_the_mean_of_a_patients_images(run: Run) -> None:
    altered(run, masks=True)
    rows = asdict(shortcuts_content(run))["site_readable"]
    assert [row["fold"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert (row["n_patients"], row["n_sites"]) == (20, 2)
        assert row["balanced_accuracy"] == 1.0
        assert row["p"] == pytest.approx(1 / 200)
