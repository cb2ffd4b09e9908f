"""A study small enough for a test, through the command line."""

import json
from pathlib import Path
from typing import Any

from csasn.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
SMOKE = CONFIGS / "suites/smoke.toml"


def simulate(folder: Path) -> Path:
    """A simulated cohort of two sites, made in the folder."""
    main(["simulate", "--out", str(folder), "--patients", "40", "--sites", "2", "--seed", "1"])
    return folder


def ablate(cohort: Path, study: Path, suite: Path = SMOKE, *more: str) -> int:
    """The exit code of `csasn ablate`."""
    try:
        main(["ablate", "--cohort", str(cohort), "--suite", str(suite), "--out", str(study), *more])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def content_of(study: Path) -> dict[str, Any]:
    """study.json."""
    content: dict[str, Any] = json.loads((study / "study.json").read_text())
    return content
