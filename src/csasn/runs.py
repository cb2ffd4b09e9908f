"""The run folder: plain files, each remembered with the hash of what it was made from."""

import hashlib
import json
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import polars as pl

from csasn import __version__
from csasn.config import Configuration
from csasn.csv_cells import restored_cells
from csasn.errors import BadInputError, MismatchError, listing
from csasn.files import file_bytes, file_sha256, own_path, read_json, write_bytes, write_json
from csasn.frames import read_csv
from csasn.progress import Log
from csasn.schema import LEDGER_COLUMNS, SPLIT_COLUMNS, ClassList, classes_of, manifest_sha256, read_manifest
from csasn.settings_files import flat_settings, read_configuration, to_toml
from csasn.stages import STAGES, later_stages, needs_training, stages_to_redo

VERSIONS_OF = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "polars")
SHARED_CACHE = {"cache": str(Path("..", "..", "cache"))}  # the units of a study share its cache by this link
COHORT_FILES = ("manifest.parquet", "ledger.csv", "fingerprints.parquet")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder that belongs to one cohort and one configuration.

    `run.json` holds both hashes, the versions, and per stage the SHA-256 of its inputs and outputs.
    """

    folder: Path
    configuration: Configuration

    def path(self, name: str) -> Path:
        """A file of the run folder, by its plain name; BadInputError for a link or a special file in its place."""
        return own_path(self.folder, name, links=SHARED_CACHE)

    def manifest(self) -> pl.DataFrame:
        """The manifest, row order kept; read once."""
        return self._manifest

    def classes(self) -> ClassList:
        """The class list that the manifest declares."""
        return self._classes

    @cached_property
    def _manifest(self) -> pl.DataFrame:
        return read_manifest(self.folder)

    @cached_property
    def _classes(self) -> ClassList:
        return classes_of(self._manifest)

    def certificate(self) -> dict[str, object]:
        """The integrity certificate: images_root, simulated, counts, checks."""
        return read_json(self.path("certificate.json"))

    def images_root(self) -> Path:
        """The folder below which image_path and mask_path lie."""
        return Path(str(self.certificate()["images_root"]))

    def simulated(self) -> bool:
        """Whether the cohort is simulated; every page and figure then says so."""
        return bool(self.certificate()["simulated"])

    def split(self) -> pl.DataFrame:
        """The split: fold, image_path, patient_id, partition."""
        self.require("split.csv")
        return restored_cells(read_csv(self.path("split.csv"), SPLIT_COLUMNS))

    def ledger(self) -> pl.DataFrame:
        """The ledger: item, outcome, code, reason."""
        return restored_cells(read_csv(self.path("ledger.csv"), LEDGER_COLUMNS))

    def record(self) -> dict[str, object]:
        """The content of run.json."""
        return read_json(self.path("run.json"))

    def stages(self) -> dict[str, dict[str, object]]:
        """What run.json remembers of each finished stage."""
        found = self.record().get("stages", {})
        if not isinstance(found, dict):
            raise BadInputError(f"{self.path('run.json')} holds no table of stages: start the run in a new folder.")
        return found

    def require(self, name: str) -> Path:
        """The path of a file that an earlier stage made, after checking that it is still that very file.

        Raises BadInputError where no stage has made it, MismatchError where its hash changed since.
        """
        made_by = [(stage, entry) for stage, entry in self.stages().items() if name in _hashes(entry, "outputs")]
        if not made_by or not self.path(name).is_file():
            raise BadInputError(
                f"{self.path(name)} has not been made yet: run the earlier stages "
                f"({', '.join(STAGES)}, in this order) or `csasn run`."
            )
        stage, entry = made_by[0]
        expected, found = _hashes(entry, "outputs")[name], file_sha256(self.path(name))
        if found != expected:
            raise MismatchError(
                f"{self.path(name)} is not the file that stage `{stage}` wrote.\n"
                f"  expected sha256 {expected}\n  found    sha256 {found}\n"
                f"Restore it, or run `csasn {stage}` again."
            )
        return self.path(name)

    def require_certificate(self) -> None:
        """Refuse to go without a certificate of this very manifest and split, every check of the split passed.

        Raises MismatchError where it certifies another manifest or split, BadInputError where a check is missing or
        failed.
        """
        certificate, split = self.certificate(), self.require("split.csv")
        for what, stated, found in (
            ("manifest", certificate.get("manifest_sha256"), manifest_sha256(self.manifest())),
            ("split", certificate.get("split_sha256"), file_sha256(split)),
        ):
            if stated != found:
                raise MismatchError(
                    f"The certificate of {self.folder} is of another {what}.\n  certificate: {stated}\n"
                    f"  {what}: {found}\nRun `csasn split` again in a new folder."
                )
        checks = certificate.get("split_checks")
        failed = [each["name"] for each in checks if not each["passed"]] if isinstance(checks, list) else ["no checks"]
        if failed:
            raise BadInputError(f"Nothing is trained on a split that leaks. Failed:\n{listing(failed)}")

    def remember(self, name: str, value: str | None) -> None:
        """Write a fact that outlives every stage into run.json, or take it out where it is None."""
        record = {key: each for key, each in self.record().items() if key != name}
        write_json(self.path("run.json"), record if value is None else record | {name: value})

    def finished(self, stage: str) -> bool:
        """Whether a stage's outputs stand as it wrote them and its inputs are still those that it read."""
        entry = self.stages().get(stage)
        if entry is None:
            return False
        expected = _hashes(entry, "inputs") | _hashes(entry, "outputs")
        return all(self.path(name).is_file() and file_sha256(self.path(name)) == sha for name, sha in expected.items())

    def finish(
        self, stage: str, *, inputs: tuple[str, ...], outputs: tuple[str, ...], notes: dict[str, object] | None = None
    ) -> None:
        """Remember a stage with the hashes of what it read and wrote; the stages that read its files are forgotten."""
        record, forgotten = self.record(), later_stages(stage)
        stages: dict[str, object] = {name: entry for name, entry in self.stages().items() if name not in forgotten}
        stages[stage] = {
            "inputs": {name: file_sha256(self.path(name)) for name in inputs},
            "outputs": {name: file_sha256(self.path(name)) for name in outputs},
            **(notes or {}),
        }
        write_json(
            self.path("run.json"), record | {"stages": {name: stages[name] for name in STAGES if name in stages}}
        )


def _hashes(entry: dict[str, object], side: str) -> dict[str, str]:
    found = entry.get(side, {})
    return found if isinstance(found, dict) else {}


def create_run(cohort: Path, folder: Path, configuration: Configuration, *, log: Log | None = None) -> Run:
    """A new run folder for a cohort, or the existing one when it belongs to the same cohort and trainings.

    Settings that no training depends on may change: the folder takes the new ones, the stages that depend on them are
    forgotten, and `log` is told which. Raises MismatchError where the folder belongs to another cohort, or where a
    setting of training differs, naming it with both values; BadInputError where the folder holds something else.
    """
    manifest = read_manifest(cohort)
    certificate = read_json(cohort / "certificate.json")
    hashes = {"manifest_sha256": manifest_sha256(manifest), **settings_sha256(configuration)}
    if certificate.get("manifest_sha256") != hashes["manifest_sha256"]:
        raise MismatchError(
            f"{cohort / 'manifest.parquet'} is not the manifest that its certificate certifies.\n"
            f"  certificate: {certificate.get('manifest_sha256')}\n  manifest:    {hashes['manifest_sha256']}\n"
            "Make the cohort again with `csasn ingest` or `csasn simulate`."
        )
    if (folder / "run.json").is_file():
        _refuse_another_cohort(folder, read_json(folder / "run.json"), hashes["manifest_sha256"])
        return _with_settings(_opened(folder), configuration, log)
    if folder.exists() and any(folder.iterdir()):
        raise BadInputError(f"{folder} is not empty and is not a run folder: choose another --out.")
    root = (cohort / str(certificate["images_root"])).resolve()
    for name in COHORT_FILES:
        if (cohort / name).is_file():  # fingerprints are needed by `csasn check` alone
            write_bytes(folder / name, file_bytes(cohort / name))
    write_json(folder / "certificate.json", certificate | {"images_root": str(root)})
    write_bytes(folder / "config.toml", to_toml(configuration).encode())
    write_json(
        folder / "run.json",
        {
            **hashes,
            "csasn": __version__,
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in VERSIONS_OF},
            "seed": configuration.fit.seed,
            "stages": {},
        },
    )
    return Run(folder=folder, configuration=configuration)


def settings_sha256(configuration: Configuration) -> dict[str, str]:
    """SHA-256 of the settings that training depends on, and of all others, by their names in run.json."""
    flat = flat_settings(configuration)
    parts = {
        "training_sha256": {name: value for name, value in flat.items() if needs_training(name)},
        "evaluation_sha256": {name: value for name, value in flat.items() if not needs_training(name)},
    }
    return {name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for name, part in parts.items()}


def _refuse_another_cohort(folder: Path, record: dict[str, object], manifest: str) -> None:
    if record.get("manifest_sha256") != manifest:
        raise MismatchError(
            f"The run folder {folder} was made from another cohort.\n"
            f"  it was made from {record.get('manifest_sha256')}\n  this command has {manifest}\n"
            "Choose another --out, or give the cohort that it was made from."
        )


def _with_settings(run: Run, configuration: Configuration, log: Log | None) -> Run:
    """The run with these settings, where none differs that its trainings depend on."""
    before, after = flat_settings(run.configuration), flat_settings(configuration)
    changed = {name: f"{name}: {before[name]!r} -> {after[name]!r}" for name in after if after[name] != before[name]}
    if costly := [words for name, words in changed.items() if needs_training(name)]:
        raise MismatchError(
            f"The run folder {run.folder} was made with other settings of training (its own -> this command's):\n"
            f"{listing(costly)}\nChoose another --out, or give the settings that it was made with."
        )
    record, hashes = run.record(), settings_sha256(configuration)
    if not changed and record.get("evaluation_sha256") == hashes["evaluation_sha256"]:
        return run
    redo = stages_to_redo(changed)
    stages = {name: entry for name, entry in run.stages().items() if name not in redo}
    # The stages are forgotten first: cut between the two writes, no figure stands that other settings made.
    write_json(run.path("run.json"), record | hashes | {"stages": stages})
    write_bytes(run.path("config.toml"), to_toml(configuration).encode())
    if log is not None:
        log(f"{run.folder} has new settings; nothing is trained again:\n{listing(list(changed.values()))}")
    return Run(folder=run.folder, configuration=configuration)


def open_run(folder: Path | str) -> Run:
    """An existing run folder; its manifest and its settings are checked against run.json.

    Raises BadInputError where it is no run folder, MismatchError where either was changed by hand.
    """
    folder = Path(folder)
    run = _opened(folder)
    stated, expected = run.record().get("evaluation_sha256"), settings_sha256(run.configuration)["evaluation_sha256"]
    if expected != stated:
        raise MismatchError(
            f"{folder / 'config.toml'} has another configuration of evaluation than {folder / 'run.json'} remembers.\n"
            f"  run.json has     {stated}\n  config.toml gives {expected}\n"
            "Give the settings to `csasn run` with the same cohort and --out: it takes them without a training."
        )
    return run


def _opened(folder: Path) -> Run:
    """The run of a folder, its manifest and its settings of training checked."""
    for name in (*COHORT_FILES, "run.json", "config.toml", "certificate.json"):
        own_path(folder, name)
    if not (folder / "run.json").is_file():
        raise BadInputError(f"{folder} is not a run folder (it has no run.json): make one with `csasn split` or `run`.")
    configuration = read_configuration(folder / "config.toml")
    record = read_json(folder / "run.json")
    if "training_sha256" not in record:
        raise MismatchError(
            f"{folder / 'run.json'} is of an earlier version: it has no training_sha256 and evaluation_sha256. "
            "Start the run in a new folder."
        )
    _refuse_another_cohort(folder, record, manifest_sha256(read_manifest(folder)))
    expected, stated = settings_sha256(configuration)["training_sha256"], record["training_sha256"]
    if expected != stated:
        raise MismatchError(
            f"{folder / 'config.toml'} has another configuration of training than {folder / 'run.json'} remembers.\n"
            f"  run.json has     {stated}\n  config.toml gives {expected}\n"
            "Restore config.toml, or start a run with these settings in a new folder."
        )
    return Run(folder=folder, configuration=configuration)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


CSASN = "csasn"


def models_of(run: Run) -> tuple[str, ...]:
    """CSASN and its baselines, in the order of training."""
    return (CSASN, *run.configuration.fit.baselines)


def checkpoint_path(run: Run, model: str, fold: int) -> Path:
    """Where the weights of one model on one fold lie."""
    return run.path(f"checkpoints/{model}/fold{fold}.safetensors")
