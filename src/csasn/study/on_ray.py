"""The Ray engine: units as tasks of a Ray cluster that runs already, one a task, with the resources that each needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from csasn.cluster import connected_ray
from csasn.errors import BadInputError
from csasn.progress import Progress
from csasn.study.engine import Done, unreported, unsaid
from csasn.study.units import Outcome, Trial, do_unit


def run_ray(units: Sequence[Trial], *, cpus: int, gpus: float, progress: Progress, done: Done) -> None:
    """Do every unit on the cluster that RAY_ADDRESS or this machine names; `done` is told how each ended.

    Every node must have this version of csasn, and see the study and the cohort under the same paths. A task that dies
    is not tried again: it is listed as failed, and the next call of the study does it. Raises BadInputError where Ray
    is not installed, where there is no cluster, or where no node of it has what a unit needs.
    """
    if not units:  # a finished study needs no cluster
        return
    with connected_ray() as ray:
        _refuse_too_much(ray.nodes(), cpus=cpus, gpus=gpus)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(do_unit_in_task)
        waiting = {task.remote(str(unit.run.folder.resolve()), cpus): unit for unit in units}
        for number in range(1, len(units) + 1):
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            done(_outcome(ray, ended, waiting.pop(ended)))
            progress("units", number, len(units))


def do_unit_in_task(folder: str, n_threads: int) -> Outcome:
    """A unit in a Ray worker, with as many threads as the task has cores: so many give the same numbers anywhere."""
    torch.set_num_threads(n_threads)
    return do_unit(Path(folder), unreported, unsaid)


def _outcome(ray: Any, ended: Any, unit: Trial) -> Outcome:
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayError as error:
        told = next(line for line in [*str(error).splitlines(), type(error).__name__] if line.strip())
        return Outcome(name=unit.name, seconds=0.0, error=f"its Ray task died: {told}")
    return outcome


def _refuse_too_much(nodes: Sequence[dict[str, Any]], *, cpus: int, gpus: float) -> None:
    """A task that no node can take would wait for ever."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(each.get("CPU", 0) >= cpus and each.get("GPU", 0) >= gpus for each in alive):
        return
    found = "; ".join(f"{each.get('CPU', 0):g} cores, {each.get('GPU', 0):g} GPUs" for each in alive) or "no node"
    raise BadInputError(
        f"One node must have what a unit needs, {cpus} cores and {gpus:g} GPUs; the cluster has {found}. "
        "Lower --cpus or --gpus, or start a larger node."
    )
