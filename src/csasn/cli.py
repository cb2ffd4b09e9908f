"""The command line: parse, call one function, print where the result lies."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self, Union

import tyro

from csasn import __version__
from csasn.errors import CsasnError, StoppedError

EXIT_REFUSED = 1
EXIT_ITEMS_SET_ASIDE = 3
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143  # 128 + SIGTERM


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
        from csasn.cohort.phantom.cohort import simulate, simulate_export

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

        return wrote("split", split_run(create_run(self.cohort, self.out, self.settings)))


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """A stage of an existing run folder; its settings are those that the folder was made with."""

    run: tyro.conf.Positional[Path]
    """Run folder."""

    def __call__(self) -> int:
        """Do the stage that the command is named after."""
        from csasn.runs import open_run

        name = type(self).__name__.lower()
        run = open_run(self.run)  # before the stage is imported: a wrong folder is refused at once
        with Bars() as bars:
            written = stage(name)(run, bars)
        tell_weights(run, name)
        return wrote(name, written)


@dataclass(frozen=True, kw_only=True)
class Fit(OfRun):
    """Train CSASN and its rivals on every fold; goes on from the last saved step."""

    devices: int = 1
    """Devices of this machine that share every batch: GPUs, or processes on a CPU."""
    nodes: int = 1
    """Machines that take part, each with as many devices; started by SLURM or torchrun."""
    profile: bool = False
    """Print where the time of a training step goes, measured on a few steps of which nothing is kept; train nothing."""

    def __call__(self) -> int:
        """Train, or profile; with several devices the first process alone reports."""
        from csasn.learning.fit import fit_run
        from csasn.learning.profile import profile_run, table
        from csasn.network.sharing import process_number
        from csasn.runs import open_run

        run = open_run(self.run)
        if self.profile:
            with Bars() as bars:
                profiles = profile_run(run, report=bars.report)
            print("\n".join(table(profiles)))
            return 0
        try:
            with Bars() as bars:
                written = fit_run(run, report=bars.report, say=bars.say, n_devices=self.devices, n_nodes=self.nodes)
        except StoppedError:
            if process_number() > 0:
                return 0
            raise
        if process_number() > 0:
            return 0
        tell_weights(run, "fit")
        return wrote("fit", written)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Say how far the training of a run is: a line a model and fold, and whether a process is training now."""

    run: tyro.conf.Positional[Path]
    """Run folder."""

    def __call__(self) -> int:
        """Read the run folder only; nothing is locked or written."""
        from csasn.learning.status import lines, status_of
        from csasn.runs import open_run

        print("\n".join(lines(status_of(open_run(self.run)))))
        return 0


class Predict(OfRun):
    """Read the tuning and test images of every fold with the models trained for it."""


class Audit(OfRun):
    """Read test images without marks, without the nodule and from their border alone; `evaluate` says what leaks."""


@dataclass(frozen=True, kw_only=True)
class Refusal(OfRun):
    """Try "none of the trained types": train CSASN without each rare class and read foreign pictures; then evaluate."""

    foreign: tuple[Path, ...] = ()
    """Cohort folders of other organs or devices, beside the photographs and noise that are always read."""

    def __call__(self) -> int:
        """Write refusal/; `csasn evaluate` turns it into refusal.json."""
        from csasn.reading.refusal import refusal_run
        from csasn.runs import open_run

        run = open_run(self.run)
        with Bars() as bars:
            written = refusal_run(run, self.foreign, report=bars.report, say=bars.say)
        return wrote("refusal's readings", written)


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Turn predictions into metrics with intervals, per patient, nodule and image."""

    beside: Path | None = None
    """Run folder of the same cohort under another split, whose figures are set beside these with paired intervals."""

    def __call__(self) -> int:
        """Write metrics.json."""
        if self.beside is None:
            return OfRun.__call__(self)
        from csasn.evidence.evaluate import evaluate_run
        from csasn.runs import open_run

        return wrote("evaluate", evaluate_run(open_run(self.run), beside_run=open_run(self.beside)))


class Report(OfRun):
    """Write report.html, one self-contained page, and its figures."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The main job: split, fit, predict, evaluate and report, in this order; goes on where it stopped."""

    cohort: Path
    """Cohort folder made by ingest or simulate."""
    out: Path
    """Run folder to make, or to go on with."""
    config: Path | None = None
    """TOML file of settings that differ from the defaults, for instance configs/lite.toml."""
    settings: ClassVar[Any]  # a Configuration; becomes an argument in `configured`

    def __call__(self) -> int:
        """Run every stage that is not finished yet."""
        from csasn.runs import ON_REQUEST, STAGES, create_run

        run = create_run(self.cohort, self.out, self.settings)
        for name in (each for each in STAGES if each not in ON_REQUEST):
            if run.finished(name):
                print(f"{name}: already done")
                continue
            started = time.perf_counter()
            with Bars() as bars:
                written = stage(name)(run, bars)
            print(f"{name}: {time.perf_counter() - started:.0f} s, wrote {written}")
            tell_weights(run, name)
        return wrote("report", run.path("report.html"))


def stage(name: str) -> Callable[[Any, "Bars"], Path]:
    """The function behind a stage's name; torch is imported by those that open a model alone."""
    if name == "split":
        from csasn.cohort.split import split_run

        return lambda run, _: split_run(run)
    if name == "fit":
        from csasn.learning.fit import fit_run

        return lambda run, bars: fit_run(run, report=bars.report, say=bars.say)
    if name == "predict":
        from csasn.reading.predict import predict_run

        return lambda run, bars: predict_run(run, report=bars.report)
    if name == "audit":
        from csasn.reading.audit import audit_run

        return lambda run, bars: audit_run(run, report=bars.report)
    if name == "evaluate":
        from csasn.evidence.evaluate import evaluate_run

        return lambda run, _: evaluate_run(run)
    from csasn.report.page import report_run

    return lambda run, _: report_run(run)


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


class Bars:
    """Progress bars with the time left, on standard error; a part that takes no time shows none."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Ready to draw; nothing is drawn before the first report."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop drawing, whatever happened."""
        if self._tasks:
            self._progress.stop()

    def report(self, what: str, done: int, total: int, note: str = "") -> None:
        """Part `what` has done so many of its total; `note` says how well."""
        if not self._tasks:
            self._progress.start()
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, note="")
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)

    def say(self, words: str) -> None:
        """Something to be read, on standard error, above the bars."""
        self._progress.console.print(f"csasn: {words}", markup=False, highlight=False, soft_wrap=True)

    def part(self, what: str) -> Callable[[int, int], None]:
        """The report of one part."""
        return lambda done, total: self.report(what, done, total)


def wrote(what: str, path: Path) -> int:
    """Say where a result lies; exit code 0."""
    print(f"Wrote the {what}: {path.resolve()}")
    return 0


COMMANDS: dict[str, type] = {
    command.__name__.lower(): command
    for command in (Simulate, Ingest, Check, Split, Fit, Status, Predict, Audit, Refusal, Evaluate, Report, Run)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `csasn`; a CsasnError ends it with its message alone and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"csasn {__version__}")
        return
    try:
        code = parsed(given)()
    except CsasnError as error:
        print(f"csasn: {error}", file=sys.stderr)
        code = EXIT_STOPPED if isinstance(error, StoppedError) else EXIT_REFUSED
    except KeyboardInterrupt:
        print("csasn: interrupted; run the same command again to go on.", file=sys.stderr)
        code = EXIT_INTERRUPTED
    if code:
        sys.exit(code)


def parsed(given: list[str]) -> Callable[[], int]:
    """The command that the arguments name, ready to call; settings come from --config, then from the arguments.

    Only the named command's parser is built, and without a command only the list of commands, so that help is quick.
    """
    if not given or given[0] not in COMMANDS:
        bare = [
            Annotated[dataclass(type(command.__name__, (), {"__doc__": command.__doc__})), tyro.conf.subcommand(name)]
            for name, command in COMMANDS.items()
        ]
        overview: Any = Union[tuple(bare)]  # noqa: UP007 - built at run time
        tyro.cli(overview, args=given, prog="csasn", description="Rare thyroid carcinoma recognition in ultrasound.")
    name, options = given[0], given[1:]
    command = COMMANDS[name]
    chosen: Callable[[], int]
    if command not in (Ingest, Split, Run):
        chosen = tyro.cli(command, args=options, prog=f"csasn {name}")
        return chosen
    from pydantic import ValidationError

    from csasn.config import refused_settings

    if name == "split":
        options = [word.replace("--scheme", "--split.scheme") for word in options]
    try:
        chosen = tyro.cli(configured(command, config_path(options)), args=options, prog=f"csasn {name}")
    except ValidationError as error:
        raise refused_settings(error, source="The command line") from None
    return chosen


def configured(command: type, config: Path | None) -> type:
    """The command with every setting as an argument, whose defaults are those of a TOML file where one is given."""
    from csasn.config import Configuration, IngestSettings, read_settings

    kind = IngestSettings if command is Ingest else Configuration
    settings = kind() if config is None else read_settings(config, kind)
    body = {
        "__annotations__": {"settings": Annotated[kind, tyro.conf.arg(name="")]},
        "settings": field(default_factory=lambda: settings),
        "__doc__": command.__doc__,
        "__module__": command.__module__,
    }
    return dataclass(frozen=True, kw_only=True)(type(command.__name__, (command,), body))


def config_path(given: Sequence[str]) -> Path | None:
    """The file behind --config, wherever it stands."""
    for number, word in enumerate(given):
        if word == "--config" and number + 1 < len(given):
            return Path(given[number + 1])
        if word.startswith("--config="):
            return Path(word.removeprefix("--config="))
    return None
