"""The certificate counts what is there and finds what was broken on purpose."""

import polars as pl
import pytest

from csasn import __version__
from csasn.cohort.integrity import certify, split_checks
from csasn.cohort.ledger import LedgerRow, ledger_csv
from csasn.errors import BadInputError
from csasn.schema import complete_columns, manifest_sha256
from tests.support.synthetic_run import fingerprints_of

ROWS = [  # image, patient, nodule, site, malignant, subtype, sha256
    ("a.png", "p1", "p1/l", "A", False, "benign", "1"),
    ("b.png", "p1", "p1/r", "A", True, "PTC", "2"),
    ("c.png", "p2", "p2", "A", True, None, "3"),
    ("d.png", "p3", "p3", "B", True, "FTC", "4"),
    ("e.png", "p3", "p3", "B", True, "FTC", "5"),
    ("f.png", "p4", "p4", "B", False, "benign", "6"),
]
COLUMNS = ("image_path", "patient_id", "nodule_id", "site", "malignant", "subtype", "sha256")


def manifest(*changed: tuple[int, str, object]) -> pl.DataFrame:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    for index, column, value in changed:
        rows[index][column] = value
    return complete_columns(pl.DataFrame(rows, infer_schema_length=None))


def certificate(frame: pl.DataFrame) -> dict:
    rows = (LedgerRow(item="x", code="blank", reason=""), LedgerRow(item="y", code="blank", reason=""))
    fixed = LedgerRow(item="a.png", outcome="fixed", code="exif-rotated", reason="")
    return certify(
        frame,
        fingerprints_of(frame),
        ledger_csv((*rows, fixed)),
        images_root=".",
        simulated=True,
        source="test",
        citation=None,
        notes=("made by hand",),
    )


def failed(frame: pl.DataFrame) -> dict[str, list[str]]:
    return {check["name"]: check["found"] for check in certificate(frame)["checks"] if not check["passed"]}


def split(*changed: tuple[int, str, object], test_of_fold: tuple[tuple[str, ...], ...] = (("p1", "p2"), ("p3", "p4"))):
    rows = [
        {
            "fold": fold,
            "image_path": row[0],
            "patient_id": row[1],
            "partition": "test" if row[1] in test else "train",
        }
        for fold, test in enumerate(test_of_fold)
        for row in ROWS
    ]
    for index, column, value in changed:
        rows[index][column] = value
    return pl.DataFrame(rows)


def broken(frame: pl.DataFrame, scheme: str = "grouped-kfold") -> dict[str, list[str]]:
    return {c["name"]: c["found"] for c in split_checks(manifest(), frame, scheme=scheme) if not c["passed"]}


def test_a_sound_manifest_is_counted_and_passes():
    made = certificate(manifest())
    assert made["csasn"] == __version__
    assert made["manifest_sha256"] == manifest_sha256(manifest())
    assert made["classes"] == {"non_malignant": ["benign"], "malignant": ["PTC", "FTC"]}
    assert (made["n_images"], made["n_nodules"], made["n_patients"], made["n_refused"]) == (6, 5, 4, 2)
    assert (made["images_root"], made["simulated"], made["notes"]) == (".", True, ["made by hand"])
    counts = [
        (row["site"], row["class"], row["n_patients"], row["n_nodules"], row["n_images"]) for row in made["counts"]
    ]
    assert counts == [
        ("A", "benign", 1, 1, 1),
        ("A", "PTC", 1, 1, 1),
        ("A", "malignant (subtype unknown)", 1, 1, 1),
        ("B", "benign", 1, 1, 1),
        ("B", "FTC", 1, 1, 2),
    ]
    assert len(made["checks"]) == 8
    assert not failed(manifest())


@pytest.mark.parametrize(
    ("change", "name", "found"),
    [
        ((5, "patient_id", "P1 "), "no patient ids differ in case, space or width alone", ["p1: P1 , p1"]),
        ((1, "site", "B"), "each patient belongs to one site", ["p1: A, B"]),
        ((4, "subtype", "PTC"), "each nodule has one diagnosis", ["p3: FTC, PTC"]),
        ((5, "nodule_id", "p1/l"), "each nodule belongs to one patient", ["p1/l: p1, p4"]),
        ((5, "sha256", "3"), "no file stands under two patients", ["3: p2, p4"]),
    ],
)
def test_what_was_broken_is_found(change, name, found):
    assert failed(manifest(change)) == {name: found}


def test_an_unknown_subtype_beside_a_known_one_is_no_contradiction():
    assert not failed(manifest((4, "subtype", None)))


def test_a_cohort_of_one_group_is_refused():
    with pytest.raises(BadInputError, match="at least one malignant and one non-malignant"):
        certificate(manifest().filter("malignant"))


@pytest.mark.parametrize("scheme", ["grouped-kfold", "leave-one-site-out"])
def test_a_sound_split_passes(scheme):
    assert not broken(split(), scheme)
    assert len(split_checks(manifest(), split(), scheme=scheme)) == (5 if scheme == "leave-one-site-out" else 4)


def test_a_broken_split_is_found():
    leak = broken(split((0, "partition", "tuning")))
    assert leak["no patient stands in two partitions of a fold"] == ["fold 0, p1: test, tuning"]
    assert leak["every image is tested exactly once over the folds"] == ["a.png: tested 0 times"]
    repeated = broken(split((0, "image_path", "b.png")))
    assert repeated["every image stands once in every fold"] == ["fold 0, a.png: 0 times", "fold 0, b.png: 2 times"]
    stranger = broken(split((0, "image_path", "z.png")))
    assert "fold 0, z.png: 1 times" in stranger["every image stands once in every fold"]
    other = broken(split((5, "patient_id", "p9")))
    assert other["the patient of every image is the manifest's"] == ["fold 0, f.png: p9, not p4"]
    assert "the split has no rows" in broken(split().clear())["every image stands once in every fold"]
    sites = broken(split(test_of_fold=(("p1", "p3"), ("p2", "p4"))), "leave-one-site-out")
    assert sites == {
        "no site is both tested and learned from in a fold": [
            f"fold {fold}, {site}: test, train" for fold in (0, 1) for site in "AB"
        ]
    }


def test_a_holdout_tests_at_most_once():
    once = split(test_of_fold=(("p1",),))
    assert not broken(once, "holdout")
    assert broken(once, "grouped-kfold")
    assert broken(split(test_of_fold=(("p1",), ("p1",))), "holdout")
