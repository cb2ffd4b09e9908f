"""Commands that make a cohort folder, check it and split it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import tyro

from csasn.cli.bars import Bars
from csasn.cli.outcome import EXIT_ITEMS_SET_ASIDE, EXIT_REFUSED, tell_findings, tell_of_split, tell_origin, wrote


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Make a simulated multi-site cohort; never clinical evidence."""

    out: Path
    """Cohort folder to make."""
    patients: int = 200
    """Number of patients."""
    sites: int = 3
    """Number of sites, each with its own scanner."""
    seed: int = 0
    """The same seed gives the same bytes."""
    output: Literal["cohort", "dicom"] = "cohort"
    """A cohort folder, or a PACS export (DICOM with invented names, labels.csv) to ingest."""
    mix: Literal["enriched", "natural"] = "enriched"
    """Rare classes enriched, or as often as surgery meets them."""
    overlay_shortcut: float = 0.0
    """Chance that calipers follow malignancy, to prove that an audit catches it; 0 leaves them independent."""
    workers: int | None = None
    """Processes that render; the bytes do not depend on it."""

    def __call__(self) -> int:
        """Write the cohort folder or the export."""
        from csasn.phantom.cohort import simulate, simulate_export

        with Bars() as bars:
            (simulate if self.output == "cohort" else simulate_export)(
                self.out,
                n_patients=self.patients,
                n_sites=self.sites,
                seed=self.seed,
                mix=self.mix,
                overlay_shortcut=self.overlay_shortcut,
                workers=self.workers,
                progress=bars.part("rendering images"),
            )
        return wrote("SIMULATED cohort" if self.output == "cohort" else "SIMULATED PACS export", self.out)


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Turn a table, a folder-per-class tree, a PACS export or a public data set into a cohort folder."""

    source: tyro.conf.Positional[Path]
    """A CSV, TSV, Excel or parquet table, or a folder."""
    out: Path
    """Cohort folder to make; pictures stay where they are, DICOM enters it as grey PNG."""
    layout: Literal[
        "auto",
        "table",
        "folders",
        "dicom",
        "busi",
        "ddti",
        "tn3k",
        "tn5000",
        "thyroidxl",
        "stanford-cine",
        "fangdai",
    ] = "auto"
    """How the source is laid out."""
    labels: Path | None = None
    """For DICOM: the table of diagnoses, by patient_id, accession_number, study, series, object or image_path."""
    private: Path | None = None
    """For DICOM: a folder of your site, outside of the cohort, for secret.key and the crosswalk of pseudonyms."""
    workers: int | None = None
    """Processes that read; one a processor where nothing is said."""
    config: Path | None = None
    """TOML file of ingest settings that differ from the defaults: columns, classes, site and DICOM policies."""
    settings: ClassVar[Any]  # IngestSettings; becomes an argument in `configured`

    def __call__(self) -> int:
        """Write the cohort folder; exit code 3 says that it is whole but items were set aside."""
        from csasn.cohort.ingest import ingest

        with Bars() as bars:
            result = ingest(
                self.source,
                self.out,
                layout=self.layout,
                labels=self.labels,
                private=self.private,
                settings=self.settings,
                workers=self.workers,
                progress=bars.part("reading"),
            )
        print(
            f"{result.n_items} items: {result.n_used} used ({result.n_images} images), "
            f"{result.n_refused} set aside ({result.layout} layout)."
        )
        if result.fixes:
            print("Fixed: " + ", ".join(f"{count} {code}" for code, count in result.fixes.items()) + ".")
        tell_origin(self.out)
        tell_findings(self.out)
        wrote("cohort", self.out)
        if not result.refusals:
            return 0
        codes = ", ".join(f"{count} {code}" for code, count in result.refusals.items())
        print(
            f"Set aside: {codes}. {self.out / 'ledger.csv'} names each item and the reason. The cohort is whole "
            "without them; mend the files and ingest into a new folder to have them in.",
            file=sys.stderr,
        )
        return EXIT_ITEMS_SET_ASIDE


@dataclass(frozen=True, kw_only=True)
class Check:
    """Print the integrity certificate of a cohort or run and verify it: every file, hash and check again."""

    cohort: tyro.conf.Positional[Path]
    """Cohort folder made by ingest or simulate, or run folder: then its split is checked again too."""

    def __call__(self) -> int:
        """Exit code 1 where anything differs from the certificate."""
        from csasn.cohort.verification import lines, verify

        with Bars() as bars:
            found = verify(self.cohort, progress=bars.part("reading again"))
        print("\n".join(lines(found)))
        return EXIT_REFUSED if found.differences else 0


@dataclass(frozen=True, kw_only=True)
class Split:
    """Deal patients into folds and partitions; makes the run folder. --scheme is short for --split.scheme."""

    cohort: Path
    """Cohort folder made by ingest or simulate."""
    out: Path
    """Run folder to make."""
    config: Path | None = None
    """TOML file of settings that differ from the defaults."""
    settings: ClassVar[Any]  # a Configuration; becomes an argument in `configured`

    def __call__(self) -> int:
        """Make the run folder and split.csv."""
        from csasn.cohort.split import split_run
        from csasn.runs import create_run

        run = create_run(self.cohort, self.out, self.settings)
        written = split_run(run)
        tell_of_split(run)
        return wrote("split", written)
