"""Which models a run trains, and where each one's checkpoint lies on each fold."""

from pathlib import Path

from csasn.runs import Run

CSASN = "csasn"


def models_of(run: Run) -> tuple[str, ...]:
    """CSASN and its rivals, in the order of training."""
    return (CSASN, *run.configuration.fit.rivals)


def checkpoint_path(run: Run, model: str, fold: int) -> Path:
    """Where the weights of one model on one fold lie."""
    return run.path(f"checkpoints/{model}/fold{fold}.safetensors")
