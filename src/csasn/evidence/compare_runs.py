"""Two runs on the same test patients: what must agree before they are compared, and what comparison.json holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.config import EvaluateSettings
from csasn.documents import write_document
from csasn.errors import BadInputError, listing
from csasn.evidence.run_differences import RunDifference, differences
from csasn.files import file_sha256, read_json
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.threads import one_thread
from csasn.units import MAIN_MODEL, Unit, per_unit

UNITS: tuple[Unit, ...] = ("patient", "nodule")
FEWEST_DRAWS = 2000  # so that Holm's strictest step over a family of bootstrap p-values can be passed
COMMON = "To compare the patients alone whom both tested on the same pictures, give --common-patients."
NAMED = 10  # patients listed in a refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """One of the two runs as comparison.json has it: its folder, its split, its patients and its hashes."""

    name: str
    folder: str
    scheme: str
    n_tested: int
    n_left_out: int
    csasn: str
    manifest_sha256: str
    training_sha256: str
    evaluation_sha256: str
    predictions_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunComparison:
    """Everything of comparison.json: run A and run B on the same patients, and every difference."""

    runs: Sequence[ComparedRun]
    simulated: bool
    classes: Sequence[str]
    n_patients: int
    confidence: float
    n_bootstrap: int
    calibration_bins: int
    differences: Sequence[RunDifference]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Side:
    """One of the two runs: its predictions by CSASN, and for each tested patient its pictures and what they are.

    `pictures` holds patient_id, the sorted SHA-256 of the patient's pictures, and their nodules and labels in order.
    """

    name: str
    run: Run
    predictions: pl.DataFrame
    pictures: pl.DataFrame

    @property
    def patients(self) -> set[str]:
        """The tested patients."""
        return set(self.pictures["patient_id"])


@one_thread
def compare_runs(run_a: Run, run_b: Run, out: Path, *, common_patients: bool = False) -> Path:
    """Write comparison.json: CSASN of run A minus CSASN of run B, per patient and nodule.

    Raises BadInputError where cohorts, class lists or tested patients differ (with `common_patients`: where no patient
    was tested by both on the same pictures, or is labelled in two ways), or where `out` holds something else.
    """
    classes, settings = shared_classes(run_a, run_b), shared_settings(run_a, run_b)
    target = out / "comparison.json"
    folders = [str(run.folder.resolve()) for run in (run_a, run_b)]
    _refuse_another(out, folders)
    sides = _side("A", run_a), _side("B", run_b)
    patients = shared_patients(*sides, common=common_patients)
    kept = [
        side.predictions.filter((pl.col("partition") != "test") | pl.col("patient_id").is_in(sorted(patients)))
        for side in sides
    ]
    found = [
        row
        for unit in UNITS
        for row in differences([per_unit(each, classes, unit=unit) for each in kept], classes, settings, unit=unit)
    ]
    write_document(
        target,
        RunComparison(
            runs=[_described(side, folder, patients) for side, folder in zip(sides, folders, strict=True)],
            simulated=any(side.run.simulated() for side in sides),
            classes=list(classes.names),
            n_patients=len(patients),
            confidence=settings.confidence,
            n_bootstrap=settings.n_bootstrap,
            calibration_bins=settings.calibration_bins,
            differences=found,
        ),
    )
    return target


def shared_classes(run_a: Run, run_b: Run) -> ClassList:
    """The class list of both; BadInputError where they differ."""
    lists = [run.classes() for run in (run_a, run_b)]
    if lists[0] != lists[1]:
        rows = [f"{run.folder}: {_list(each)}" for run, each in zip((run_a, run_b), lists, strict=True)]
        raise BadInputError(
            f"Two runs are compared on one list of classes. Received\n{listing(rows)}\n"
            "Ingest both cohorts with the same labels, and train again."
        )
    return lists[0]


def _list(classes: ClassList) -> str:
    return f"{', '.join(classes.names)} ({classes.n_non_malignant} of them non-malignant)"


def shared_settings(run_a: Run, run_b: Run) -> EvaluateSettings:
    """The settings of the comparison: of each that matters the larger of the two, so that neither order is favoured."""
    one, other = (run.configuration.evaluate for run in (run_a, run_b))
    return one.model_copy(
        update={
            "confidence": max(one.confidence, other.confidence),
            "n_bootstrap": max(one.n_bootstrap, other.n_bootstrap, FEWEST_DRAWS),
            "calibration_bins": max(one.calibration_bins, other.calibration_bins),
        }
    )


def shared_patients(a: Side, b: Side, *, common: bool) -> set[str]:
    """The patients to compare on; BadInputError where the cohorts or the tested patients differ and this is not meant.

    With `common`, those whom both runs tested on the very same pictures, whatever cohorts they stand in.
    """
    hashes = [str(side.run.record().get("manifest_sha256")) for side in (a, b)]
    if not common and hashes[0] != hashes[1]:
        raise BadInputError(
            "Two runs are compared on one cohort. Received two manifests:\n"
            f"  {a.run.folder}: {hashes[0]}\n  {b.run.folder}: {hashes[1]}\n"
            f"Make both runs from one cohort folder. {COMMON}"
        )
    if not common and a.patients != b.patients:
        alone = [f"by {side.run.folder} alone: {_some(side.patients - other.patients)}" for side, other in _ways(a, b)]
        raise BadInputError(
            f"Two runs are compared on the same tested patients. Tested\n{listing(alone)}\n"
            f"Make both runs with the same split settings. {COMMON}"
        )
    joined = a.pictures.join(b.pictures, on=["patient_id", "sha256"], suffix="_b")
    if twice := joined.filter(pl.col("labels") != pl.col("labels_b"))["patient_id"].sort().to_list():
        raise BadInputError(
            "The same pictures of a patient carry the same nodules and labels in both runs. They differ for\n"
            f"{listing(twice)}\nCorrect the cohort that is wrong, and make its run again."
        )
    if joined.is_empty():
        raise BadInputError(
            f"Two runs are compared on the patients that both tested on the same pictures. There are none: "
            f"{a.run.folder} tested {len(a.patients):,}, {b.run.folder} tested {len(b.patients):,}, and no patient id "
            "goes with the same pictures in both."
        )
    return set(joined["patient_id"])


def _ways(a: Side, b: Side) -> tuple[tuple[Side, Side], ...]:
    return (a, b), (b, a)


def _some(patients: set[str]) -> str:
    named = ", ".join(sorted(patients)[:NAMED])
    return f"{len(patients):,} ({named}{', …' if len(patients) > NAMED else ''})" if patients else "0"


def _side(name: str, run: Run) -> Side:
    predictions = read_parquet(run.require("predictions.parquet")).filter(pl.col("model") == MAIN_MODEL)
    pictures = (
        predictions.filter(pl.col("partition") == "test")
        .join(run.manifest().select("image_path", "sha256"), on="image_path")
        .sort("sha256", "nodule_id", "malignant", "subtype")
        .group_by("patient_id", maintain_order=True)
        .agg(
            pl.col("sha256"),
            pl.concat_list("nodule_id", pl.col("malignant").cast(pl.String), "subtype").alias("labels"),
        )
        .with_columns(pl.col("sha256").list.join(" "))
    )
    return Side(name=name, run=run, predictions=predictions, pictures=pictures)


def _described(side: Side, folder: str, patients: set[str]) -> ComparedRun:
    run, record = side.run, side.run.record()
    return ComparedRun(
        name=side.name,
        folder=folder,
        scheme=run.configuration.split.scheme,
        n_tested=len(side.patients),
        n_left_out=len(side.patients - patients),
        csasn=str(record["csasn"]),
        manifest_sha256=str(record["manifest_sha256"]),
        training_sha256=str(record["training_sha256"]),
        evaluation_sha256=str(record["evaluation_sha256"]),
        predictions_sha256=file_sha256(run.path("predictions.parquet")),
    )


def _refuse_another(out: Path, folders: list[str]) -> None:
    """A folder is written again where it holds a comparison of these very runs, in this order."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    path = out / "comparison.json"
    runs = read_json(path).get("runs") if path.is_file() else None
    held = [row.get("folder") for row in runs if isinstance(row, dict)] if isinstance(runs, list) else []
    if held != folders:
        raise BadInputError(
            f"{out} is not empty and holds no comparison of these two runs: choose another --out, or remove it."
        )
