"""Whether the probabilities mean what they say."""

from csasn.report.blocks import Section
from csasn.report.figures.reliability import calibration as reliability
from csasn.report.material import Material


def calibration(material: Material) -> Section:
    """Reliability diagrams."""
    settings = material.run.configuration.evaluate
    drawing = material.drawing(
        "reliability",
        f"Reliability in bins of equally many patients, with {material.level} Wilson intervals. Below the diagonal the "
        "probability is too high, above it too low.",
        lambda: reliability(
            material.units, material.records, n_bins=settings.calibration_bins, confidence=settings.confidence
        ),
    )
    return Section(
        id="reliability",
        title="Whether the probabilities mean what they say",
        short="Calibration",
        blocks=(drawing,),
    )
