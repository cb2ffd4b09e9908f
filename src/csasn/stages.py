"""The stages of a run: what each one reads, and which settings it depends on besides those of training."""

from collections.abc import Iterable
from dataclasses import dataclass

from csasn.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage: the stages whose files it reads, and the settings of its own, by dotted name or the name of a table.

    `on_request`: `csasn run` leaves it to its own command.
    """

    reads: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    on_request: bool = False


STAGES: dict[str, Stage] = {
    "split": Stage(),
    "fit": Stage(reads=("split",)),
    "predict": Stage(reads=("fit",), settings=("predict.gated_attention",)),
    "calibrate": Stage(reads=("predict",), settings=("evaluate.set_alpha", "evaluate.calibrated_together", "novelty")),
    "audit": Stage(reads=("predict",), settings=("shortcuts.n_patients",)),
    "explain": Stage(reads=("predict",), settings=("explain.n_patients",)),
    "abstention": Stage(reads=("predict",), on_request=True),
    "evaluate": Stage(
        reads=("calibrate", "audit", "explain", "abstention"), settings=("evaluate", "shortcuts", "explain")
    ),
    "report": Stage(reads=("evaluate",)),
}
# Settings that no stage's files depend on: where a training runs, how often it is saved, and where its curves go.
WITHOUT_EFFECT = ("fit.accelerator", "fit.save_every_steps", "fit.save_every_s", "fit.track")


def require_stage(name: str) -> Stage:
    """The stage of a name; BadInputError, naming all of them, where there is none."""
    if name not in STAGES:
        raise BadInputError(f"There is no stage {name!r}. The stages are {', '.join(STAGES)}.")
    return STAGES[name]


def later_stages(name: str) -> frozenset[str]:
    """The stages that read, directly or through others, what this one writes."""
    require_stage(name)
    later: set[str] = set()
    for other, stage in STAGES.items():  # a stage stands after all that it reads
        if name in stage.reads or later.intersection(stage.reads):
            later.add(other)
    return frozenset(later)


def needs_training(setting: str) -> bool:
    """Whether a change of a setting, by its dotted name, asks for another training."""
    return setting not in WITHOUT_EFFECT and not any(_depends(stage, setting) for stage in STAGES.values())


def stages_to_redo(settings: Iterable[str]) -> frozenset[str]:
    """The stages to be done again where these settings, none of which needs a training, change."""
    changed = tuple(settings)
    direct = {name for name, stage in STAGES.items() if any(_depends(stage, setting) for setting in changed)}
    return frozenset(direct.union(*(later_stages(name) for name in direct)))


def _depends(stage: Stage, setting: str) -> bool:
    return any(setting == each or setting.startswith(f"{each}.") for each in stage.settings)
