"""A cohort folder is looked at again: every file, hash and check against what its certificate says."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.cohort.integrity import certify
from csasn.cohort.split import checks_of_split, pairs_of
from csasn.errors import BadInputError
from csasn.files import file_sha256, read_json
from csasn.frames import read_parquet
from csasn.progress import CountProgress
from csasn.runs import open_run
from csasn.schema import FINGERPRINT_COLUMNS, read_manifest

STATED = ("simulated", "source", "citation", "licence", "notes", "images_root", "csasn", "split_checks", "split_sha256")
SHEET = "near_duplicates.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The certificate of a cohort or run, the number of files read again, and every difference found.

    `sheet` shows the pictures that look alike; a run folder has none of its own.
    """

    certificate: dict[str, object]
    sheet: Path | None
    n_files: int
    differences: tuple[str, ...]


def verify(cohort: Path, *, progress: CountProgress | None = None) -> Verification:
    """Read every image and mask of a cohort or run folder again and remake its certificate; nothing is changed.

    Of a run, the checks of its split are made again too. Raises BadInputError where the folder is neither, and
    MismatchError where a file of a run is not the one that its stage wrote.
    """
    manifest = read_manifest(cohort)
    certificate = read_json(cohort / "certificate.json")
    fingerprints = _fingerprints(cohort)
    if fingerprints["image_path"].to_list() != manifest["image_path"].to_list():
        raise BadInputError(f"{cohort}: fingerprints.parquet and manifest.parquet name other images. Ingest again.")
    try:
        ledger = (cohort / "ledger.csv").read_bytes()
        remade = certify(
            manifest,
            fingerprints,
            ledger,
            images_root=str(certificate["images_root"]),
            simulated=bool(certificate["simulated"]),
            source=str(certificate["source"]),
            citation=None,
        )
    except OSError as error:
        raise BadInputError(f"{error.filename} cannot be read ({error.strerror}): ingest the source again.") from error
    except KeyError as error:
        raise BadInputError(f"{cohort / 'certificate.json'} lacks {error}: ingest the source again.") from error
    differences = [
        f"certificate.json: {name} is not what the cohort's files give"
        for name in sorted(remade.keys() | certificate.keys())
        if name not in STATED and remade.get(name) != certificate.get(name)
    ]
    sheet = cohort / SHEET if remade["near_duplicates"] and not (cohort / "run.json").is_file() else None
    if sheet is not None and not sheet.is_file():
        differences.append(f"{sheet}: the pictures that look alike are not shown, the file is missing")
    if (cohort / "split.csv").is_file():
        differences += _split_differences(cohort, manifest, certificate)
    root = cohort / str(certificate["images_root"])
    wanted = dict(zip(manifest["image_path"], manifest["sha256"], strict=True))
    masks = zip(manifest["mask_path"], fingerprints["mask_sha256"], strict=True)
    wanted |= {path: sha for path, sha in masks if path is not None and sha is not None}
    for done, (path, sha256) in enumerate(wanted.items(), start=1):
        differences += _changed(root, path, sha256)
        if progress is not None:
            progress(done, len(wanted))
    return Verification(certificate=certificate, sheet=sheet, n_files=len(wanted), differences=tuple(differences))


def _split_differences(folder: Path, manifest: pl.DataFrame, certificate: dict[str, object]) -> list[str]:
    """What the certificate of a run says of its split, and is not so."""
    run = open_run(folder)
    found = checks_of_split(manifest, run.split(), run.configuration.split, pairs_of(certificate))
    differences = []
    if certificate.get("split_sha256") != file_sha256(folder / "split.csv"):
        differences.append("split.csv: its bytes are not those that the certificate certifies")
    if certificate.get("split_checks") != found:
        differences.append("certificate.json: split_checks is not what split.csv and the manifest give")
    return differences + [
        f"split.csv: {each['name']}: {row}" for each in found if not each["passed"] for row in _rows(each["found"])
    ]


def lines(found: Verification) -> list[str]:
    """What a person reads: counts, checks, look-alikes and the verdict."""
    certificate = found.certificate
    shown = [f"{certificate['source']}" + ("  SIMULATED" if certificate["simulated"] else "")]
    shown += [f"{name}: {certificate[name]}" for name in ("citation", "licence") if certificate.get(name)]
    shown += [str(note) for note in _rows(certificate["notes"])]
    shown.append(f"{'site':16}{'class':28}{'patients':>9}{'nodules':>9}{'images':>9}  sensitivity if all are found")
    for row in _rows(certificate["counts"]):
        assert isinstance(row, dict)  # noqa: S101 - `certify` wrote it, and its remake was compared
        bound = f"above {row['sensitivity_bound_if_all_found']:.3f} (95 %)"
        numbers = "".join(f"{row[name]:>9}" for name in ("n_patients", "n_nodules", "n_images"))
        shown.append(f"{row['site']:16}{row['class']:28}{numbers}  {bound}")
    for each in [*_rows(certificate["checks"]), *_rows(certificate.get("split_checks", []))]:
        assert isinstance(each, dict)  # noqa: S101
        shown.append(f"[{'ok' if each['passed'] else 'LOOK'}] {each['name']}")
        shown += [f"       {row}" for row in each["found"][:20]]
        shown += [f"       ... and {len(each['found']) - 20} more"] if len(each["found"]) > 20 else []
    if found.sheet is not None:
        shown.append(f"Pictures that look alike, side by side: {found.sheet}")
    looked_at = certificate["looked_at"]
    assert isinstance(looked_at, dict)  # noqa: S101
    shown += [f"sha256 of {name.removesuffix('_sha256')}: {sha}" for name, sha in looked_at.items() if "sha256" in name]
    shown.append(f"{found.n_files} images and masks read again, {len(found.differences)} differences.")
    return shown + [f"DIFFERS {row}" for row in found.differences]


def _rows(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _fingerprints(cohort: Path) -> pl.DataFrame:
    path = cohort / "fingerprints.parquet"
    frame = read_parquet(path, remedy="Ingest the source again.")
    if frame.columns != list(FINGERPRINT_COLUMNS):
        raise BadInputError(f"{path} has not the columns {', '.join(FINGERPRINT_COLUMNS)}: ingest the source again.")
    return frame


def _changed(root: Path, path: str, sha256: str) -> list[str]:
    try:
        found = file_sha256(root / path)
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    return [] if found == sha256 else [f"{path}: its bytes changed since ingest"]
