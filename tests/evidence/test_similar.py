"""Similar patients: cosines against scikit-learn's, nodules by hand, and the section's words."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import StandardScaler

from csasn.evidence.similar import OF_A_NODULE, cosines, nearest_of, nodules_of
from csasn.evidence.statistics.leaks import Leak
from csasn.report.sections.shortcut_audit import verdict


def test_cosines_are_those_of_scikit_learn_on_standardised_columns() -> None:
    rng = np.random.default_rng(0)
    train = 50 + rng.normal(size=(60, 8)) * np.arange(1, 9) ** 2
    points = 50 + rng.normal(size=(5, 8)) * np.arange(1, 9) ** 2
    standard = StandardScaler().fit(train)
    expected = cosine_similarity(standard.transform(points), standard.transform(train))
    assert cosines(points, train) == pytest.approx(expected, abs=1e-12)
    assert cosines(train, train).diagonal() == pytest.approx(1)


def test_a_nodule_is_the_mean_of_its_images_under_its_own_partition() -> None:
    images = pl.DataFrame(
        {
            "partition": ["train", "train", "test"],
            "image_path": ["b.png", "a.png", "c.png"],
            "site": ["s"] * 3,
            "patient_id": ["p", "p", "q"],
            "nodule_id": ["n", "n", "m"],
            "malignant": [True, True, False],
            "subtype": ["FTC", "FTC", None],
            "embedding": pl.Series([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]], dtype=pl.Array(pl.Float32, 2)),
        }
    )
    found = nodules_of(images)
    assert found["nodule_id"].to_list() == ["m", "n"]
    assert found["image_path"].to_list() == ["c.png", "a.png"]
    assert found["reference"].to_list() == ["not malignant", "FTC"]
    assert found["embedding"].to_numpy().tolist() == [[5.0, 5.0], [2.0, 4.0]]


def test_the_nearest_are_told_nearest_first_and_one_a_patient() -> None:
    train = pl.DataFrame(
        {
            "site": ["s"] * 4,
            "patient_id": ["p", "p", "q", "r"],
            "nodule_id": ["p1", "p2", "q1", "r1"],
            "image_path": ["1", "2", "3", "4"],
            "reference": ["FTC", "FTC", "PTC", "benign"],
        }
    )
    found = nearest_of(train, np.array([0.2, 0.9, 0.5, 0.5]), n_similar=3)
    assert [each.nodule_id for each in found] == ["p2", "q1", "r1"]
    assert [each.cosine for each in found] == [0.9, 0.5, 0.5]
    assert len(nearest_of(train, np.zeros(4), n_similar=9)) == 3


@pytest.mark.parametrize(("n_patients", "decimals"), [(3, 8), (5, 1), (400, 8), (400, 1)])
def test_the_nearest_of_many_are_those_of_a_full_sort(n_patients: int, decimals: int) -> None:
    """Few patients with many nodules each, and many equal cosines, where a first look is not enough."""
    rng, n = np.random.default_rng(n_patients), 1000
    train = pl.DataFrame({name: [f"{name}{k:04d}" for k in range(n)] for name in OF_A_NODULE})
    train = train.with_columns(patient_id=pl.Series([f"P{k}" for k in rng.integers(0, n_patients, n)]))
    cosine = np.round(rng.uniform(-1, 1, n), decimals)
    told: dict[str, str] = {}
    for place in sorted(range(n), key=lambda k: (-cosine[k], train["nodule_id"][k])):
        told.setdefault(train["patient_id"][place], train["nodule_id"][place])
    found = nearest_of(train, cosine, n_similar=4)
    assert [each.nodule_id for each in found] == list(told.values())[:4]


def test_the_verdict_is_alarm_no_alarm_or_not_measurable() -> None:
    def leak(question: str, *, alarm: bool = False, p: float | None = None) -> Leak:
        known = {"auroc": 0.5, "n_patients": 9, "n_malignant": 3, "note": ""}
        return Leak(question=question, two_sided=False, alarm=alarm, p=p, p_holm=p, **known)

    yes, no, unasked = leak("a?", alarm=True, p=0.001), leak("b?", p=0.5), leak("c?")
    assert verdict([yes, no], alarm=True) == "ALARM. The answer is yes to: a?"
    assert verdict([no, no], alarm=False) == "No alarm."
    assert verdict([no, unasked], alarm=False) == "No alarm. Not measurable: c?"
    assert verdict([unasked], alarm=False).startswith("Not measurable")
