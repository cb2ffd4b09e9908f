"""How a command ends: exit codes, and the words that say where its result lies."""

from pathlib import Path
from typing import Any

EXIT_REFUSED = 1
EXIT_ITEMS_SET_ASIDE = 3
EXIT_INTERRUPTED = 130
SHOWN_FINDINGS = 5
EXIT_STOPPED = 143  # 128 + SIGTERM


def wrote(what: str, path: Path) -> int:
    """Say where a result lies; exit code 0."""
    print(f"Wrote the {what}: {path.resolve()}")
    return 0


def tell_origin(cohort: Path) -> None:
    """Licence and citation of a public data set, where the certificate names them."""
    from csasn.files import read_json

    certificate = read_json(cohort / "certificate.json")
    for name in ("licence", "citation"):
        if certificate.get(name):
            print(f"{name.capitalize()}: {certificate[name]}")


def tell_findings(folder: Path) -> None:
    """What the certificate of a cohort or run notes, and every check of it that failed, with its first findings."""
    from csasn.files import read_json

    certificate: dict[str, Any] = read_json(folder / "certificate.json")
    for note in certificate["notes"]:
        print(f"NOTE: {note}")
    tell_failed_checks(folder)


def tell_failed_checks(folder: Path) -> None:
    """Every check of a certificate that failed, with its first findings; nothing where all passed."""
    from csasn.files import read_json

    certificate: dict[str, Any] = read_json(folder / "certificate.json")
    for each in certificate["checks"]:
        if not each["passed"]:
            found = each["found"]
            print(f"CHECK FAILED: {each['name']} ({len(found)} found; `csasn check {folder}` lists all)")
            for row in found[:SHOWN_FINDINGS]:
                print(f"  - {row}")


def tell_of_split(run: Any) -> None:
    """After a split: declared partitions that it does not keep, and checks of the cohort that failed."""
    from csasn.cohort.split import ignored_partitions

    if said := ignored_partitions(run.manifest(), run.configuration.split):
        print(f"NOTE: {said}")
    tell_failed_checks(run.folder)


def tell_weights(run: Any, name: str) -> None:
    """After fit, say which weights each branch started from."""
    if name == "fit":
        for origin in run.stages()["fit"]["weights"].values():
            source = "random weights" if origin["source"] == "none" else f"weights from {origin['source']}"
            print(f"  {origin['name']}: {source}, sha256 {origin['sha256'] or origin['state_sha256']}")
