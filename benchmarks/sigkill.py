"""SIGKILL at random points of a training that saves its state at every step; a naive writer as the control.

A small network trains through both stages in a process of its own, which is killed and started again, each life going
on from what the last one left on the disk. Half of the kills fall at a uniformly random time; the other half are aimed
into a write, because that is where a checkpoint can be lost: the child tells when a write begins, and is killed after
a random share of the time that a write takes. After every kill the state is read: it must be there, and be bit for bit
the state that an uncut training has after that step. The naive writer opens its one file and writes into it
(torch.save), as a training script commonly does.

    OMP_NUM_THREADS=1 python benchmarks/sigkill.py [KILLS [PROCESSES [SEED]]]

Bar: 0 unreadable of 500; most of the kills aimed at the naive writer leave an unreadable file.
"""

import json
import mmap
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from csasn.learning.recovery import generations
from csasn.learning.recovery.generations import Generations
from csasn.learning.recovery.pytree import flatten, unflatten
from csasn.learning.state import TrainingState
from tests.support.small_unit import built, ended, fingerprint_of, in_child, kill, start_fabric, train_unit

N_STEPS, N_NAIVE = 15, 100
WRITING = 0  # the byte of the shared page that the child sets while it writes


def reference(folder: Path) -> tuple[dict[int, str], str]:
    """Fingerprints of an uncut training: of the state after each step, and of the end."""

    def work() -> None:
        found: dict[int, str] = {}
        end = train_unit(
            start_fabric(), folder / "uncut", lambda at, step: found.update({step: fingerprint_of(at.tree())})
        )
        (folder / "reference.json").write_text(json.dumps([list(found.items()), end]))

    require(ended(in_child(work)) == 0)
    found, end = json.loads((folder / "reference.json").read_text())
    return dict(found), end


def require(well: bool) -> None:
    """End with an error where a training failed by itself: then nothing was measured."""
    if not well:
        raise SystemExit("a training ended by itself with an error")


class Marked:
    """Wraps a writer so that a shared byte says whether it is at work, and the next eight how long
    the last write took.
    """

    def __init__(self, write: Callable[..., object], page: mmap.mmap) -> None:
        self.write, self.page = write, page

    def __call__(self, *arguments: object) -> object:
        """Write, marked."""
        started = time.perf_counter()
        self.page[WRITING] = 1
        try:
            return self.write(*arguments)
        finally:
            self.page[WRITING] = 0
            self.page[1:9] = struct.pack("d", time.perf_counter() - started)


def wait_for(page: mmap.mmap, state: int, child_ends_at: float) -> None:
    """Wait until the child begins (1) or ends (0) a write, or for as long as it may live."""
    while page[WRITING] != state and time.perf_counter() < child_ends_at:
        time.sleep(0.0005)


def one_life(work: Callable[[], None], page: mmap.mmap, *, aimed: bool, rng: np.random.Generator) -> bool:
    """Start a training and kill it; whether it was killed inside a write."""
    page[WRITING] = 0
    child = in_child(work)
    if aimed:
        limit = time.perf_counter() + 20
        for _ in range(int(rng.integers(2, 5))):
            wait_for(page, 0, limit)
            wait_for(page, 1, limit)
        time.sleep(rng.random() * struct.unpack("d", page[1:9])[0])
    else:
        time.sleep(rng.uniform(0.1, 1.0))
    code = kill(child)
    require(code in (-9, 0))
    return bool(page[WRITING])


def durable(folder: Path, expected: dict[int, str], n: int, rng: np.random.Generator, page: mmap.mmap) -> Counter[str]:
    """Kill the project's own training n times."""
    counts: Counter[str] = Counter()
    generations.write_checkpoint = Marked(generations.write_checkpoint, page)  # type: ignore[assignment]
    steps, end = expected
    at, life = folder / "ours-0", 0

    def work() -> None:
        found = train_unit(start_fabric(), at, lambda *_: None)
        (at / "end.txt").write_text(found)

    for number in range(n):
        inside = one_life(work, page, aimed=number % 2 == 0, rng=rng)
        counts["inside a write"] += inside
        said: list[str] = []
        read = Generations(at, log=said.append).read()
        counts["passed over"] += len(said)
        if read is None:
            counts["before the first state" if not list(at.glob("step-*.json")) else "UNREADABLE"] += 1
            continue
        tensors, notes, _ = read
        tree = unflatten(tensors, notes["state"])
        of_unit = {name: tree.pop(name) for name in ("earlier", "steps_before")}
        counts["readable"] += 1
        counts["OTHER BITS"] += fingerprint_of(tree) != steps[of_unit["steps_before"] + tree["step"]]
        if (at / "end.txt").is_file() or of_unit["steps_before"] + tree["step"] == N_STEPS:
            require(ended(in_child(work)) == 0)
            counts["trainings finished"] += 1
            counts["OTHER END"] += (at / "end.txt").read_text() != end
            life += 1
            at = folder / f"ours-{life}"
    return counts


def naive(folder: Path, n: int, rng: np.random.Generator, page: mmap.mmap) -> Counter[str]:
    """Kill a training that writes its one checkpoint in place."""
    counts: Counter[str] = Counter()
    for number in range(n):
        path = folder / f"naive-{number}.pt"
        write = Marked(lambda tree, path=path: torch.save(tree, path), page)

        def on_step(learning: TrainingState, _step: int, write: Marked = write) -> None:
            write(learning.tree())

        def work(on_step: Callable[..., None] = on_step, number: int = number) -> None:
            train_unit(start_fabric(), folder / f"unused-{number}", on_step, every_steps=0)

        aimed = number % 2 == 0
        inside = one_life(work, page, aimed=aimed, rng=rng)
        kind = "aimed" if aimed else "at a random time"
        counts[f"{kind}: inside a write"] += inside
        if not path.is_file():
            counts[f"{kind}: before the first"] += 1
            continue
        try:
            flatten(torch.load(path, weights_only=True))
            counts[f"{kind}: readable"] += 1
        except Exception:
            counts[f"{kind}: unreadable"] += 1
        path.unlink()
    return counts


def share(folder: Path, expected: tuple[dict[int, str], str], n: int, seed: int) -> None:
    """One process's share of the kills, counted into a file."""
    folder.mkdir()
    rng, page = np.random.default_rng(seed), mmap.mmap(-1, 9)
    counts = [durable(folder, expected, n, rng, page), naive(folder, max(2, n * N_NAIVE // 500), rng, page)]
    (folder / "counts.json").write_text(json.dumps(counts))


def main() -> None:
    """Kill, count and print."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    world_size = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    first_seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    started = time.perf_counter()
    ours: Counter[str] = Counter()
    control: Counter[str] = Counter()
    built()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = reference(folder)
        children = [
            in_child(partial(share, folder / str(seed), expected, n // world_size, first_seed + seed))
            for seed in range(world_size)
        ]
        require([ended(child) for child in children] == [0] * world_size)
        for seed in range(world_size):
            counted = json.loads((folder / str(seed) / "counts.json").read_text())
            ours += Counter(counted[0])
            control += Counter(counted[1])
    n -= n % world_size
    print(f"{n} kills: " + ", ".join(f"{count} {what}" for what, count in sorted(ours.items())))
    print("naive writer: " + ", ".join(f"{count} {what}" for what, count in sorted(control.items())))
    print(f"{time.perf_counter() - started:.0f} s")
    if ours["UNREADABLE"] or ours["OTHER BITS"] or ours["OTHER END"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
