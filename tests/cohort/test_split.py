"""Patients stay whole, classes are spread evenly, no row is lost, and the order of rows changes nothing."""

import math
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csasn.cohort.integrity import certify
from csasn.cohort.split import make_split, split_run
from csasn.config import Configuration, SplitSettings
from csasn.errors import BadInputError, MismatchError
from csasn.files import read_json, write_json
from csasn.runs import create_run
from csasn.schema import PARTITIONS, SPLIT_COLUMNS, complete_columns
from tests.support.synthetic_run import EMPTY_LEDGER, fingerprints_of

CLASSES = ("benign", "PTC", "FTC", "MTC")


def manifest(patients: list[tuple[str, int]], sites: list[str] | None = None, prefix: str = "p") -> pl.DataFrame:
    """One entry a patient: its class ("" for malignant of unknown subtype) and its number of images."""
    rows = [
        {
            "image_path": f"{prefix}{number}-{image}.png",
            "sha256": f"{number}-{image}",
            "site": sites[number] if sites else "A",
            "patient_id": f"{prefix}{number}",
            "nodule_id": f"{prefix}{number}",
            "malignant": label != "benign",
            "subtype": label or None,
        }
        for number, (label, n_images) in enumerate(patients)
        for image in range(n_images)
    ]
    return complete_columns(pl.DataFrame(rows, infer_schema_length=None))


def evenly(**n_patients: int) -> pl.DataFrame:
    return manifest([(label, 2) for label, n in n_patients.items() for _ in range(n)])


def partition_of(split: pl.DataFrame) -> dict[tuple[int, str], str]:
    partitions = split.select("fold", "patient_id", "partition").unique()
    assert partitions.height == partitions.select("fold", "patient_id").n_unique(), "a patient in two partitions"
    return {(fold, patient): part for fold, patient, part in partitions.iter_rows()}


def counted(split: pl.DataFrame, cohort: pl.DataFrame) -> Counter[tuple[int, str, str]]:
    label = dict(cohort.select("patient_id", pl.col("subtype").fill_null("")).iter_rows())
    return Counter((fold, part, label[patient]) for (fold, patient), part in partition_of(split).items())


def assert_every_row_once(split: pl.DataFrame, cohort: pl.DataFrame) -> None:
    for (_,), fold in split.group_by("fold"):
        assert sorted(fold["image_path"]) == sorted(cohort["image_path"])
    assert set(split["partition"]) <= set(PARTITIONS)


cohorts = st.lists(st.integers(6, 23), min_size=2, max_size=4).flatmap(
    lambda sizes: st.tuples(
        *(st.lists(st.integers(1, 4), min_size=size, max_size=size) for size in sizes),
        st.lists(st.integers(1, 3), max_size=4),
    )
)


def drawn(groups: tuple[list[int], ...]) -> pl.DataFrame:
    named = zip((*CLASSES[: len(groups) - 1], ""), groups, strict=True)
    return manifest([(label, n_images) for label, group in named for n_images in group])


@settings(max_examples=40, deadline=None)
@given(groups=cohorts, n_folds=st.integers(2, 6), seed=st.integers(-3, 2**40), order=st.randoms(use_true_random=False))
def test_grouped_kfold(groups, n_folds, seed, order):
    cohort = drawn(groups)
    wanted = SplitSettings(n_folds=n_folds, seed=seed)
    split = make_split(cohort, wanted)
    assert dict(split.schema) == {name: dtype() for name, dtype in SPLIT_COLUMNS.items()}
    assert_every_row_once(split, cohort)
    tested = split.filter(pl.col("partition") == "test")
    assert sorted(tested["image_path"]) == sorted(cohort["image_path"])
    counts = counted(split, cohort)
    n_of = Counter({label: len(group) for label, group in zip((*CLASSES[: len(groups) - 1], ""), groups, strict=True)})
    for fold in range(n_folds):
        for label, n in n_of.items():
            assert n // n_folds <= counts[fold, "test", label] <= math.ceil(n / n_folds)
            outside = n - counts[fold, "test", label]
            if outside:
                assert counts[fold, "train", label] >= 1
            if outside >= 3:
                assert counts[fold, "tuning", label] == max(1, math.floor(0.15 * outside + 0.5))
    sizes = [sum(counts[fold, "test", label] for label in n_of) for fold in range(n_folds)]
    assert max(sizes) - min(sizes) <= 1
    shuffled = list(range(cohort.height))
    order.shuffle(shuffled)
    assert make_split(cohort[shuffled], wanted).equals(split)


@settings(max_examples=25, deadline=None)
@given(groups=cohorts, fraction=st.floats(0.05, 0.6), seed=st.integers(0, 2**32))
def test_holdout(groups, fraction, seed):
    cohort = drawn(groups)
    split = make_split(cohort, SplitSettings(scheme="holdout", test_fraction=fraction, tuning_fraction=0.4, seed=seed))
    assert set(split["fold"]) == {0}
    assert_every_row_once(split, cohort)
    counts = counted(split, cohort)
    for label, group in zip((*CLASSES[: len(groups) - 1], ""), groups, strict=True):
        assert abs(counts[0, "test", label] - fraction * len(group)) <= 1
        if label:
            assert counts[0, "test", label] >= 1
            assert counts[0, "train", label] >= 1


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(2, 6), min_size=2, max_size=4), seed=st.integers(0, 2**32))
def test_leave_one_site_out(sizes, seed):
    patients = [(label, 2) for n in sizes for label in ("benign", "PTC") for _ in range(n + 1)]
    sites = [f"site {index}" for index, n in enumerate(sizes) for _ in range(2 * (n + 1))]
    cohort = manifest(patients, sites)
    split = make_split(cohort, SplitSettings(scheme="leave-one-site-out", seed=seed))
    assert_every_row_once(split, cohort)
    site_of = dict(zip(cohort["patient_id"], cohort["site"], strict=True))
    for (fold, patient), part in partition_of(split).items():
        assert (part == "test") == (site_of[patient] == f"site {fold}")


def test_a_patient_counts_for_its_rarest_label():
    cohort = evenly(benign=20, PTC=10, FTC=5)
    # ten of the benign patients carry a PTC nodule too, and the five FTC patients a benign one
    extra = [(f"p{number}", "PTC", True) for number in range(10)] + [(f"p{30 + n}", "benign", False) for n in range(5)]
    rows = [
        {"image_path": f"extra-{patient}.png", "sha256": patient, "site": "A", "patient_id": patient,
         "nodule_id": f"{patient}/2", "malignant": malignant, "subtype": label}
        for patient, label, malignant in extra
    ]  # fmt: skip
    both = pl.concat([cohort, complete_columns(pl.DataFrame(rows))])
    split = make_split(both, SplitSettings())
    assert_every_row_once(split, both)
    tests = split.filter(pl.col("partition") == "test").join(both.select("image_path", "subtype"), on="image_path")
    for (_,), fold in tests.group_by("fold"):
        found = dict(fold.group_by("subtype").agg(pl.col("patient_id").n_unique()).iter_rows())
        # strata: FTC 5, benign alone 10, PTC 20 (10 of them with benign nodules)
        assert found["FTC"] == 1
        assert found["PTC"] == 4


def test_the_seed_changes_the_deal_and_only_the_seed():
    cohort = evenly(benign=20, PTC=10)
    assert make_split(cohort, SplitSettings(seed=1)).equals(make_split(cohort, SplitSettings(seed=1)))
    assert not make_split(cohort, SplitSettings(seed=1)).equals(make_split(cohort, SplitSettings(seed=2)))


def message(cohort: pl.DataFrame, **options: object) -> str:
    with pytest.raises(BadInputError) as caught:
        make_split(cohort, SplitSettings(**options))
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["grouped-kfold", "leave-one-site-out", "holdout"])
def test_a_class_with_one_patient_is_refused(scheme):
    found = message(evenly(benign=9, PTC=9, ATC=1, MTC=1), scheme=scheme)
    assert "class ATC: 1 patient" in found
    assert "class MTC: 1 patient" in found
    assert "merge" in found


def test_one_patient_of_unknown_subtype_is_no_fault():
    cohort = manifest([*[("benign", 1)] * 6, *[("PTC", 1)] * 6, ("", 1)])
    assert_every_row_once(make_split(cohort, SplitSettings(n_folds=3)), cohort)


def test_too_few_patients_are_refused():
    assert "5 folds were asked for and the cohort has 4 patients to test" in message(evenly(benign=2, PTC=2))
    assert "no patient in tuning" in message(evenly(benign=2, PTC=2), n_folds=2)


def test_sites_that_cannot_be_left_out_are_refused():
    cohort = manifest([("benign", 1), ("PTC", 1)] * 6 + [("FTC", 1)] * 3, ["A", "B"] * 6 + ["B"] * 3)
    found = message(cohort, scheme="leave-one-site-out")
    assert "site A: class benign is in no other site" in found
    assert "site B: class FTC is in no other site" in found
    assert "at least 2 sites; the manifest has A alone" in message(evenly(benign=4, PTC=4), scheme="leave-one-site-out")
    shared = evenly(benign=4, PTC=4).with_columns(
        site=pl.when(pl.col("image_path") == "p3-0.png").then(pl.lit("B")).otherwise("site")
    )
    assert "p3: A, B" in message(shared, scheme="leave-one-site-out")


def hinted(*hints: str | None) -> pl.DataFrame:
    return evenly(benign=5, PTC=5).with_columns(pl.Series("split_hint", hints, dtype=pl.String))


def test_declared_partitions_are_used():
    declared = ["train"] * 6 + ["tuning"] * 2 + ["test"] * 2
    hints = [part for part in declared for _ in range(2)]
    cohort = hinted(*hints).sort("image_path", descending=True)
    split = make_split(cohort, SplitSettings(scheme="holdout"))
    expected = {f"p{number}": part for number, part in enumerate(declared)}
    # patients 5 and up are PTC: number 5 alone is trained on
    assert {patient: part for (_, patient), part in partition_of(split).items()} == expected
    dealt = make_split(
        hinted(*("test" if part == "test" else "train" for part in hints)), SplitSettings(scheme="holdout")
    )
    tuned = {patient: part for (_, patient), part in partition_of(dealt).items()}
    assert {patient for patient, part in tuned.items() if part == "test"} == {"p8", "p9"}
    assert Counter(tuned.values()) == {"train": 6, "tuning": 2, "test": 2}


def test_declared_partitions_that_leak_or_are_incomplete_are_refused():
    hints = ["train"] * 14 + ["test"] * 6
    assert "p6: test, train" in message(hinted(*hints[1:], "test"), scheme="holdout")
    assert "filled in 19 of 20 rows" in message(hinted(None, *hints[1:]), scheme="holdout")
    assert "split_hint has train" in message(hinted(*["train"] * 20), scheme="holdout")


def test_the_split_of_a_run_is_written_certified_and_remembered(tmp_path):
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    frame = manifest([(label, 2) for label in ("benign", "PTC", "FTC") for _ in range(8)], prefix="00")
    frame.write_parquet(cohort / "manifest.parquet")
    (cohort / "ledger.csv").write_text("item,code,reason\n")
    write_json(
        cohort / "certificate.json",
        certify(
            frame, fingerprints_of(frame), EMPTY_LEDGER, images_root=".", simulated=True, source="test", citation=None
        ),
    )
    run = create_run(cohort, tmp_path / "run", Configuration(split=SplitSettings(n_folds=4)))
    path = split_run(run)
    assert path == tmp_path / "run/split.csv"
    assert run.split().equals(make_split(frame, run.configuration.split))
    certificate = read_json(tmp_path / "run/certificate.json")
    assert [check["passed"] for check in certificate["split_checks"]] == [True] * 5
    assert certificate["images_root"] == str(cohort.resolve())
    assert run.finished("split")
    assert split_run(run).read_bytes() == path.read_bytes()


def test_a_repeated_image_fails_the_checks_and_writes_no_split(tmp_path):
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    frame = evenly(benign=8, PTC=8)
    frame = pl.concat([frame, frame.head(1)])
    frame.write_parquet(cohort / "manifest.parquet")
    (cohort / "ledger.csv").write_text("item,code,reason\n")
    write_json(
        cohort / "certificate.json",
        certify(
            frame, fingerprints_of(frame), EMPTY_LEDGER, images_root=".", simulated=True, source="test", citation=None
        ),
    )
    run = create_run(cohort, tmp_path / "run", Configuration())
    with pytest.raises(BadInputError, match=r"p0-0\.png: 2 times"):
        split_run(run)
    assert not (tmp_path / "run/split.csv").exists()


def alike_run(tmp_path: Path, scheme: str, *, near: str = "together"):
    """A run whose certificate says that pictures of the first two patients of each class look alike."""
    frame = evenly(benign=8, PTC=8)
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    frame.write_parquet(cohort / "manifest.parquet")
    (cohort / "ledger.csv").write_bytes(EMPTY_LEDGER)
    prints = fingerprints_of(frame)
    patients = frame["patient_id"].unique().sort().to_list()
    hashes, thumbnails = prints["perceptual_hash"].to_list(), prints["thumbnail"].to_list()
    rows = [frame["patient_id"].to_list().index(patient) for patient in patients]
    for one, other in ((0, 1), (2, 3)):
        hashes[rows[other]], thumbnails[rows[other]] = hashes[rows[one]] ^ 1, thumbnails[rows[one]]
    prints = prints.with_columns(perceptual_hash=pl.Series(hashes, dtype=pl.UInt64), thumbnail=pl.Series(thumbnails))
    facts = {"images_root": ".", "simulated": True, "source": "test", "citation": None}
    write_json(cohort / "certificate.json", certify(frame, prints, EMPTY_LEDGER, **facts))
    settings = SplitSettings(scheme=scheme, n_folds=4, near_duplicates=near)
    return create_run(cohort, tmp_path / "run", Configuration(split=settings)), patients


@pytest.mark.parametrize("seed", range(3))
def test_patients_whose_pictures_look_alike_are_dealt_together(tmp_path, seed):
    run, patients = alike_run(tmp_path, "grouped-kfold")
    split_run(run)
    split = run.split().select("fold", "patient_id", "partition").unique()
    for one, other in ((0, 1), (2, 3)):
        places = [split.filter(pl.col("patient_id") == patients[k]).sort("fold")["partition"] for k in (one, other)]
        assert places[0].to_list() == places[1].to_list()
    run.require_certificate()


def test_a_split_changed_after_its_certificate_is_refused(tmp_path):
    run, _ = alike_run(tmp_path, "grouped-kfold")
    with pytest.raises(BadInputError):
        run.require_certificate()
    split_run(run)
    certificate = run.certificate()
    write_json(run.path("certificate.json"), certificate | {"split_sha256": "0" * 64})
    with pytest.raises(MismatchError, match="another split"):
        run.require_certificate()
    checks = [{"name": "leak", "passed": False, "found": ["x"]}]
    write_json(run.path("certificate.json"), certificate | {"split_checks": checks})
    with pytest.raises(BadInputError, match="leak"):
        run.require_certificate()


def test_look_alikes_may_be_ignored_and_the_certificate_says_so(tmp_path):
    run, _ = alike_run(tmp_path, "grouped-kfold", near="ignore")
    split_run(run)
    assert "ignored by settings" in run.certificate()["split_checks"][-1]["name"]
