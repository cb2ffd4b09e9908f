"""Checkpoints: safetensors beside JSON, written whole, read only when their hash is the one written down."""

from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from csasn.errors import MismatchError
from csasn.files import file_sha256, read_json, write_bytes, write_json


def write_checkpoint(path: Path, tensors: dict[str, Tensor], notes: dict[str, object]) -> None:
    """Write `path` (.safetensors) and beside it the notes with its SHA-256; the notes come last and make it valid."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_bytes(path, content)
    write_json(path.with_suffix(".json"), notes | {"sha256": file_sha256(path)})


def has_checkpoint(path: Path) -> bool:
    """Whether a whole checkpoint stands at `path`: notes, and tensors with the hash that the notes give."""
    notes = path.with_suffix(".json")
    return notes.is_file() and path.is_file() and read_json(notes).get("sha256") == file_sha256(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and notes; MismatchError where the tensors are not those that the notes describe."""
    notes = read_json(path.with_suffix(".json"))
    if (found := file_sha256(path)) != notes.get("sha256"):
        raise MismatchError(
            f"The checkpoint {path} was changed after it was written.\n"
            f"  expected sha256 {notes.get('sha256')}\n  found    sha256 {found}\n"
            "Delete it and run `csasn fit` again: finished models are kept."
        )
    return load(path.read_bytes()), notes
