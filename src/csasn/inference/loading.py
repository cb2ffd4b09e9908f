"""A fitted model with its weights, ready to read."""

from dataclasses import dataclass

from torch import Tensor

from csasn.errors import MismatchError
from csasn.learning.fit import origin_of
from csasn.learning.module import BRANCHES, Trainee, build_trainee
from csasn.learning.rows import FoldRows
from csasn.learning.scoring import Eyes
from csasn.learning.session import Workshop
from csasn.network.checkpoint import read_checkpoint, require_origin
from csasn.runs import checkpoint_path


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One model of one fold in evaluation mode, and how it looks at rows: by cached maps unless it was fine-tuned."""

    trainee: Trainee
    eyes: Eyes
    tuned: bool


def load_reader(workshop: Workshop, model: str, rows: FoldRows) -> Reader:
    """The network that was fitted as `model` on a fold; MismatchError where its checkpoint was changed."""
    tensors, notes = read_fitted(workshop, model, rows.fold)
    trainee = build_trainee(model, workshop.branches, workshop.cohort, rows.train, workshop.run.configuration)
    tuned = bool(notes["finetuned"])
    if not tuned:  # the frozen branches are not in the checkpoint: they are the pretrained ones, checked by hash
        tensors |= {name: each for name, each in trainee.state_dict().items() if name.startswith(BRANCHES)}
    trainee.load_state_dict(tensors)
    trainee.to(workshop.device)
    trainee.eval()
    return Reader(trainee=trainee, eyes=workshop.eyes(frozen=not tuned), tuned=tuned)


def read_fitted(workshop: Workshop, model: str, fold: int) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and notes of a checkpoint; MismatchError where it is damaged or belongs to something else."""
    path = checkpoint_path(workshop.run, model, fold)
    tensors, notes = read_checkpoint(path)
    require_origin(notes, origin_of(workshop, model, fold), path)
    return tensors, notes


def refuse_other_weights(workshop: Workshop) -> None:
    """Raise MismatchError where the pretrained weights are not those that the run was fitted on."""
    fitted = workshop.run.stages()["fit"]["weights"]
    for name, origin in workshop.origins.items():
        expected = fitted[name]["state_sha256"]  # type: ignore[index]
        if origin.state_sha256 != expected:
            raise MismatchError(
                f"The weights of {origin.name} are not those that the run was fitted on.\n"
                f"  fitted on {expected}\n  found     {origin.state_sha256} ({origin.source})\n"
                "Give the folder of weights that `fit` had (CSASN_WEIGHTS), or run `csasn fit` again."
            )
