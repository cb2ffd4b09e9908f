"""How training went."""

from csasn.report.blocks import Section
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.training import training as course
from csasn.report.figures.weights import moving
from csasn.report.figures.weights import weights as weights_course


def training(evaluated: EvaluatedRun) -> Section:
    """Losses and tuning AUROC by epoch, and beside them the weights of the loss where any of them moves."""
    drawings = [
        evaluated.drawing(
            "training",
            "CSASN's losses and tuning AUROC by epoch and fold. Dashed: training; solid: tuning.",
            lambda: course(evaluated.history),
        )
    ]
    moved = moving(evaluated.weights)
    if not moved.is_empty():
        settings = evaluated.run.configuration.loss
        drawings.append(
            evaluated.drawing(
                "weights",
                f"Weights that CSASN's loss gave to classes ({settings.classes}) and to tasks ({settings.tasks}) after "
                "each epoch, a line a fold; dotted: weight one. What does not move in training is left out.",
                lambda: weights_course(moved),
            )
        )
    return Section(id="training", title="How training went", short="Training", blocks=tuple(drawings))
