"""Checkpoints: safetensors beside JSON, written whole, read only when their hashes are those written down."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from csasn.errors import BadInputError, MismatchError, listing
from csasn.files import read_json, write_bytes, write_json


def write_checkpoint(path: Path, tensors: dict[str, Tensor], notes: dict[str, object]) -> None:
    """Write `path` (.safetensors) and beside it the notes with both hashes; the notes come last and make it valid."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_bytes(path, content)
    hashes = {"sha256": hashlib.sha256(content).hexdigest(), "notes_sha256": _notes_sha256(notes)}
    write_json(path.with_suffix(".json"), notes | hashes)


def has_checkpoint(path: Path) -> bool:
    """Whether a checkpoint stands at `path`, whole or damaged: notes, which are written last."""
    return path.with_suffix(".json").is_file()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and notes.

    Raises MismatchError where either is not what was written, BadInputError where a file is missing or is no
    safetensors file. Nothing is ever unpickled.
    """
    notes = read_json(path.with_suffix(".json"))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing, though its notes are there: restore it, or run `csasn fit`.") from None
    for what, stated, found in (
        ("notes", notes.pop("notes_sha256", None), None),
        ("tensors", notes.get("sha256"), hashlib.sha256(content).hexdigest()),
    ):
        found = found or _notes_sha256({name: each for name, each in notes.items() if name != "sha256"})
        if found != stated:
            raise MismatchError(
                f"The {what} of the checkpoint {path} were changed after they were written.\n"
                f"  expected sha256 {stated}\n  found    sha256 {found}\n"
                "Restore the file, or run `csasn fit` again: it goes on from what is whole."
            )
    try:
        return load(content), notes
    except SafetensorError as error:
        raise BadInputError(
            f"{path} is not a safetensors file ({error}). Nothing else is read, because pickles can run code: "
            "restore it, or run `csasn fit` again."
        ) from error


def load_tensors(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a network the tensors of a checkpoint; BadInputError, naming them, where they cannot be its weights.

    Each tensor of the network is there, in its shape and kind of number, and finite, whatever the file's hash says.
    """
    own = network.state_dict()
    wrong = [f"{name}: missing" for name in own if name not in tensors]
    for name, each in tensors.items():
        if name not in own:
            wrong.append(f"{name}: the network has no such tensor")
        elif each.shape != own[name].shape:
            wrong.append(f"{name}: shape {tuple(each.shape)}, expected {tuple(own[name].shape)}")
        elif each.is_floating_point() != own[name].is_floating_point():
            wrong.append(f"{name}: {each.dtype}, expected {own[name].dtype}")
        elif each.is_floating_point() and not bool(each.isfinite().all()):
            wrong.append(f"{name}: not finite")
    if wrong:
        raise BadInputError(
            f"{path} holds tensors that are not weights of this network:\n{listing(wrong)}\n"
            "Restore it, or run `csasn fit` again."
        )
    network.load_state_dict(tensors)


def require_origin(notes: dict[str, object], origin: dict[str, object], path: Path) -> None:
    """Refuse a checkpoint of another class list, cohort, split, configuration or weights; MismatchError names both."""
    for name, expected in origin.items():
        if (found := notes.get(name)) != expected:
            raise MismatchError(
                f"The checkpoint {path} was made with another {name.replace('_', ' ')}.\n"
                f"  the checkpoint has {found}\n  this run has       {expected}\n"
                "Train in a new run folder, or give back what this one was made with."
            )


def _notes_sha256(notes: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(notes, sort_keys=True).encode()).hexdigest()
