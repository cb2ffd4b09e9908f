"""Resume: cut after any step of either stage, a training goes on to the same bits as one that was never cut."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from csasn.errors import StoppedError
from csasn.learning.generations import Generations
from csasn.learning.keeper import Keeper
from csasn.learning.optimisation import Stage
from csasn.learning.state import Learning
from csasn.learning.stopping import StopSignal
from csasn.learning.trainee import FoldRows, build_trainee
from csasn.learning.training import Course, train_stage
from csasn.learning.tree import take_apart
from small_training import CONFIGURATION, ROWS, branches, cohort, eyes

FEW = FoldRows(fold=3, train=ROWS.train[:20], tuning=ROWS.tuning[:6])
STAGES = (
    Stage(name="frozen", n_epochs=3, learning_rate=3e-3),
    Stage(name="finetune", n_epochs=2, learning_rate=1e-4),
)
N_BATCHES, N_STEPS = 3, 15
ORIGIN = {"classes": ["benign", "PTC", "FTC"]}


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


def fingerprint(learning: Learning) -> str:
    """SHA-256 over every tensor and value of a state but the seconds that it took."""
    tensors, plain = take_apart(learning.tree())
    plain["seconds"] = 0
    for row in plain["stage_history"]:
        row["images_per_s"] = 0
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def train(fabric: Fabric, folder: Path, *, cut_at: int | None, every_steps: int = 1) -> list[str]:
    """Fingerprints after each step of both stages, from the saved state on; stopped as by SIGTERM after `cut_at`."""
    stop, found = StopSignal(), []
    keeper = Keeper(Generations(folder, say=lambda _: None), ORIGIN, every_steps=every_steps, every_s=0.0, stop=stop)
    torch.manual_seed(0)
    trainee = build_trainee("csasn", branches(), cohort(), FEW.train, CONFIGURATION)

    def follow(learning: Learning, _n_steps: int, _loss: float) -> None:
        found.append(fingerprint(learning))
        stop.requested = keeper.steps_before + learning.step + 1 == cut_at

    stop.requested = cut_at == 1
    for stage in STAGES:
        if keeper.is_past(stage.name):
            continue
        course = Course(
            fabric=fabric,
            trainee=trainee,
            eyes=eyes(frozen=stage.name == "frozen"),
            rows=FEW,
            stage=stage,
            configuration=CONFIGURATION,
        )
        keeper.stage_over(train_stage(course, keeper=keeper, follow=follow), stage.n_epochs * N_BATCHES)
    found.append(hashlib.sha256(json.dumps([row["tuning_loss"] for row in keeper.earlier]).encode()).hexdigest())
    found.append(hashlib.sha256(b"".join(each.numpy().tobytes() for each in trainee.state_dict().values())).hexdigest())
    return found


@pytest.fixture(scope="module")
def uncut(fabric: Fabric, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    found = train(fabric, tmp_path_factory.mktemp("uncut"), cut_at=None, every_steps=0)
    assert len(set(found)) == N_STEPS + 2
    return found


@pytest.mark.parametrize("cut_at", [1, 3, 5, 9, 10, 12, 14])
def test_cut_after_a_step_the_rest_is_the_same_bit_for_bit(
    fabric: Fabric, uncut: list[str], tmp_path: Path, cut_at: int
) -> None:
    with pytest.raises(StoppedError, match="the state was saved"):
        train(fabric, tmp_path, cut_at=cut_at, every_steps=0)
    assert train(fabric, tmp_path, cut_at=None, every_steps=0) == uncut[cut_at:]
