"""Subgroups of a small evaluation and of patients at the edges of their bands, again by plain loops."""

import math
from itertools import pairwise

import polars as pl
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from csasn.evidence.subgroups import Subgroup, groups_of, subgroups
from tests.support.hand_made import CLASSES, Unit, called, evaluation, manifest, short_of, sides, units
from tests.support.plain_statistics import auroc_of, delong_by_pairs

Z = norm.ppf(0.95)  # of the 90 % intervals
FIGURES = ("auroc", "sensitivity", "specificity")


def band(value: float | None, edges: tuple[float, ...], unit: str) -> str:
    """The name of the band of a value."""
    if value is None:
        return "not known"
    if value < edges[0]:
        return f"below {edges[0]:g} {unit}"
    for low, high in pairwise(edges):
        if low <= value < high:
            return f"{low:g} to below {high:g} {unit}"
    return f"{edges[-1]:g} {unit} or more"


def groups_by_hand(table: pl.DataFrame) -> dict[str, dict[str, str]]:
    """By grouping and patient, the name of its group."""
    found: dict[str, dict[str, str]] = {"device": {}, "age": {}, "sex": {}, "nodule_size": {}}
    for name in table["patient_id"].unique().to_list():
        rows = [row for row in table.iter_rows(named=True) if row["patient_id"] == name]
        for by in ("device", "sex"):
            values = {row[by] for row in rows if row[by] is not None}
            found[by][name] = "several" if len(values) > 1 else next(iter(values), "not known")
        ages = [row["age_years"] for row in rows if row["age_years"] is not None]
        sizes = [row["nodule_size_mm"] for row in rows if row["nodule_size_mm"] is not None]
        found["age"][name] = band(min(ages, default=None), (40.0, 55.0, 70.0), "years")
        found["nodule_size"][name] = band(max(sizes, default=None), (10.0, 20.0, 40.0), "mm")
    return found


def test_a_patient_is_in_the_group_of_all_its_images() -> None:
    patients = pl.DataFrame({"patient_id": [f"P{number}" for number in range(8)]})
    rows = [  # a patient has the youngest age and the largest nodule; one value of two is known
        ("P0", "old", 39.9, "male", 9.9),
        ("P1", "old", 40.0, "male", 10.0),
        ("P1", "new", 40.5, "female", 10.5),
        ("P2", None, 55.5, None, 20.5),
        ("P2", "new", 54.9, "male", 19.0),
        ("P3", "old", 55.0, "male", 40.5),
        ("P3", "old", 71.0, "male", 39.0),
        ("P4", "old", None, "male", 40.0),
        ("P5", None, 70.5, None, None),
        ("P6", "new", 70.0, "female", 20.0),
        ("P7", "new", 56.0, "female", 11.0),
    ]
    names = ("patient_id", "device", "age_years", "sex", "nodule_size_mm")
    table = pl.DataFrame(rows, schema=list(names), orient="row")
    found, expected = groups_of(patients, table), groups_by_hand(table)
    assert found.columns == ["patient_id", "device", "age", "sex", "nodule_size"]
    for by, of_patient in expected.items():
        assert found[by].to_list() == [of_patient[name] for name in patients["patient_id"]], by
    bare = groups_of(patients, table.with_columns(pl.lit(None, pl.String).alias("sex")))
    assert bare.columns == ["patient_id", "device", "age", "nodule_size"]
    one = table.with_columns(
        pl.when(pl.col("patient_id") == "P0").then(pl.lit("male")).alias("sex"),
    )
    assert groups_of(patients, one)["sex"].to_list() == ["male"] + ["not known"] * 7


def newcombe(area: float, m: int, n: int) -> tuple[float, float]:
    """Newcombe's method 5 at 90 %."""

    def excess(a: float) -> float:
        spread = 1 + ((m + n) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
        return float((area - a) ** 2 - Z**2 * a * (1 - a) * spread / m / n)

    if area == 1:
        return float(brentq(excess, 1e-9, 1 - 1e-9)), 1.0
    return 0.0, float(brentq(excess, 1e-9, 1 - 1e-9))


def expected_figures(group: list[Unit]) -> list[tuple[float | None, float | None, float | None, int, int, str, str]]:
    """Estimate, interval, n, n_positive, method and note of AUROC, sensitivity and specificity of a group."""
    y, p, _ = sides(group, "malignancy")
    reason = short_of(group, "malignancy")
    ends: tuple[float | None, float | None, float | None] = (None, None, None)
    method = "DeLong, logit scale"
    if not reason:
        area = auroc_of(y, p, [1.0] * len(y))
        if 0 < area < 1:
            error = math.sqrt(delong_by_pairs(y, p)[1][0, 0]) / area / (1 - area)
            ends = (area, float(expit(logit(area) - Z * error)), float(expit(logit(area) + Z * error)))
        else:
            method, ends = "Newcombe's method 5", (area, *newcombe(area, sum(y), len(y) - sum(y)))
    found = [(*ends, len(y), sum(y), method, reason)]
    for metric in ("sensitivity", "specificity"):
        rows = called("patient", group, "malignancy")
        hits = [yes == each.malignant for each, yes in rows if each.malignant == (metric == "sensitivity")]
        k, n = sum(hits), len(hits)
        if n:
            low, high = binomtest(k, n).proportion_ci(0.9, method="wilson")
            found.append((k / n, low, high, n, k, "Wilson at the frozen operating point", ""))
        else:
            note = f"not estimable: the denominator of {metric} is 0"
            found.append((None, None, None, 0, 0, "Wilson at the frozen operating point", note))
    return found


def figures_of(rows: list[Subgroup]) -> list[tuple[float | None, float | None, float | None, int, int, str, str]]:
    return [(each.estimate, each.low, each.high, each.n, each.n_positive, each.method, each.note) for each in rows]


def test_subgroups_are_read_by_their_own_patients() -> None:
    told, patients = evaluation().subgroups, units("patient")
    expected, methods = [], set()
    for by, of_patient in groups_by_hand(manifest()).items():
        for group in sorted({of_patient[each.patient] for each in patients}):
            own = [each for each in patients if of_patient[each.patient] == group]
            figures = expected_figures(own)
            methods.add((figures[0][5], bool(figures[0][6])))
            expected += [((by, group, m), f) for m, f in zip(FIGURES, figures, strict=True)]
    assert [(each.by, each.group, each.metric) for each in told] == [key for key, _ in expected]
    for mine, (key, theirs) in zip(figures_of(told), expected, strict=True):
        assert mine[3:] == theirs[3:], key
        for a, b in zip(mine[:3], theirs[:3], strict=True):
            assert a == (None if b is None else pytest.approx(b, abs=1e-9)), key
    assert methods == {("DeLong, logit scale", False), ("DeLong, logit scale", True)}


def of_one_device(malignant: list[bool], p: list[float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Patients P0, P1, ... read with p(malignant), and a manifest that holds their device alone."""
    names = [f"P{place}" for place in range(len(p))]
    test = pl.DataFrame(
        [
            {"patient_id": name, "malignant": yes, "subtype": "PTC" if yes else "benign"}
            | {"probability_benign": 1 - each, "probability_FA": 0.0, "probability_PTC": each, "probability_FTC": 0.0}
            for name, yes, each in zip(names, malignant, p, strict=True)
        ]
    )
    empty = {"age_years": pl.Float64, "sex": pl.String, "nodule_size_mm": pl.Float64}
    table = pl.DataFrame({"patient_id": names}).with_columns(pl.lit("old").alias("device"))
    return test, table.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in empty.items())


@pytest.mark.parametrize("turned", [False, True])
def test_a_subgroup_ranked_without_error_takes_newcombes_interval(turned: bool) -> None:
    p = [0.9, 0.8, 0.3, 0.2, 0.1]
    test, table = of_one_device([True, True, False, False, False], [1 - each for each in p] if turned else p)
    found = subgroups(test, {}, table, CLASSES, confidence=0.9)[0]
    area = 0.0 if turned else 1.0
    assert (found.estimate, found.method, found.note) == (area, "Newcombe's method 5", "")
    assert (found.low, found.high) == pytest.approx(newcombe(area, 2, 3))


def test_a_subgroup_leaves_out_whom_no_operating_point_calls() -> None:
    test, table = of_one_device([True, True, False], [0.3] * 3)
    found = subgroups(test, {"P1": True}, table, CLASSES)
    assert [(each.metric, each.estimate, each.n) for each in found] == [
        ("auroc", None, 3), ("sensitivity", 1.0, 1), ("specificity", None, 0)
    ]  # fmt: skip
    assert found[1].low == pytest.approx(binomtest(1, 1).proportion_ci(0.95, method="wilson").low)
    assert found[2].note == "not estimable: the denominator of specificity is 0"
