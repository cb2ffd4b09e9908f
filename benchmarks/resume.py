"""Fifty random cut points in both stages: after the cut, every step and the end are bit for bit those of an uncut run.

A small network trains through a frozen stage (10 epochs of 3 batches) and fine-tuning (8 epochs of 3) in a process that
ends by SIGKILL after a random step, with a state saved every 1 to 5 steps; the next process goes on. After every one of
its steps a SHA-256 is taken over the weights, the optimiser's state, the schedule, the moving average, the best
weights, the random numbers' state, the sampler's position and the metrics, and compared with that of an uncut run.

    OMP_NUM_THREADS=1 python benchmarks/resume.py [CUTS]

Bar: every hash equal, for each of 50 cuts.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from csasn.learning.optimisation import Stage
from csasn.learning.state import TrainingState
from tests.support.small_unit import N_BATCHES, built, ended, fingerprint_of, in_child, start_fabric, train_unit

STAGES = (
    Stage(name="frozen", n_epochs=10, learning_rate=3e-3),
    Stage(name="finetune", n_epochs=8, learning_rate=1e-4),
)


def life(folder: Path, log: Path, *, cut_at: int | None, every_steps: int) -> None:
    """Train from the saved state on, logging the hash of every step; end by SIGKILL after step `cut_at`."""
    found: dict[int, str] = {}

    def on_step(learning: TrainingState, step: int) -> None:
        found[step] = fingerprint_of(learning.tree())
        if step == cut_at:
            os.kill(os.getpid(), signal.SIGKILL)

    end = train_unit(start_fabric(), folder, on_step, stages=STAGES, every_steps=every_steps)
    log.write_text(json.dumps({**{str(step): each for step, each in found.items()}, "end": end}))


def main() -> None:
    """Cut, resume, compare and print."""
    n_cuts = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    rng, started = np.random.default_rng(0), time.perf_counter()
    built()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        log = root / "log.json"
        if ended(in_child(lambda: life(root / "uncut", log, cut_at=None, every_steps=0))) != 0:
            raise SystemExit("the uncut training failed")
        uncut = json.loads(log.read_text())
        cuts = sorted(rng.permutation(np.arange(1, len(uncut) - 1))[:n_cuts].tolist())
        n_hashes = n_wrong = n_mid_epoch = 0
        for cut_at in cuts:
            every_steps, folder = int(rng.integers(1, 6)), root / f"cut-{cut_at}"
            code = ended(
                in_child(lambda f=folder, c=cut_at, e=every_steps: life(f, log, cut_at=c, every_steps=e))  # type: ignore[misc]
            )
            if code != -signal.SIGKILL:
                raise SystemExit(f"the training to be cut ended with {code}")
            if ended(in_child(lambda f=folder, e=every_steps: life(f, log, cut_at=None, every_steps=e))) != 0:  # type: ignore[misc]
                raise SystemExit("the resumed training failed")
            resumed = json.loads(log.read_text())
            wrong = [step for step, each in resumed.items() if uncut[step] != each]
            n_hashes, n_wrong = n_hashes + len(resumed), n_wrong + len(wrong)
            n_mid_epoch += cut_at % N_BATCHES != 0
    n_frozen = sum(cut <= STAGES[0].n_epochs * N_BATCHES for cut in cuts)
    print(f"{len(cuts)} cuts: {n_frozen} in the frozen stage, {len(cuts) - n_frozen} in fine-tuning, ", end="")
    print(f"{n_mid_epoch} within an epoch; {n_hashes} hashes compared, {n_wrong} differ")
    print(f"{time.perf_counter() - started:.0f} s")
    if n_wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
