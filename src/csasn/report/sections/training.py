"""How training went."""

from csasn.report.blocks import Section
from csasn.report.evaluated_run import Material
from csasn.report.figures.training import training as course
from csasn.report.figures.weights import moving
from csasn.report.figures.weights import weights as weights_course


def training(material: Material) -> Section:
    """Losses and tuning AUROC by epoch, and beside them the weights of the loss where any of them moves."""
    drawings = [
        material.drawing(
            "training",
            "CSASN's losses and tuning AUROC by epoch and fold. Dashed: training; solid: tuning.",
            lambda: course(material.history),
        )
    ]
    moved = moving(material.weights)
    if not moved.is_empty():
        settings = material.run.configuration.loss
        drawings.append(
            material.drawing(
                "weights",
                f"Weights that CSASN's loss gave to classes ({settings.classes}) and to tasks ({settings.tasks}) after "
                "each epoch, a line a fold; dotted: weight one. What does not move in training is left out.",
                lambda: weights_course(moved),
            )
        )
    return Section(id="training", title="How training went", short="Training", blocks=tuple(drawings))
