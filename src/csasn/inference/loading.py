"""A fitted model with its weights, ready to read."""

from dataclasses import dataclass

from torch import Tensor

from csasn.errors import MismatchError
from csasn.learning.fit import origin_of
from csasn.learning.module import BRANCHES, TrainingModule, build_training_module
from csasn.learning.rows import FoldRows
from csasn.learning.scoring import InputSource
from csasn.learning.session import Session
from csasn.network.checkpoint import read_checkpoint, require_origin
from csasn.runs import checkpoint_path


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One model of one fold in evaluation mode, and how it looks at rows: by cached maps unless it was fine-tuned."""

    module: TrainingModule
    inputs: InputSource
    tuned: bool


def load_reader(session: Session, model: str, rows: FoldRows) -> Reader:
    """The network that was fitted as `model` on a fold; MismatchError where its checkpoint was changed."""
    tensors, notes = read_fitted(session, model, rows.fold)
    module = build_training_module(model, session.branches, session.cohort, rows.train, session.run.configuration)
    tuned = bool(notes["finetuned"])
    if not tuned:  # the frozen branches are not in the checkpoint: they are the pretrained ones, checked by hash
        tensors |= {name: each for name, each in module.state_dict().items() if name.startswith(BRANCHES)}
    module.load_state_dict(tensors)
    module.to(session.device)
    module.eval()
    return Reader(module=module, inputs=session.inputs(frozen=not tuned), tuned=tuned)


def read_fitted(session: Session, model: str, fold: int) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and notes of a checkpoint; MismatchError where it is damaged or belongs to something else."""
    path = checkpoint_path(session.run, model, fold)
    tensors, notes = read_checkpoint(path)
    require_origin(notes, origin_of(session, model, fold), path)
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
