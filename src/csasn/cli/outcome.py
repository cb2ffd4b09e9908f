"""How a command ends: exit codes, and the words that say where its result lies."""

from pathlib import Path
from typing import Any

EXIT_REFUSED = 1
EXIT_ITEMS_SET_ASIDE = 3
EXIT_INTERRUPTED = 130
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


def tell_weights(run: Any, name: str) -> None:
    """After fit, say which weights each branch started from."""
    if name == "fit":
        for origin in run.stages()["fit"]["weights"].values():
            source = "random weights" if origin["source"] == "none" else f"weights from {origin['source']}"
            print(f"  {origin['name']}: {source}, sha256 {origin['sha256'] or origin['state_sha256']}")
