"""Patients are dealt into folds and partitions: stratified by their rarest class, counted in integers, seeded."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from csasn.cohort.integrity import alike_check, keys_with_several, split_checks
from csasn.cohort.labels import UNKNOWN_NON_MALIGNANT, UNKNOWN_SUBTYPE, class_label
from csasn.config import Scheme, SplitSettings
from csasn.csv_cells import escaped_cells
from csasn.errors import BadInputError, listing
from csasn.files import file_sha256, write_json, write_whole
from csasn.runs import Run
from csasn.schema import PARTITIONS, SPLIT_COLUMNS

MIN_TUNED_CLASS = 3  # patients outside test from which a class has at least one in tuning
UNKNOWN = (UNKNOWN_SUBTYPE, UNKNOWN_NON_MALIGNANT)  # strata, but not classes: too few of them is no error
Assignment = dict[str, str]  # patient -> partition


@dataclass(frozen=True, kw_only=True, slots=True)
class Patients:
    """Every patient dealt (of look-alikes the first for all), sorted: labels, stratum (the rarest label), size.

    The size is the number of patients that are dealt as this one.
    """

    labels: Mapping[str, frozenset[str]]
    stratum: Mapping[str, str]
    size: Mapping[str, int]

    def strata(self, among: Iterable[str]) -> dict[str, list[str]]:
        """Patients by stratum: the rarest stratum first, patients sorted."""
        members: defaultdict[str, list[str]] = defaultdict(list)
        for patient in sorted(among):
            members[self.stratum[patient]].append(patient)
        return dict(sorted(members.items(), key=lambda item: (len(item[1]), item[0])))

    def classes(self) -> Counter[str]:
        """Number of patients of every class, without the strata of unknown class."""
        return Counter(label for labels in self.labels.values() for label in labels if label not in UNKNOWN)

    def lone(self) -> dict[str, str]:
        """The patient of each class that has one alone: class -> patient."""
        single = {name for name, n in self.classes().items() if n == 1}
        found = {name: patient for patient, labels in self.labels.items() for name in labels & single}
        return dict(sorted(found.items()))


def make_split(
    manifest: pl.DataFrame, settings: SplitSettings, *, pairs: Sequence[tuple[str, str]] = ()
) -> pl.DataFrame:
    """One row per fold and image, sorted by both: fold, image_path, patient_id, partition.

    The unit is the patient; patients that a pair of pictures (image paths) joins are dealt as one. The deal depends on
    the settings and on what the manifest says, not on its row order. The one patient of a class that settings keep
    ("not-estimable") is learned from in every fold and never tested. Raises BadInputError where a class has one patient
    otherwise, where a fold would train without a class or have nothing to tune on, where sites or declared partitions
    share a patient, and where pictures that look alike join them.
    """
    unit = joined_patients(manifest, pairs)
    dealt = manifest.select("patient_id", "malignant", "subtype", "site", "split_hint").with_columns(
        pl.col("patient_id").replace(unit)
    )
    _refuse_joined_across(manifest, dealt, settings, pairs)
    patients = _patients(dealt, unit)
    if settings.lone_classes == "refuse":
        _refuse_lone_classes(patients)
    folds = SCHEMES[settings.scheme](dealt, patients, settings)
    _check_folds(folds, patients)
    images = manifest.select("image_path", "patient_id", unit=pl.col("patient_id").replace(unit))
    images = images.sort("image_path", "patient_id")
    frames = [
        images.join(
            pl.DataFrame({"unit": list(partitions), "partition": list(partitions.values())}),
            on="unit",
            how="left",
            maintain_order="left",
        ).select(pl.lit(fold, dtype=pl.Int32).alias("fold"), "image_path", "patient_id", "partition")
        for fold, partitions in enumerate(folds)
    ]
    return pl.concat(frames).select(pl.col(n).cast(t) for n, t in SPLIT_COLUMNS.items())


def never_tested(manifest: pl.DataFrame, settings: SplitSettings, pairs: Sequence[tuple[str, str]]) -> set[str]:
    """Patients that settings keep although they are the only ones of a class: learned from, never tested."""
    if settings.lone_classes == "refuse" or settings.scheme == "leave-one-site-out":
        return set()
    unit = joined_patients(manifest, pairs)
    lone = set(_patients(manifest.with_columns(pl.col("patient_id").replace(unit)), unit).lone().values())
    return {name for name in manifest["patient_id"].unique() if unit.get(name, name) in lone}


def joined_patients(manifest: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The first patient of each group that pairs of pictures join, for the patients of such groups."""
    owner = dict(manifest.select("image_path", "patient_id").iter_rows())
    first: dict[str, str] = {}

    def root(patient: str) -> str:
        while first.get(patient, patient) != patient:
            patient = first[patient]
        return patient

    for one, other in pairs:
        ends = sorted({root(owner[one]), root(owner[other])})
        for each in ends:
            first[each] = ends[0]
    return {patient: root(patient) for patient in first}


def _refuse_joined_across(
    manifest: pl.DataFrame, dealt: pl.DataFrame, settings: SplitSettings, pairs: Sequence[tuple[str, str]]
) -> None:
    """Sites, or declared partitions, that look-alike pictures join cannot be kept apart without leaking."""
    column = {"leave-one-site-out": "site", "holdout": "split_hint"}.get(settings.scheme)
    if column is None or column not in manifest.columns or not pairs:
        return
    joined = set(keys_with_several(dealt, "patient_id", column)) - set(
        keys_with_several(manifest, "patient_id", column)
    )
    if joined:
        value = dict(manifest.select("image_path", column).iter_rows())
        across = [f"{a} ({value[a]}) = {b} ({value[b]})" for a, b in pairs if value[a] != value[b]]
        raise BadInputError(
            f"Pictures that look alike stand on one side of a split. Under {settings.scheme} these do not "
            f"({column}):\n{listing(across)}\nLook at near_duplicates.png of the cohort; remove one of each pair from "
            "the source and ingest again, or set split.near_duplicates to ignore if they only resemble each other."
        )


def split_run(run: Run) -> Path:
    """Write split.csv of a run and its checks into certificate.json; BadInputError where a check fails."""
    manifest = run.manifest()
    settings = run.configuration.split
    pairs = pairs_of(run.certificate())
    split = make_split(manifest, settings, pairs=pairs if settings.near_duplicates == "together" else ())
    checks = checks_of_split(manifest, split, settings, pairs)
    failed = [f"{check['name']}: {found}" for check in checks if not check["passed"] for found in _rows(check["found"])]
    if failed:
        raise BadInputError(
            f"A split keeps patients apart and loses no image. These checks failed:\n{listing(failed)}\n"
            "Correct the manifest's source (image_path is unique) and ingest it again. Nothing was written."
        )
    path = run.path("split.csv")
    write_whole(path, escaped_cells(split).write_csv)
    stated = {"split_checks": checks, "split_sha256": file_sha256(path)}
    write_json(run.path("certificate.json"), run.certificate() | stated)
    run.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",))
    return path


def checks_of_split(
    manifest: pl.DataFrame, split: pl.DataFrame, settings: SplitSettings, pairs: Sequence[tuple[str, str]]
) -> list[dict[str, object]]:
    """Every check of a split against its manifest and the pairs of pictures of different patients that look alike."""
    together = settings.near_duplicates == "together"
    untested = never_tested(manifest, settings, pairs if together else ())
    checks = split_checks(manifest, split, scheme=settings.scheme, untested=untested)
    alike = alike_check(split, pairs)
    return [*checks, alike if together else alike | {"passed": True, "name": f"{alike['name']} (ignored by settings)"}]


def pairs_of(certificate: Mapping[str, object]) -> list[tuple[str, str]]:
    """Pictures of different patients that look alike, by the certificate."""
    pairs = certificate.get("near_duplicates", [])
    found = pairs if isinstance(pairs, list) else []
    return [(str(pair["first"]), str(pair["second"])) for pair in found if not pair["same_patient"]]


def ignored_partitions(manifest: pl.DataFrame, settings: SplitSettings) -> str | None:
    """What is given up where the source declares partitions and the scheme deals its own; None where nothing is."""
    declared = manifest["split_hint"].drop_nulls() if "split_hint" in manifest.columns else pl.Series(dtype=pl.String)
    if settings.scheme == "holdout" or declared.is_empty():
        return None
    counts = ", ".join(f"{n} {name}" for name, n in sorted(Counter(declared.to_list()).items()))
    return (
        f"The source declares partitions (split_hint, images: {counts}); the scheme {settings.scheme} does not keep "
        "them: images declared as test are learned from in other folds. Choose --split.scheme holdout to keep them."
    )


def _rows(found: object) -> list[object]:
    return found if isinstance(found, list) else [found]


def _patients(dealt: pl.DataFrame, unit: Mapping[str, str]) -> Patients:
    labelled = dealt.select("patient_id", label=class_label()).unique().sort("patient_id", "label")
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for patient, label in labelled.iter_rows():
        labels[patient].append(label)
    n_patients = Counter(labelled["label"].to_list())
    sets: dict[tuple[str, ...], frozenset[str]] = {}  # few sets are shared by many patients
    joined = Counter(unit.values())
    return Patients(
        labels={patient: sets.setdefault(tuple(found), frozenset(found)) for patient, found in labels.items()},
        stratum={patient: min(found, key=lambda name: (n_patients[name], name)) for patient, found in labels.items()},
        size={patient: max(1, joined[patient]) for patient in labels},
    )


def _generator(settings: SplitSettings, *stream: int) -> np.random.Generator:
    return np.random.default_rng((settings.seed % 2**63, *stream))


def _target(n: int, fraction: float) -> int:
    """The only rounding: a number of patients from a share, halves up."""
    return math.floor(n * fraction + 0.5)


def _shuffled(members: list[str], patients: Patients, generator: np.random.Generator) -> list[str]:
    """Members in random order, those that stand for most patients first: what follows can still even them out."""
    drawn = [members[i] for i in generator.permutation(len(members))]
    return sorted(drawn, key=lambda patient: -patients.size[patient])


def _grouped_kfold(_: pl.DataFrame, patients: Patients, settings: SplitSettings) -> list[Assignment]:
    """Each patient is tested in the fold that has fewest of its stratum, then of its other labels, then of all."""
    kept = set(patients.lone().values())
    if len(patients.labels) - len(kept) < settings.n_folds:
        raise BadInputError(
            f"Every fold tests at least one patient; {settings.n_folds} folds were asked for and the cohort has "
            f"{len(patients.labels) - len(kept)} patients to test. Lower split.n_folds or add patients."
        )
    generator = _generator(settings)
    tested: list[set[str]] = [set() for _ in range(settings.n_folds)]
    totals = [0] * settings.n_folds
    counts: list[Counter[str]] = [Counter() for _ in range(settings.n_folds)]
    for stratum, members in patients.strata(patients.labels.keys() - kept).items():
        strata = [0] * settings.n_folds
        for patient in _shuffled(members, patients, generator):
            others = patients.labels[patient] - {stratum}
            also = [sum(count[name] for name in others) for count in counts] if others else totals
            turn = min(zip(strata, also, totals, range(settings.n_folds), strict=True))[-1]
            tested[turn].add(patient)
            strata[turn] += patients.size[patient]
            totals[turn] += patients.size[patient]
            counts[turn].update(dict.fromkeys(patients.labels[patient], patients.size[patient]))
    return [_with_tuning(test, patients, settings, fold) for fold, test in enumerate(tested)]


def _leave_one_site_out(manifest: pl.DataFrame, patients: Patients, settings: SplitSettings) -> list[Assignment]:
    if shared := keys_with_several(manifest, "patient_id", "site"):
        raise BadInputError(
            f"Under leave-one-site-out a patient belongs to one site. These belong to several:\n{listing(shared)}\n"
            "Give patients of different sites different patient_ids, or choose the scheme grouped-kfold."
        )
    tested = {
        site: set(group["patient_id"].to_list())
        for (site,), group in sorted(manifest.group_by("site"), key=lambda item: str(item[0][0]))
    }
    if len(tested) < 2:
        raise BadInputError(
            f"Leave-one-site-out needs at least 2 sites; the manifest has {', '.join(map(str, tested))} alone. "
            "Fill in the site column, or choose the scheme grouped-kfold."
        )
    lacking: list[str] = []
    for site, test in tested.items():
        outside = Counter(label for name in patients.labels.keys() - test for label in patients.labels[name])
        lacking += [
            f"site {site}: class {label} is in no other site"
            for label in sorted(patients.classes())
            if not outside[label]
        ]
    if lacking:
        raise BadInputError(
            f"When a site is left out, the others still show every class. Not so for:\n{listing(lacking)}\n"
            "Add patients of the class at another site, merge or drop the class, or choose the scheme grouped-kfold."
        )
    return [_with_tuning(test, patients, settings, fold) for fold, test in enumerate(tested.values())]


def _holdout(manifest: pl.DataFrame, patients: Patients, settings: SplitSettings) -> list[Assignment]:
    n_declared = manifest["split_hint"].count() if "split_hint" in manifest.columns else 0
    if n_declared == manifest.height:
        return [_declared(manifest, patients, settings)]
    if n_declared:
        raise BadInputError(
            f"Partitions are declared for every image or for none; split_hint is filled in {n_declared} of "
            f"{manifest.height} rows. Fill in or empty the rest, and ingest again."
        )
    generator = _generator(settings)
    test: set[str] = set()
    for members in patients.strata(patients.labels).values():
        n_patients = sum(patients.size[patient] for patient in members)
        wanted = max(1, _target(n_patients, settings.test_fraction))
        drawn = _shuffled(members, patients, generator)
        test.update(_up_to(wanted, drawn, patients)[: len(members) - 1])
    return [_with_tuning(test, patients, settings, 0)]


def _up_to(wanted: int, drawn: Sequence[str], patients: Patients) -> list[str]:
    """The first of the drawn that together stand for no more patients than wanted; the smallest where none does."""
    taken: list[str] = []
    for patient in drawn:
        if patients.size[patient] <= wanted:
            taken.append(patient)
            wanted -= patients.size[patient]
    return taken or list(drawn[-1:])


def _declared(manifest: pl.DataFrame, patients: Patients, settings: SplitSettings) -> Assignment:
    """The partitions that the source declares; tuning is dealt from its training patients where it has none."""
    if shared := keys_with_several(manifest, "patient_id", "split_hint"):
        raise BadInputError(
            f"A patient stands in one partition. The declared ones (split_hint) share:\n{listing(shared)}\n"
            "Correct them, or leave split_hint out to let patients be dealt."
        )
    declared = dict(manifest.select("patient_id", "split_hint").unique().iter_rows())
    found = set(declared.values())
    if found - set(PARTITIONS) or not {"train", "test"} <= found:
        raise BadInputError(
            f"Declared partitions are {', '.join(PARTITIONS)}, with at least train and test; "
            f"split_hint has {', '.join(sorted(found))}. Correct it, or leave it out to let patients be dealt."
        )
    if "tuning" in found:
        return declared
    return _with_tuning({name for name, part in declared.items() if part == "test"}, patients, settings, 0)


def _with_tuning(test: set[str], patients: Patients, settings: SplitSettings, fold: int) -> Assignment:
    """Tuning patients dealt from those outside test, by stratum; every label keeps its last training patient."""
    generator = _generator(settings, fold + 1)
    outside = patients.labels.keys() - test
    training = Counter(label for patient in outside for label in patients.labels[patient])
    tuning: set[str] = set()
    for members in patients.strata(outside).values():
        least = 1 if len(members) >= MIN_TUNED_CLASS else 0
        n_patients = sum(patients.size[patient] for patient in members)
        wanted = max(least, _target(n_patients, settings.tuning_fraction))
        drawn = _shuffled(members, patients, generator)
        n_taken = 0
        for patient in drawn:
            size = patients.size[patient]
            fits = n_taken + size <= wanted or (least and not n_taken and patient == drawn[-1])
            if fits and all(training[label] > 1 for label in patients.labels[patient]):
                training.subtract(patients.labels[patient])
                tuning.add(patient)
                n_taken += size
    return {
        patient: "test" if patient in test else "tuning" if patient in tuning else "train"
        for patient in patients.labels
    }


def _refuse_lone_classes(patients: Patients) -> None:
    if single := [f"class {name}: 1 patient ({patient})" for name, patient in patients.lone().items()]:
        raise BadInputError(
            f"A class needs 2 patients, one to learn from and one to test on. These have too few:\n{listing(single)}\n"
            "Add patients, or merge the class with another or drop it, and ingest again; or set split.lone_classes to "
            "not-estimable: such a patient is then learned from in every fold, never tested, and the class reported as "
            "not estimable."
        )


def _check_folds(folds: list[Assignment], patients: Patients) -> None:
    """Refuse a fold without anything to tune on, and one that trains without some class."""
    wrong: list[str] = []
    for fold, partitions in enumerate(folds):
        learned = {label for name, labels in patients.labels.items() if partitions[name] == "train" for label in labels}
        wrong += [
            f"fold {fold}: no training patient of class {name}" for name in sorted(patients.classes().keys() - learned)
        ]
        if "tuning" not in partitions.values():
            wrong.append(f"fold {fold}: no patient in tuning")
    if wrong:
        raise BadInputError(
            f"Every fold learns every class and has patients to tune on. Not so:\n{listing(wrong)}\n"
            f"A class needs {MIN_TUNED_CLASS} patients outside test. Add patients, merge or drop the class, "
            "or choose another split.seed or split.n_folds."
        )


SCHEMES: dict[Scheme, Callable[[pl.DataFrame, Patients, SplitSettings], list[Assignment]]] = {
    "grouped-kfold": _grouped_kfold,
    "leave-one-site-out": _leave_one_site_out,
    "holdout": _holdout,
}
