"""One simulated cohort and one run of it, trained once for all tests of a session, also of several workers."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.toml"


def csasn(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "csasn", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def succeed(*arguments: object) -> str:
    """What a command printed; it must end without an error."""
    done = csasn(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made_once(factory: pytest.TempPathFactory) -> Path:
    """A folder with `cohort` and `run`, made by the first worker that asks."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-gw") else base) / "trained-once"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            succeed("simulate", "--out", folder / "cohort", "--patients", 40, "--sites", 2, "--seed", 1)
            options = ("--cohort", folder / "cohort", "--config", SMOKE, "--out", folder / "run")
            out = succeed("run", *options)
            assert out.rstrip().endswith("report.html")
            (folder / "done").touch()
    return folder
