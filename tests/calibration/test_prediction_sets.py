import numpy as np
import polars as pl
import pytest
from scipy.stats import beta, betabinom, binom

from csasn.calibration.prediction_sets import certificate, coverage_band, prediction_sets, rank_of, threshold
from csasn.errors import BadInputError
from csasn.evidence.coverage import coverage
from csasn.schema import ClassList

TWO = ClassList(names=("benign", "PTC", "MTC"), n_non_malignant=1)


def table(scores: dict[str, list[float]], *, fold: int = 0, partition: str = "tuning", site: str = "A") -> pl.DataFrame:
    """Patients of each class whose own class has probability 1 - score; the rest is shared by the others."""
    rows = []
    for name, own in scores.items():
        for number, score in enumerate(own):
            key = f"{fold}-{partition}-{site}-{name}-{number}"
            p = {each: 1 - score if each == name else score / 2 for each in TWO.names}
            rows.append(
                {"fold": fold, "partition": partition, "site": site, "patient_id": key, "malignant": name != "benign"}
                | {"subtype": name}
                | {f"probability_{each}": value for each, value in p.items()}
            )
    return pl.DataFrame(rows)


def uniform(n: int) -> list[float]:
    return (np.arange(1, n + 1) / (n + 1)).tolist()


TUNING = table({"benign": uniform(20), "PTC": uniform(9), "MTC": uniform(8)})


def test_the_certificate_says_what_each_class_can_promise() -> None:
    benign, ptc, mtc = certificate(TUNING, TWO, alpha=0.1)
    assert (benign.n, benign.threshold) == (20, pytest.approx(19 / 21))  # the 19th smallest of 20
    assert (ptc.n, ptc.threshold) == (9, pytest.approx(9 / 10))  # the largest of 9
    assert (mtc.n, mtc.needed, mtc.threshold) == (8, 9, None)
    assert mtc.decision == "always included: 8 tuning patients, 9 are needed"
    assert (mtc.promised, mtc.band_low) == (1.0, 1.0)
    assert benign.promised == pytest.approx(19 / 21)
    assert (benign.band_low, benign.band_high) == pytest.approx((beta.ppf(0.005, 19, 2), beta.ppf(0.995, 19, 2)))
    assert benign.decision == "own threshold"


def test_a_declared_merge_gives_scarce_classes_one_threshold() -> None:
    _, ptc, mtc = certificate(TUNING, TWO, alpha=0.1, together=("MTC", "PTC"))
    assert ptc.threshold == mtc.threshold == pytest.approx(np.sort(uniform(9) + uniform(8))[rank_of(17, 0.1) - 1])
    assert (ptc.n, mtc.n) == (17, 17)
    assert mtc.decision == "one threshold for PTC, MTC, as declared"
    with pytest.raises(BadInputError, match="XTC"):
        certificate(TUNING, TWO, alpha=0.1, together=("XTC",))


def test_sets_hold_a_class_up_to_and_at_its_threshold_in_its_own_fold() -> None:
    folds = pl.concat([TUNING, table({"benign": [0.01] * 20, "PTC": [0.01] * 9, "MTC": [0.01] * 9}, fold=1)])
    found = certificate(folds, TWO, alpha=0.1)
    strict, loose = 19 / 21, 19 / 21 + 1e-6
    test = pl.concat(
        [
            table({"benign": [strict, loose]}, partition="test"),
            table({"benign": [0.01, 0.02]}, partition="test", fold=1),
        ]
    )
    sets = prediction_sets(test, TWO, found)
    assert sets[:, 0].tolist() == [True, False, True, False]
    assert sets[:2, 2].all()  # MTC is always included in fold 0
    assert not sets[2:, 2].any()


def test_test_rows_do_not_touch_the_certificate() -> None:
    more = pl.concat([TUNING, table({"benign": [0.999] * 50}, partition="test")])
    assert certificate(more, TWO, alpha=0.1) == certificate(TUNING, TWO, alpha=0.1)


def test_coverage_is_counted_by_class_and_site_and_breaks_where_a_site_differs() -> None:
    found = certificate(TUNING, TWO, alpha=0.1)
    test = pl.concat(
        [
            table({"benign": uniform(40), "PTC": uniform(30)}, partition="test", site="like"),
            table({"benign": [0.95] * 40, "PTC": uniform(3)}, partition="test", site="unlike"),
        ]
    )
    rows = {(each.site, each.target): each for each in coverage(test, TWO, found, alpha=0.1)}
    assert set(rows) == {(site, name) for site in ("all", "like", "unlike") for name in TWO.names}
    like, unlike = rows["like", "benign"], rows["unlike", "benign"]
    assert (like.n, like.covered, like.breaks) == (40, 37, False)
    assert (unlike.covered, unlike.estimate, unlike.breaks) == (0, 0.0, True)
    assert "fewer are covered" in unlike.note
    assert rows["all", "benign"].n == 80
    assert rows["all", "MTC"].estimate is None
    assert "not estimable" in rows["all", "MTC"].note
    # unlike benign patients: own class out, PTC at .475 -> score .525 in, MTC always in
    assert unlike.size == pytest.approx(2.0)


def test_the_expected_band_by_hand() -> None:
    """Two folds of 20 and 8 tuning patients: a beta-binomial of 40 and, always included, all of 5."""
    test = pl.concat(
        [
            table({"benign": uniform(40), "PTC": [0.5]}, partition="test"),
            table({"benign": uniform(5), "PTC": [0.5]}, partition="test", fold=1),
        ]
    )
    tuning = pl.concat([TUNING, table({"benign": uniform(8), "PTC": uniform(9), "MTC": uniform(9)}, fold=1)])
    told = coverage(test, TWO, certificate(tuning, TWO, alpha=0.1), alpha=0.1)[0]
    cumulative = np.cumsum([betabinom(40, 19, 2).pmf(k) for k in range(41)])
    low, high = (next(k for k in range(41) if cumulative[k] >= edge) + 5 for edge in (0.005, 0.995))
    assert (told.n, told.expected_low, told.expected_high) == (45, low / 45, pytest.approx(min(1.0, high / 45)))
    assert low < next(k for k in range(41) if cumulative[k] >= 0.02) + 5


def test_the_expected_band_holds_99_of_100_cohorts() -> None:
    """Scores of one distribution in tuning and test: below the band in at most 1 of 200 cohorts, and not in none."""
    rng, below = np.random.default_rng(0), 0
    for _ in range(600):
        tuning = table({"benign": rng.random(20).tolist(), "PTC": rng.random(12).tolist(), "MTC": [0.5]})
        test = table({"benign": rng.random(30).tolist()}, partition="test")
        found = certificate(tuning, TWO, alpha=0.1)
        below += coverage(test, TWO, found, alpha=0.1)[0].breaks
    assert below <= binom.ppf(0.999, 600, 0.005)


def test_realised_coverage_follows_its_beta_distribution() -> None:
    """Uniform scores: a threshold t covers t. Over 1,000 calibrations 99 % lie in the band, the mean at r / (n + 1)."""
    rng = np.random.default_rng(5)
    for n in (9, 20, 50, 100):
        covered = np.array([threshold(rng.random(n), 0.1) for _ in range(1000)])
        mean, low, high = coverage_band(n, 0.1)
        outside = int(((covered < low) | (covered > high)).sum())
        assert outside <= binom.ppf(0.999, 1000, 0.01)
        spread = beta(rank_of(n, 0.1), n + 1 - rank_of(n, 0.1)).std()
        assert covered.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(1000))
        assert covered.std() == pytest.approx(spread, rel=0.1)
