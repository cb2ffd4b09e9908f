"""What csasn is installed with: the lock file, the bill of materials and the look-up of known vulnerabilities."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [Requirement(each) for each in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["weights"]]]


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Every package of the lock file by its name, with its hashes."""
    found = {}
    for entry in re.split(r"^(?=[a-z0-9])", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        requirement = Requirement(entry.split("\\", 1)[0].strip())
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})(?![0-9a-f])", entry)
        found[canonicalize_name(requirement.name)] = requirement, hashes
    return found


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_the_lock_file_has_every_dependency_in_a_version_that_is_allowed(wanted: Requirement) -> None:
    requirement, _ = locked()[canonicalize_name(wanted.name)]
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version), "pyproject.toml has changed: `make lock` writes the file again"


def test_every_locked_package_has_its_hashes() -> None:
    assert len(locked()) > len(WANTED)
    assert [name for name, (_, hashes) in locked().items() if not hashes] == []


def test_the_bill_of_materials_has_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    out = tmp_path / "bill.json"
    command = re.search(r"cyclonedx-py (.*?)--output-file", (ROOT / "Makefile").read_text(), flags=re.DOTALL)
    assert command
    arguments = command[1].replace("\\\n", " ").split()
    program = Path(sys.executable).with_name("cyclonedx-py")
    subprocess.run([program, *arguments, "--output-file", str(out)], cwd=ROOT, check=True, capture_output=True)
    bill = json.loads(out.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "csasn")
    listed = {
        canonicalize_name(each["name"]): (
            each["version"],
            {part["content"] for source in each.get("externalReferences", []) for part in source.get("hashes", [])},
        )
        for each in bill["components"]
    }
    for name, (requirement, hashes) in locked().items():
        (pin,) = requirement.specifier
        assert listed[name] == (pin.version, set(hashes)), name


@pytest.fixture(scope="module")
def report() -> Callable[[list[dict[str, object]], dict[str, str]], list[str]]:
    return runpy.run_path(str(ROOT / ".ci/audit.py"))["report"]  # type: ignore[no-any-return]


PILLOW = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.1"]}]}


def test_a_vulnerability_that_is_not_kept_is_warned_of(
    report: Callable[[list[dict[str, object]], dict[str, str]], list[str]],
) -> None:
    counted, warned = report([PILLOW], {})
    assert counted == "1 of 1 locked packages were looked up."
    assert warned.startswith("WARNING: pillow 9.0 PYSEC-1: fixed in 9.1.")
    assert report([PILLOW], {"pillow 9.0 PYSEC-1": "csasn never opens such a file"}) == [counted]


def test_an_entry_that_is_no_longer_found_is_to_be_taken_out(
    report: Callable[[list[dict[str, object]], dict[str, str]], list[str]],
) -> None:
    assert "take it out" in report([{"name": "numpy", "version": "2.4", "vulns": []}], {"numpy 1.0 PYSEC-2": "old"})[-1]


def test_that_nothing_was_looked_up_is_no_clean_bill(
    report: Callable[[list[dict[str, object]], dict[str, str]], list[str]],
) -> None:
    found = report([{"name": "torch", "skip_reason": "not found"}], {})
    assert found[0] == "0 of 1 locked packages were looked up."
    assert found[1].startswith("WARNING: nothing was audited")


def test_what_is_kept_says_why() -> None:
    kept = json.loads((ROOT / ".ci/vulnerabilities.json").read_text(encoding="utf-8"))
    assert all(len(name.split()) == 3 and reason for name, reason in kept.items())
