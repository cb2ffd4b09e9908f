"""Both stages of a small training with its checkpointer, run in this process or in one that may be killed."""

import copy
import functools
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric

from csasn.config import Configuration
from csasn.learning.checkpointing import TrainingCheckpointer
from csasn.learning.fsdp import whole
from csasn.learning.module import build_training_module
from csasn.learning.optimisation import Stage
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.pytree import flatten
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.rows import FoldRows
from csasn.learning.state import TrainingState
from csasn.learning.training import StageRun, train_stage
from csasn.network.backbones import Branch
from tests.support.small_training import CONFIGURATION, ROWS, branches, cohort, input_source

FEW = FoldRows(fold=3, train=ROWS.train[:20], tuning=ROWS.tuning[:6])
N_BATCHES = 3  # an epoch: 8, 8 and 4 rows
SHORT = (
    Stage(name="frozen", n_epochs=3, learning_rate=3e-3),
    Stage(name="finetune", n_epochs=2, learning_rate=1e-4),
)
ORIGIN = {"classes": ["benign", "PTC", "FTC"]}
Follow = Callable[[TrainingState, int], object]  # the stage, and the step counted through both


@functools.cache
def built() -> dict[str, Branch]:
    """The branches, built once: every training starts from a copy."""
    torch.manual_seed(1)
    return branches()


def start_fabric(accelerator: str = "cpu") -> Fabric:
    fabric = Fabric(accelerator=accelerator, devices=1, precision="32-true")
    fabric.launch()
    return fabric


def fingerprint_of(tree: dict[str, object]) -> str:
    """SHA-256 over every tensor and value of a state but the seconds that it took."""
    tensors, plain = flatten(tree)
    plain = json.loads(json.dumps(plain))
    plain["seconds"] = 0
    for row in (*plain["stage_history"], *plain.get("earlier", [])):
        row["images_per_s"] = 0
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_unit(
    fabric: Fabric,
    folder: Path,
    on_step: Follow,
    *,
    stages: tuple[Stage, ...] = SHORT,
    configuration: Configuration = CONFIGURATION,
    every_steps: int = 1,
    stop: StopSignal | None = None,
    log: Callable[[str], None] = lambda _: None,
    told: Callable[[int], object] = lambda _: None,
) -> str:
    """Train from the state in `folder` to the end; a fingerprint of the last weights and of every metric."""
    checkpointer = TrainingCheckpointer(
        Generations(folder, log=log),
        ORIGIN,
        every_steps=every_steps,
        every_s=0.0,
        stop=stop or StopSignal(),
        told=told,
    )
    own = copy.deepcopy(built())
    torch.manual_seed(0)
    module = build_training_module("csasn", own, cohort(), FEW.train, configuration)
    for stage in stages:
        if checkpointer.is_past(stage.name):
            continue
        course = StageRun(
            fabric=fabric,
            module=module,
            inputs=input_source(frozen=stage.name == "frozen", device=fabric.device),
            rows=FEW,
            stage=stage,
            configuration=configuration,
        )
        history = train_stage(
            course, checkpointer=checkpointer, on_step=lambda at, *_: on_step(at, checkpointer.steps_before + at.step)
        )
        checkpointer.stage_over(history, stage.n_epochs * N_BATCHES)
    metrics = [[row["train_loss"], row["tuning_loss"], row["tuning_auroc"]] for row in checkpointer.earlier]
    digest = hashlib.sha256(json.dumps(metrics).encode())
    for each in whole(module.state_dict()).values():
        digest.update(each.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def in_child(work: Callable[[], object]) -> int:
    """Fork a process that does the work and ends; its number. The parent must not have trained itself."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def ended(child: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int) -> int:
    """SIGKILL a child; its exit code."""
    os.kill(child, signal.SIGKILL)
    return ended(child)
