"""Two readers' shares on the same units: exact p, Tango's interval, and patients who bring several units."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from csasn.evidence.statistics.paired_proportions import Discordant, discordant, least_found, tango, tango_score


def one_a_patient(b: int, c: int, n: int) -> Discordant:
    first, second = np.arange(n) < b, np.arange(n) >= n - c
    return discordant(first, second, np.arange(n))


@pytest.mark.parametrize(("b", "c", "n"), [(70, 59, 263), (0, 0, 5), (5, 0, 5), (12, 12, 40), (3, 17, 20), (0, 1, 1)])
def test_one_unit_a_patient_is_mcnemars_exact_test(b: int, c: int, n: int) -> None:
    table = [[n - b - c, b], [c, 0]]
    expected = min(1.0, float(statsmodels_mcnemar(table, exact=True).pvalue))
    assert one_a_patient(b, c, n).p() == pytest.approx(expected, rel=1e-12)


def test_thousands_of_discordant_patients_have_an_exact_p() -> None:
    expected = float(statsmodels_mcnemar([[0, 1100], [900, 0]], exact=True).pvalue)
    assert one_a_patient(1100, 900, 2000).p() == pytest.approx(expected, rel=1e-9)


def test_patients_exchange_their_signs_as_wholes() -> None:
    """Every assignment of signs counted one by one."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        excess = rng.integers(-3, 4, 9)
        counts = Discordant(n=np.full(9, 4), first_alone=np.maximum(excess, 0), second_alone=np.maximum(-excess, 0))
        sums = [abs(np.dot(signs, np.abs(excess))) for signs in product((-1, 1), repeat=9)]
        assert counts.p() == pytest.approx(np.mean(np.array(sums) >= abs(excess.sum())))


def test_units_of_one_patient_are_one_piece_of_evidence() -> None:
    patients, right, wrong = np.repeat(np.arange(6), 5), np.ones(30, dtype=bool), np.zeros(30, dtype=bool)
    counts = discordant(right, wrong, patients)
    assert counts.n.tolist() == counts.first_alone.tolist() == [5] * 6
    assert counts.second_alone.tolist() == [0] * 6
    assert counts.p() == pytest.approx(2 / 2**6)


@pytest.mark.parametrize(
    ("b", "c", "n", "confidence", "ends", "digits"),
    [
        (28, 25, 618, 0.90, (-0.0148, 0.0247), 4),  # R, PropCIs::scoreci.mp(25, 28, 618, .90), which gives (c - b) / n
        (1, 7, 21, 0.95, (-0.517, -0.026), 3),  # Fagerland, Lydersen & Laake 2014, airway hyper-responsiveness
    ],
)
def test_tango_golden_values(b: int, c: int, n: int, confidence: float, ends: tuple[float, float], digits: int) -> None:
    assert tuple(round(end, digits) for end in tango(b, c, n, confidence)) == ends


@pytest.mark.parametrize(("b", "c", "n"), [(3, 1, 20), (0, 0, 20), (0, 9, 20), (20, 0, 20), (0, 20, 20), (10, 10, 20)])
def test_tangos_ends_solve_its_equation_and_turn_with_the_readers(b: int, c: int, n: int) -> None:
    low, high = tango(b, c, n)
    assert (low, high) == tuple(-end for end in reversed(tango(c, b, n)))
    assert -1 <= low <= (b - c) / n <= high <= 1
    if low > -1:
        assert tango_score(b, c, n, low) == pytest.approx(1.959964, abs=1e-4)
    if high < 1:
        assert tango_score(b, c, n, high) == pytest.approx(-1.959964, abs=1e-4)


def test_no_discordant_pair_still_has_a_width() -> None:
    assert tango(0, 0, 50)[1] == pytest.approx(1.959964**2 / (50 + 1.959964**2))
    assert np.isnan(tango_score(0, 0, 50, 0.0))


@pytest.mark.parametrize(("b", "c", "n"), [(1, 1, 1), (-1, 0, 5), (0, -1, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(b: int, c: int, n: int) -> None:
    with pytest.raises(ValueError, match="Paired shares"):
        tango(b, c, n)


def test_doubled_units_widen_nothing_and_narrow_nothing() -> None:
    rng = np.random.default_rng(1)
    right, other, patients = rng.random(80) < 0.8, rng.random(80) < 0.7, np.arange(80)
    once = discordant(right, other, patients)
    twice = discordant(np.tile(right, 2), np.tile(other, 2), np.tile(patients, 2))
    assert twice.estimate == pytest.approx(once.estimate)
    assert twice.error() == pytest.approx(once.error())
    assert twice.p() == pytest.approx(once.p())
    assert twice.interval() == pytest.approx(once.interval(), abs=2e-3)
    alike = discordant(np.ones(40, dtype=bool), np.ones(40, dtype=bool), np.repeat(np.arange(10), 4))
    assert alike.interval() == tango(0, 0, 10)


def test_the_error_is_that_of_a_mean_where_each_patient_has_one_unit() -> None:
    rng = np.random.default_rng(2)
    right, other = rng.random(50) < 0.8, rng.random(50) < 0.6
    difference = right.astype(float) - other
    counts = discordant(right, other, np.arange(50))
    assert counts.error() == pytest.approx(difference.std(ddof=1) / np.sqrt(50))
    assert counts.interval() == tango(int((right & ~other).sum()), int((other & ~right).sum()), 50)
    assert np.isnan(discordant(right[:1], other[:1], np.arange(1)).error())
    two = discordant(np.array([True, True, False]), np.array([False, True, False]), np.array(["a", "a", "b"]))
    assert two.error() == pytest.approx(np.sqrt(2 * ((1 - 2 / 3) ** 2 + (1 / 3) ** 2)) / 3)


@pytest.mark.parametrize(("n", "level"), [(12, 0.05 / 15), (84, 0.05 / 15), (6, 0.05), (500, 0.05), (40, 0.035)])
def test_the_least_difference_is_found_four_times_in_five(n: int, level: float) -> None:
    share = least_found(n, level=level, power=0.8)
    assert share is not None
    p_of = np.array([one_a_patient(k, 0, n).p() for k in range(n + 1)])
    assert binom.pmf(np.arange(n + 1), n, share)[p_of <= level].sum() == pytest.approx(0.8)


def test_too_few_patients_can_find_nothing() -> None:
    assert least_found(5, level=0.05, power=0.8) is None
    assert least_found(6, level=0.05, power=0.8) is not None
