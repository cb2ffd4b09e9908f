"""Two generations of a checkpoint in a folder: should the newest be damaged, the one before it is there."""

from pathlib import Path

from torch import Tensor

from csasn.errors import CsasnError
from csasn.files import storage_errors
from csasn.network.checkpoint import read_checkpoint, write_checkpoint
from csasn.progress import Log

N_KEPT = 2


class Generations:
    """Checkpoints `step-NNNNNNNNNN.safetensors` with their notes, ordered by step and never by a clock.

    A new one is durable (fsync of file and folder) before an older one is removed, and the two newest that are known
    to be whole are kept, so that neither a kill nor a full device nor one damaged file loses more than one of them.
    """

    def __init__(self, folder: Path, *, log: Log) -> None:
        """`say` is told in words when a generation is damaged and passed over."""
        self.folder = folder
        self._say = log
        self._whole: list[Path] = []  # newest first

    def paths(self) -> list[Path]:
        """Generations in the folder, newest first; without its notes, which are written last, one does not count."""
        notes = sorted(self.folder.glob("step-*.json"), reverse=True)
        return [path.with_suffix(".safetensors") for path in notes]

    def read(self) -> tuple[dict[str, Tensor], dict[str, object], Path] | None:
        """Tensors, notes and place of the newest whole generation, or None where there is none."""
        for path in self.paths():
            try:
                tensors, notes = read_checkpoint(path)
            except CsasnError as error:
                self._say(f"{error}\nPassed over; trying the generation before it.")
                continue
            self._whole = [path]
            return tensors, notes, path
        return None

    def write(self, step: int, tensors: dict[str, Tensor], notes: dict[str, object]) -> Path:
        """Write the generation of a step, then remove what is older than the one before it; StorageError."""
        path = self.folder / f"step-{step:010d}.safetensors"
        write_checkpoint(path, tensors, notes)
        self._whole = [path, *(each for each in self._whole if each != path)][:N_KEPT]
        kept = {each.stem for each in self._whole}
        with storage_errors(self.folder):
            for file in sorted(self.folder.glob("step-*")):  # .json before .safetensors: never notes without tensors
                if file.stem not in kept:
                    file.unlink(missing_ok=True)
            for file in self.folder.glob(".step-*.part"):  # of a write that was killed
                file.unlink(missing_ok=True)
        return path

    def remove(self) -> None:
        """Remove every generation and the folder: the training that they belong to is over."""
        with storage_errors(self.folder):
            for file in sorted(self.folder.glob("*")) + sorted(self.folder.glob(".step-*.part")):
                file.unlink(missing_ok=True)
            if self.folder.is_dir():
                self.folder.rmdir()
