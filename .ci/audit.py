"""Known vulnerabilities of the locked packages, against the list that is kept in the repository.

    python .ci/audit.py

Asks pip-audit about every package of requirements.lock. Prints how many were looked up, and each vulnerability that
.ci/vulnerabilities.json does not have. That file maps "PACKAGE VERSION ID" to what was decided about it. It is a list
of warnings: the exit code is 0 unless pip-audit itself cannot be run. A package that the service does not know was not
audited; pip-audit alone would say that no vulnerability was found.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("vulnerabilities.json")
COMMAND = ("-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def report(dependencies: list[dict[str, object]], kept: dict[str, str]) -> list[str]:
    """The lines to print: how many packages were looked up, what is new, and what is kept but was not found again."""
    audited = [each for each in dependencies if "skip_reason" not in each]
    found = {
        f"{each['name']} {each['version']} {vulnerability['id']}": vulnerability
        for each in audited
        for vulnerability in each["vulns"]  # type: ignore[attr-defined]
    }
    lines = [f"{len(audited)} of {len(dependencies)} locked packages were looked up."]
    if not audited:
        return [
            *lines,
            "WARNING: nothing was audited. The vulnerability service could not be reached, or knows none of them.",
        ]
    lines += [
        f"WARNING: {name}: fixed in {', '.join(each['fix_versions']) or 'no version'}. Say in {KEPT.name} what is done."
        for name, each in found.items()
        if name not in kept
    ]
    lines += [f"{name} is kept in {KEPT.name} but was not found: take it out." for name in kept if name not in found]
    return lines


def main() -> None:
    """Ask and print."""
    asked = subprocess.run(
        [sys.executable, *COMMAND, "--requirement", str(ROOT / "requirements.lock")],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.exit(f"pip-audit did not answer (exit code {asked.returncode}):\n{asked.stderr.strip()}")
    print("\n".join(report(dependencies, json.loads(KEPT.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    main()
