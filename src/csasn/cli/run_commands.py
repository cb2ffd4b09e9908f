"""Commands on a run folder: its stages one by one, and all of them in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import tyro

from csasn.cli.bars import Bars
from csasn.cli.outcome import tell_of_split, tell_weights, wrote
from csasn.errors import BadInputError, StoppedError


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
    """Train CSASN and its baselines on every fold; goes on from the last saved step."""

    devices: int = 1
    """Devices of this machine that share every batch: GPUs, or processes on a CPU."""
    nodes: int = 1
    """Machines that take part, each with as many devices; started by SLURM or torchrun."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """How several devices share the network: each has all of it (ddp), or a part of the transformer's blocks (fsdp)."""
    profile: bool = False
    """Print where the time of a training step goes, measured on a few steps of which nothing is kept; train nothing."""

    def __call__(self) -> int:
        """Train, or profile; with several devices the first process alone reports."""
        from csasn.learning.fit import fit_run
        from csasn.learning.profile import profile_run, table
        from csasn.network.distributed import rank
        from csasn.runs import open_run

        run = open_run(self.run)
        if self.profile:
            with Bars() as bars:
                profiles = profile_run(run, progress=bars.progress)
            print("\n".join(table(profiles)))
            return 0
        try:
            with Bars() as bars:
                written = fit_run(
                    run,
                    progress=bars.progress,
                    log=bars.log,
                    n_devices=self.devices,
                    n_nodes=self.nodes,
                    strategy=self.strategy,
                )
        except StoppedError:
            if rank() > 0:
                return 0
            raise
        if rank() > 0:
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
        from csasn.learning.monitoring.status import lines, status_of
        from csasn.runs import open_run

        print("\n".join(lines(status_of(open_run(self.run)))))
        return 0


class Predict(OfRun):
    """Read the tuning and test images of every fold with the models trained for it."""


class Calibrate(OfRun):
    """Fit temperatures, operating points, prediction sets and the novelty gate on every fold's tuning patients."""


class Audit(OfRun):
    """Read test images without marks, without the nodule and from their border alone; `evaluate` says what leaks."""


class Explain(OfRun):
    """Map what in a test image spoke for the model's answer, and again with random weights; `evaluate` measures it."""


@dataclass(frozen=True, kw_only=True)
class Abstention(OfRun):
    """Try "none of the trained types": train CSASN without each rare class and read foreign pictures; then evaluate."""

    foreign: tuple[Path, ...] = ()
    """Cohort folders of other organs or devices, beside the photographs and noise that are always read."""

    def __call__(self) -> int:
        """Write abstention/; `csasn evaluate` turns it into abstention.json."""
        from csasn.inference.abstention import abstention_run
        from csasn.runs import open_run

        run = open_run(self.run)
        with Bars() as bars:
            written = abstention_run(run, self.foreign, progress=bars.progress, log=bars.log)
        return wrote("readings of what was not trained on", written)


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Turn predictions into metrics with intervals, per patient, nodule and image."""

    beside: Path | None = None
    """Run folder of the same cohort under another split, whose figures are set beside these with paired intervals, now
    and whenever this run is evaluated again; "none" ends that."""

    def __call__(self) -> int:
        """Write metrics.json."""
        if self.beside is None:
            return OfRun.__call__(self)
        from csasn.evidence.evaluate import evaluate_run
        from csasn.evidence.generalisation import remember
        from csasn.runs import open_run

        run = open_run(self.run)
        if self.beside == Path("none"):
            remember(run, None)
            return wrote("evaluate", evaluate_run(run))
        return wrote("evaluate", evaluate_run(run, beside_run=open_run(self.beside)))


class Report(OfRun):
    """Write report.html, one self-contained page, and its figures."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Set CSASN of two runs against each other on the patients that both tested: A minus B, paired."""

    run_a: tyro.conf.Positional[Path]
    """Run folder A."""
    run_b: tyro.conf.Positional[Path]
    """Run folder B, of the same cohort and with the same tested patients."""
    out: Path | None = None
    """Folder for comparison.json, comparison.html, figures and tables; RUN_A/compared-with-RUN_B where not given."""
    common_patients: bool = False
    """Compare on those patients alone whom both runs tested on the same pictures, and say how many were left out."""

    def __call__(self) -> int:
        """Write comparison.json, then the page."""
        from csasn.evidence.compare_runs import compare_runs
        from csasn.report.comparison_page import report_comparison
        from csasn.runs import open_run

        run_a, run_b = open_run(self.run_a), open_run(self.run_b)
        out = self.out or run_a.folder / f"compared-with-{run_b.folder.resolve().name}"
        return wrote(
            "comparison", report_comparison(compare_runs(run_a, run_b, out, common_patients=self.common_patients))
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """The main job: split, fit, predict, calibrate, audit, explain, evaluate and report; goes on where it stopped."""

    cohort: Path
    """Cohort folder made by ingest or simulate."""
    out: Path
    """Run folder to make, or to go on with."""
    config: Path | None = None
    """TOML file of settings that differ from the defaults, for instance configs/lite.toml."""
    settings: ClassVar[Any]  # a Configuration; becomes an argument in `configured`

    def __call__(self) -> int:
        """Run every stage that is not finished yet."""
        from csasn.runs import create_run
        from csasn.stages import STAGES

        run = create_run(self.cohort, self.out, self.settings, log=print)
        for name in (each for each, stage in STAGES.items() if not stage.on_request):
            if run.finished(name):
                print(f"{name}: already done")
                continue
            started = time.perf_counter()
            with Bars() as bars:
                written = stage(name)(run, bars)
            print(f"{name}: {time.perf_counter() - started:.0f} s, wrote {written}")
            tell_weights(run, name)
            if name == "split":
                tell_of_split(run)
        return wrote("report", run.path("report.html"))


def stage(name: str) -> Callable[[Any, Bars], Path]:
    """The function behind a stage's name; torch is imported by those that open a model alone."""
    if name == "split":
        from csasn.cohort.split import split_run

        return lambda run, _: split_run(run)
    if name == "fit":
        from csasn.learning.fit import fit_run

        return lambda run, bars: fit_run(run, progress=bars.progress, log=bars.log)
    if name == "predict":
        from csasn.inference.predict import predict_run

        return lambda run, bars: predict_run(run, progress=bars.progress)
    if name == "calibrate":
        from csasn.calibration.calibrate import calibrate_run

        return lambda run, _: calibrate_run(run)
    if name == "audit":
        from csasn.inference.shortcut_audit import audit_run

        return lambda run, bars: audit_run(run, progress=bars.progress)
    if name == "explain":
        from csasn.inference.explanations import explain_run

        return lambda run, bars: explain_run(run, progress=bars.progress)
    if name == "evaluate":
        from csasn.evidence.evaluate import evaluate_run

        return lambda run, _: evaluate_run(run)
    if name == "report":
        from csasn.report.run_page import report_run

        return lambda run, _: report_run(run)
    from csasn.stages import STAGES

    raise BadInputError(f"There is no stage {name!r} that runs by itself. The stages are {', '.join(STAGES)}.")
