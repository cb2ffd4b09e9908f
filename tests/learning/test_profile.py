"""The profile: phases add up to the step, and the table tells them."""

import time

import numpy as np
from lightning_fabric import Fabric

from csasn.learning.monitoring.timing import PHASES, Phases
from csasn.learning.optimisation import Stage
from csasn.learning.profile import N_MEASURED, StepProfile, table
from csasn.learning.training import StageRun, train_stage
from tests.support.small_training import CONFIGURATION, ROWS, fresh_module, input_source


def test_phases_add_up_what_they_are_given() -> None:
    phases = Phases()
    with phases("decode"):
        time.sleep(0.02)
    with phases("forward"):
        time.sleep(0.06)
    assert phases.seconds["decode"] >= 0.02
    assert phases.total == sum(phases.seconds.values())
    assert phases.waiting == phases.seconds["decode"] / phases.total
    phases.clear()
    assert phases.total == 0


def test_the_phases_of_a_stage_are_its_time() -> None:
    course = StageRun(
        fabric=Fabric(accelerator="cpu", devices=1),
        module=fresh_module(),
        inputs=input_source(frozen=False),
        rows=ROWS,
        stage=Stage(name="finetune", n_epochs=1, learning_rate=1e-4),
        configuration=CONFIGURATION,
    )
    history = train_stage(course)
    assert all(course.phases.seconds[name] > 0 for name in PHASES)
    assert 0.8 < course.phases.total / (len(ROWS.train) / float(history[0]["images_per_s"])) <= 1


def test_the_table_gives_each_phase_and_the_whole() -> None:
    seconds = dict(zip(PHASES, np.array([1, 2, 3, 4, 5, 5]) / 100, strict=True))
    lines = table([StepProfile(stage="frozen", device="cpu", n_images=8, seconds=seconds)])
    assert lines[0] == f"stage frozen, 8 images a step on cpu, mean of {N_MEASURED} steps"
    assert lines[1].split() == ["decode", "10.0", "ms", "5.0%"]
    assert lines[-1].split() == ["step", "200.0", "ms,", "40.0", "images/s"]
