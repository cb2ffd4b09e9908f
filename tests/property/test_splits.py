"""Thousands of drawn manifests: no patient in two partitions, every row once, classes as even as patients allow."""

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from csasn.cohort.integrity import alike_check, split_checks
from csasn.cohort.split import make_split, never_tested
from csasn.config import SplitSettings
from csasn.errors import BadInputError
from csasn.schema import PARTITIONS, complete_columns

CLASSES = ("benign", "PTC", "FTC", "MTC", "ATC")
N_FAST, N_ALL = 300, 10_000


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A manifest, how it is to be split, and the pairs of its pictures that look alike."""

    manifest: pl.DataFrame
    settings: SplitSettings
    pairs: tuple[tuple[str, str], ...]
    labels: dict[str, frozenset[str]]


@dataclass
class Tally:
    """What was split, for the figures that are reported."""

    schemes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    n_rows: int = 0


@st.composite
def manifests(draw: st.DrawFn) -> Drawn:
    """Two to five classes, sites, some patients of two classes, look-alikes and declared partitions."""
    sizes = draw(st.lists(st.integers(4, 24), min_size=2, max_size=5))
    scheme = draw(st.sampled_from(["grouped-kfold", "grouped-kfold", "leave-one-site-out", "holdout"]))
    n_sites = draw(st.integers(2, 4))
    several, declared = draw(st.booleans()), draw(st.booleans()) and scheme == "holdout"
    n_pairs = draw(st.sampled_from([0, 0, 1, 3])) if not declared else 0
    lone = draw(st.booleans()) and scheme != "leave-one-site-out" and len(sizes) < 5 and not declared
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    owners = [CLASSES[k] for k, size in enumerate(sizes) for _ in range(size)] + list(CLASSES[len(sizes) :][:lone])
    labels = {f"p{number:03}": {label} for number, label in enumerate(owners)}
    if several:
        for name in rng.choice(list(labels), size=max(1, len(labels) // 6), replace=False):
            labels[name].add(CLASSES[rng.integers(len(sizes))])
    rows = []
    for number, (patient, found) in enumerate(labels.items()):
        site, hint = f"site {number % n_sites}", ("train", "train", "tuning", "test")[number % 4] if declared else None
        for image in range(max(len(found), int(rng.integers(1, 4)))):
            label = sorted(found)[image % len(found)]
            rows.append({
                "image_path": f"{patient}-{image}.png", "sha256": f"{patient}{image}", "site": site,
                "patient_id": patient, "nodule_id": f"{patient}/{label}", "malignant": label != "benign",
                "subtype": label, "split_hint": hint,
            })  # fmt: skip
    frame = complete_columns(pl.DataFrame(rows, infer_schema_length=None))[rng.permutation(len(rows))]
    paths = frame.select("image_path", "site").rows()
    pairs = []
    for _ in range(n_pairs):
        one, other = rng.choice(len(paths), 2, replace=False)
        same = scheme != "leave-one-site-out" or paths[one][1] == paths[other][1]
        if same and paths[one][0][:4] != paths[other][0][:4]:
            pairs.append((paths[one][0], paths[other][0]))
    wanted = SplitSettings(
        scheme=scheme,
        n_folds=draw(st.integers(2, 6)),
        tuning_fraction=draw(st.sampled_from([0.1, 0.15, 0.3])),
        test_fraction=draw(st.sampled_from([0.1, 0.2, 0.5])),
        lone_classes="not-estimable",
        seed=draw(st.integers(-5, 2**40)),
    )
    known = {name: frozenset(found) for name, found in labels.items()}
    return Drawn(manifest=frame, settings=wanted, pairs=tuple(pairs), labels=known)


def units(drawn: Drawn) -> dict[str, str]:
    """Patient -> one name for all patients that pairs join with it, found by spreading the smaller name."""
    name = {patient: patient for patient in drawn.labels}
    for _ in drawn.pairs:
        for one, other in ((a[:4], b[:4]) for a, b in drawn.pairs):
            name[one] = name[other] = min(name[one], name[other])
    return name


def check_shares(drawn: Drawn, partition: dict[tuple[int, str], str]) -> str:
    """Each patient counts for its rarest label, as the split promises; returns what kind of manifest it was."""
    name = units(drawn)
    together: defaultdict[str, set[str]] = defaultdict(set)
    for patient, found in drawn.labels.items():
        together[name[patient]] |= found
    counted = Counter(label for found in together.values() for label in found)
    stratum = {unit: min(found, key=lambda label: (counted[label], label)) for unit, found in together.items()}
    size = Counter(name.values())
    lone = {unit for unit, found in together.items() if any(counted[label] == 1 for label in found)}
    folds = sorted({fold for fold, _ in partition})
    for label in set(stratum.values()):
        members = [unit for unit in together if stratum[unit] == label and unit not in lone]
        n, largest = sum(size[unit] for unit in members), max((size[unit] for unit in members), default=1)
        even = sum(size[unit] == 1 for unit in members) >= (len(folds) - 1) * largest
        tested = [sum(size[u] for u in members if partition[fold, u] == "test") for fold in folds]
        if drawn.settings.scheme == "grouped-kfold":
            room = 1 if even or largest == 1 else largest + 1
            assert all(abs(count - n / len(folds)) < room for count in tested), (label, tested, n)
        elif (
            drawn.settings.scheme == "holdout" and drawn.manifest["split_hint"].null_count() and largest == 1 and n > 1
        ):
            assert abs(tested[0] - drawn.settings.test_fraction * n) <= 1, (label, tested, n)
    single = all(len(found) == 1 for found in together.values())
    return ("one class a patient" if single else "several classes a patient") + (", look-alikes" if drawn.pairs else "")


def check_one(drawn: Drawn, tally: Tally) -> None:
    """Every promise of one split; a manifest that cannot be split under its scheme is not counted."""
    frame, wanted = drawn.manifest, drawn.settings
    try:
        split = make_split(frame, wanted, pairs=drawn.pairs)
    except BadInputError:
        reject()
    images = sorted(frame["image_path"])
    partition: dict[tuple[int, str], str] = {}
    for (fold,), rows in split.group_by("fold"):
        assert sorted(rows["image_path"]) == images
        for patient, part in rows.select("patient_id", "partition").iter_rows():
            assert partition.setdefault((fold, patient), part) == part, "a patient in two partitions"
    assert set(partition.values()) <= set(PARTITIONS)
    for one, other in drawn.pairs:
        assert all(partition[fold, one[:4]] == partition[fold, other[:4]] for fold in set(split["fold"]))
    hints = dict(frame.select("patient_id", "split_hint").iter_rows())
    sites = dict(frame.select("patient_id", "site").iter_rows())
    for (fold, patient), part in partition.items():
        assert hints[patient] in (None, part)
        if wanted.scheme == "leave-one-site-out":
            assert (part == "test") == (sites[patient] == sorted(set(sites.values()))[fold])
    untested = never_tested(frame, wanted, drawn.pairs) if hints["p000"] is None else set()
    checks = split_checks(frame, split, scheme=wanted.scheme, untested=untested)
    assert all(each["passed"] for each in [*checks, alike_check(split, drawn.pairs)]), checks
    assert {partition[fold, patient] for patient in untested for fold in set(split["fold"])} <= {"train"}
    assert make_split(frame.sort("image_path"), wanted, pairs=drawn.pairs[::-1]).equals(split)
    tally.kinds[check_shares(drawn, partition)] += 1
    tally.schemes[wanted.scheme + (", declared" if hints["p000"] else "")] += 1
    tally.n_rows += split.height


def split_many(n_manifests: int) -> Tally:
    """So many manifests drawn and split."""
    tally = Tally()

    @settings(max_examples=n_manifests, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn=manifests())
    def each(drawn: Drawn) -> None:
        check_one(drawn, tally)

    each()
    return tally


def test_hundreds_of_manifests() -> None:
    assert split_many(N_FAST).schemes.total() >= N_FAST


@pytest.mark.slow
def test_ten_thousand_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    tally = split_many(N_ALL)
    with capsys.disabled():
        sys.stdout.write(f"\n{tally.schemes.total()} manifests split, {tally.n_rows} rows: ")
        sys.stdout.write(f"{dict(tally.schemes)}, {dict(tally.kinds)}\n")
    assert tally.schemes.total() >= N_ALL
