"""What a reader must not conclude from the page."""

from csasn.evidence.metric_panel import FEW_PATIENTS
from csasn.report.blocks import Section, Words
from csasn.report.evaluated_run import EvaluatedRun


def limits(evaluated: EvaluatedRun) -> Section:
    """The limits of this run, those of its cohort first."""
    return Section(
        id="limits",
        title="What this does not show",
        short="Limits",
        blocks=(Words(items=limits_of(evaluated)),),
    )


def limits_of(evaluated: EvaluatedRun) -> tuple[str, ...]:
    """Each limit as a sentence."""
    certificate, units = evaluated.certificate, evaluated.units
    found = []
    if evaluated.simulated:
        found.append("The cohort is SIMULATED. Nothing on this page is clinical evidence, however good it looks.")
    origin = " ".join(str(certificate.get(each)) for each in ("name", "cohort", "source", "citation")).lower()
    if "busi" in origin:
        found.append("BUSI shows breast lesions, not thyroid nodules: it shows that the software works, nothing more.")
    found.append(
        "No result of the CSASN paper is reproduced or claimed here: its full text, code, data and weights were not "
        "available, and this is an independent implementation."
    )
    if evaluated.run.configuration.split.scheme != "leave-one-site-out":
        found.append(
            "Sites stand on both sides of this split, so it does not tell how the model reads at a site that it has "
            "never seen; results there are commonly lower."
        )
    small = [name for name in units.classes.names if units.binary(name).n_patients(positive=True) < FEW_PATIENTS]
    if small:
        found.append(f"Fewer than {FEW_PATIENTS} patients have {', '.join(small)}: figures for them settle nothing.")
    return (
        *found,
        "Intervals resample patients. They hold the trained models fixed and do not include the variation of training "
        "again, nor differences between hospitals.",
        "PPV and NPV belong to the prevalence in this cohort; at another prevalence they are different.",
        "Thresholds were chosen on each fold's tuning partition, which also decided when training stopped.",
        "This was a retrospective reading of stored images. It is not a medical device and not for diagnosis.",
    )
