"""What lies beyond the figures, each in a file of its own: refusal, shortcuts, maps and similar patients."""

from csasn.documents import write_document
from csasn.evidence.abstention import Abstention, abstention_content
from csasn.evidence.explanations import Explanations, explanations_content
from csasn.evidence.gated_attention import NODULES, Aggregations, aggregations_content
from csasn.evidence.shortcut_audit import Shortcuts, shortcuts_content
from csasn.evidence.similar import Similar, similar_content
from csasn.runs import Run


def scrutinise(run: Run) -> tuple[str, ...]:
    """Write what the run's finished stages allow; the names of the files written."""
    contents: dict[str, Abstention | Similar | Aggregations | Shortcuts | Explanations] = {}
    stages = run.stages()
    if "embeddings/fold0.parquet" in str(stages.get("predict")):
        contents["abstention.json"] = abstention_content(run)
        contents["similar.json"] = similar_content(run)
    if NODULES in str(stages.get("predict")):
        contents["aggregations.json"] = aggregations_content(run)
    if "audit" in stages:
        contents["shortcuts.json"] = shortcuts_content(run)
    if "explain" in stages:
        contents["explanations.json"] = explanations_content(run)
    for name, content in contents.items():
        write_document(run.path(name), content)
    return tuple(contents)
