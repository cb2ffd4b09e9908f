"""Commands on a study: many runs over one cohort and one split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csasn.cli.bars import Bars
from csasn.cli.outcome import EXIT_ITEMS_SET_ASIDE, wrote


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Train every variant of a suite on the same folds, and say which module helps; goes on where it stopped."""

    cohort: Path
    """Cohort folder made by ingest or simulate."""
    suite: Path
    """TOML file of variants, for instance configs/suites/paper.toml."""
    out: Path
    """Study folder to make, or to go on with."""
    workers: int = 1
    """Processes that train at once, each with its share of the cores; 1 trains in this one."""

    def __call__(self) -> int:
        """Do what is not finished; exit code 3 where units failed."""
        from csasn.study.suite import read_suite

        resolved = read_suite(self.suite)  # before torch is imported: a wrong suite is refused at once
        from csasn.files import read_json
        from csasn.report.ablation import report_study
        from csasn.study.ablate import ablate

        with Bars() as bars:
            path = ablate(self.cohort, resolved, self.out, workers=self.workers, report=bars.report, say=bars.say)
        code = wrote("study", report_study(path))
        units: Any = read_json(path)["units"]
        for unit in units:
            if unit["state"] == "failed":
                print(f"FAILED: {unit['name']}: {unit['error']}")
                code = EXIT_ITEMS_SET_ASIDE
        return code
