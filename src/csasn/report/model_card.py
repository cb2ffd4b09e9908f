"""The model card: what the model is, for whom, how it did and what it must not be used for (Mitchell 2019)."""

from csasn.report.facts import AUTHORS, Facts
from csasn.report.sections.limits import limits_of


def model_card(facts: Facts) -> str:
    """Markdown of model_card.md."""
    parts = {
        "Model": (facts.model(), facts.initial_weights(), facts.training(), facts.software()),
        "Intended use": (
            "Research on recognising thyroid carcinoma subtypes in B-mode ultrasound. Not a medical device; not for "
            "diagnosis, triage or treatment of a patient.",
            f"{AUTHORS}: target population and users.",
        ),
        "Data": (facts.sources(), facts.centres(), facts.preparation(), facts.missing(), facts.deidentification()),
        "Partitions": (facts.partitions(), facts.disjoint(), facts.events()),
        "Output": (facts.output(), facts.predictions()),
        "Performance": (facts.performance(), facts.uncertainty(), facts.clusters(), facts.fairness()),
        "Limits": limits_of(facts.evaluated),
        "How to have it again": (facts.full_model(), facts.code()),
    }
    lines = [f"# Model card: CSASN on {facts.evaluated.name}", "", f"{facts.stamp}Made by `csasn report`.", ""]
    for title, sentences in parts.items():
        lines += [f"## {title}", "", *(f"- {each}" for each in sentences if each), ""]
    return "\n".join(lines)
