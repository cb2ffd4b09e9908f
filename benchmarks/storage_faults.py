"""Every write of a saved training state failing in turn, with ENOSPC and with EIO: what is left must be whole.

Saving a state asks the device to open, write, close, fsync, rename and unlink. Each of these calls fails once with each
error (a failing write leaves half of its bytes), with two generations on the disk. Afterwards the save must have raised
StorageError, the newest whole generation must be the one before the save (or the new one, where it was durable
already), a second one must be whole beside it, and a save on the mended device must succeed. The same is done to a
whole small training, which is then taken up again and must end with the bits of an undisturbed one.

    OMP_NUM_THREADS=1 python benchmarks/storage_faults.py

Bar: 0 generations lost.
"""

import errno
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from csasn.errors import CsasnError, StorageError
from csasn.learning.recovery.generations import Generations
from csasn.network.checkpoint import read_checkpoint
from tests.support.failing_storage import FailingDevice
from tests.support.small_unit import start_fabric, train_unit

ERRORS = (errno.ENOSPC, errno.EIO)


def tensors(step: int) -> dict[str, torch.Tensor]:
    """What is saved after a step."""
    return {"weights": torch.full((100_000,), float(step))}


def prepared(folder: Path) -> Generations:
    """Two generations, of steps 1 and 2."""
    generations = Generations(folder, log=print)
    for step in (1, 2):
        generations.write(step, tensors(step), {"step": step})
    return generations


def whole(folder: Path) -> list[int]:
    """Steps of the generations that are whole."""
    found = []
    for path in Generations(folder, log=print).paths():
        try:
            content, notes = read_checkpoint(path)
        except CsasnError:
            continue
        if torch.equal(content["weights"], tensors(int(str(notes["step"])))["weights"]):
            found.append(int(str(notes["step"])))
    return found


def one_save(folder: Path, *, fails_at: int, number: int) -> tuple[list[str], str]:
    """Fail one call of the third save: the calls made, and what became of it."""
    generations = prepared(folder)
    device, refused = FailingDevice(folder, fails_at=fails_at, number=number), False
    try:
        with device.at_work():
            generations.write(3, tensors(3), {"step": 3})
    except StorageError:
        refused = True
    left = whole(folder)
    kept = left[0] in (2, 3) and (2 in left) and (1 in left or 3 in left)
    generations.write(4, tensors(4), {"step": 4})
    mended = whole(folder)[0] == 4
    if fails_at and not refused:
        return device.log, "failure passed over in silence"
    return device.log, "kept" if kept and mended else "LOST"


def training(folder: Path, *, fails_at: int, number: int, end: str) -> str:
    """Fail one call of a whole training, then take it up again; whether it ends with the same bits."""
    device = FailingDevice(folder, fails_at=fails_at, number=number)
    try:
        with device.at_work():
            train_unit(start_fabric(), folder, lambda *_: None, every_steps=5)
    except StorageError:
        said: list[str] = []
        found = train_unit(start_fabric(), folder, lambda *_: None, every_steps=5, log=said.append)
        return "same bits" if found == end and not said else "OTHER BITS"
    return "failure passed over in silence"


def main() -> None:
    """Fail each call in turn, count and print."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        calls, _ = one_save(root / "clean", fails_at=0, number=0)
        print(f"one save asks the device {len(calls)} times: {', '.join(calls)}")
        saves = Counter(
            one_save(root / f"save-{number}-{k}", fails_at=k, number=number)[1]
            for number in ERRORS
            for k in range(1, len(calls) + 1)
        )
        print(f"{saves.total()} failing saves: {dict(saves)}")
        clean = FailingDevice(root / "end")
        with clean.at_work():
            end = train_unit(start_fabric(), root / "end", lambda *_: None, every_steps=5)
        trainings = Counter(
            training(root / f"training-{number}-{k}", fails_at=k, number=number, end=end)
            for number in ERRORS
            for k in range(1, len(clean.log) + 1)
        )
        print(f"{trainings.total()} failing trainings: {dict(trainings)}")
    if set(saves) != {"kept"} or set(trainings) != {"same bits"}:
        sys.exit(1)


if __name__ == "__main__":
    main()
