"""A fitted model with its weights, ready to read."""

from dataclasses import dataclass

from torch import Tensor

from csasn.errors import MismatchError
from csasn.learning.scoring import InputSource
from csasn.learning.session import Session
from csasn.network.build import network_settings, over_branches
from csasn.network.checkpoint import load_tensors, read_checkpoint, require_origin
from csasn.network.csasn import Csasn
from csasn.runs import checkpoint_path


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One model of one fold in evaluation mode, and how it looks at rows: by cached maps unless it was fine-tuned."""

    network: Csasn
    inputs: InputSource
    tuned: bool


def load_reader(session: Session, model: str, fold: int) -> Reader:
    """The network that was fitted as `model` on a fold; MismatchError where its checkpoint was changed.

    No loss is built, and no row of training is looked at.
    """
    tensors, notes = read_fitted(session, model, fold)
    settings = network_settings(model, session.run.configuration.network)
    network = over_branches(session.branches, settings, session.cohort.classes)
    tuned = bool(notes["finetuned"])
    if not tuned:  # the frozen branches are not in the checkpoint: they are the pretrained ones, checked by hash
        tensors |= {name: each for name, each in network.state_dict().items() if name.startswith("branches.")}
    load_tensors(network, tensors, checkpoint_path(session.run, model, fold))
    network.to(session.device)
    network.eval()
    return Reader(network=network, inputs=session.inputs(frozen=not tuned), tuned=tuned)


def read_fitted(session: Session, model: str, fold: int) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and notes of a checkpoint; MismatchError where it is damaged or belongs to something else."""
    path = checkpoint_path(session.run, model, fold)
    tensors, notes = read_checkpoint(path)
    require_origin(notes, session.origin(model, fold), path)
    return tensors, notes


def refuse_other_weights(session: Session) -> None:
    """Raise MismatchError where the pretrained weights are not those that the run was fitted on."""
    fitted = session.run.stages()["fit"]["weights"]
    for name, origin in session.origins.items():
        expected = fitted[name]["state_sha256"]  # type: ignore[index]
        if origin.state_sha256 != expected:
            raise MismatchError(
                f"The weights of {origin.name} are not those that the run was fitted on.\n"
                f"  fitted on {expected}\n  found     {origin.state_sha256} ({origin.source})\n"
                "Give the folder of weights that `fit` had (CSASN_WEIGHTS), or run `csasn fit` again."
            )
