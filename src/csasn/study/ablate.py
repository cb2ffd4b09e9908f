"""The whole study: units made, done and gone on with; then what they say of each module, as study.json."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

from csasn.cohort.split import split_run
from csasn.documents import write_document
from csasn.errors import BadInputError, listing
from csasn.evidence.ablation import Arm, ablation_content
from csasn.evidence.study import Cost, Study, StudySuite, UnitState
from csasn.progress import Log
from csasn.study.cost import cost_of, cost_of_logistic_regression
from csasn.study.engine import Engine
from csasn.study.suite import FULL, Resolved
from csasn.study.units import FAILURE, Outcome, Trial, make_units

STUDY = "study.json"
BASELINES = {"vit-logistic-regression": "logistic regression on the ViT's class token"}


def ablate(
    cohort: Path,
    resolved: Resolved,
    study: Path,
    *,
    variants: Sequence[str] = (),
    engine: Engine,
    log: Log,
) -> Path:
    """Do every unit that is not finished, of the named variants or of all where none is named; write study.json.

    Failures are listed in it. Raises MismatchError where a unit's folder belongs to another cohort or other settings,
    and BadInputError where the suite has no such variant or the cohort cannot be split as it says: then nothing is
    trained.
    """
    names = [variant.name for variant in resolved.suite.variants]
    if unknown := [name for name in variants if name not in names]:
        raise BadInputError(
            f"--variants takes those of {resolved.path.name}: {', '.join(names)}. It has none named:\n"
            f"{listing(unknown)}"
        )
    units = make_units(cohort, resolved, study)
    left = [unit for unit in units if unit.variant in (variants or names) and not unit.finished()]
    log(f"{len(units)} units, {sum(unit.finished() for unit in units)} of them finished before; {len(left)} to do.")

    if left and not left[0].run.finished("split"):
        split_run(left[0].run)  # what no unit could do is said once, not as a failure of every unit

    def done(outcome: Outcome) -> None:
        ended = f"FAILED, {outcome.error.splitlines()[0]}" if outcome.error else f"{outcome.seconds:.0f} s"
        log(f"{outcome.name}: {ended}")

    engine(left, done=done)
    return write_study(cohort, resolved, study, units)


def write_study(cohort: Path, resolved: Resolved, study: Path, units: Sequence[Trial]) -> Path:
    """study.json: the units and how they stand, each variant's figures, differences, verdict and cost."""
    finished = [unit for unit in units if unit.finished()]
    arms = [
        Arm(
            name=variant.name,
            module=variant.module,
            instead=variant.instead,
            runs={unit.seed: unit.run for unit in finished if unit.variant == variant.name},
        )
        for variant in resolved.suite.variants
    ]
    of_full = next(arm.runs for arm in arms if arm.name == FULL)
    arms += [
        Arm(name=baseline, module="CSASN", instead=BASELINES[baseline], runs=of_full, model=baseline)
        for baseline in resolved.suite.baselines
    ]
    run = units[0].run
    judged = ablation_content(arms, full=FULL)
    content = Study(
        cohort=cohort.resolve().name,
        simulated=run.simulated(),
        scheme=run.configuration.split.scheme,
        csasn=str(run.record()["csasn"]),
        manifest_sha256=str(run.record()["manifest_sha256"]),
        suite=StudySuite(
            file=resolved.path.name,
            sha256=resolved.sha256,
            seeds=list(resolved.suite.seeds),
            changed=resolved.changed,
        ),
        units=[_state(unit, finished) for unit in units],
        costs=_costs(finished, resolved.suite.baselines),
        **{each.name: getattr(judged, each.name) for each in fields(judged)},
    )
    write_document(study / STUDY, content)
    return study / STUDY


def _state(unit: Trial, finished: Sequence[Trial]) -> UnitState:
    failure = unit.run.path(FAILURE)
    state: Literal["finished", "failed", "waiting"] = "finished" if unit in finished else "waiting"
    error = ""
    if state == "waiting" and failure.is_file():
        state, error = "failed", failure.read_text(encoding="utf-8").strip().splitlines()[-1]
    return UnitState(name=unit.name, variant=unit.variant, seed=unit.seed, state=state, error=error)


def _costs(finished: Sequence[Trial], baselines: Sequence[str]) -> dict[str, Cost]:
    """Of each variant, and of each baseline of the full network, its first finished seed's cost."""
    found: dict[str, Cost] = {}
    for unit in finished:
        if unit.variant not in found:
            found[unit.variant] = cost_of(unit.run)
            if unit.variant == FULL:
                found |= {baseline: cost_of_logistic_regression(unit.run) for baseline in baselines}
    return found
