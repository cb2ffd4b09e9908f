"""How training went."""

from csasn.report.blocks import Section
from csasn.report.figures.training import training as course
from csasn.report.material import Material


def training(material: Material) -> Section:
    """Losses and tuning AUROC by epoch."""
    drawing = material.drawing(
        "training",
        "CSASN's losses and tuning AUROC by epoch and fold. Dashed: training; solid: tuning.",
        lambda: course(material.history),
    )
    return Section(id="training", title="How training went", short="Training", blocks=(drawing,))
