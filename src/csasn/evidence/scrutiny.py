"""What lies beyond the figures, each in a file of its own: refusal, shortcuts, maps and similar patients."""

from csasn.evidence.abstention import abstention_content
from csasn.evidence.explanations import explanations_content
from csasn.evidence.gated_attention import NODULES, aggregations_content
from csasn.evidence.shortcut_audit import shortcuts_content
from csasn.evidence.similar import similar_content
from csasn.files import write_json
from csasn.runs import Run


def scrutinise(run: Run) -> tuple[str, ...]:
    """Write what the run's finished stages allow; the names of the files written."""
    contents: dict[str, object] = {}
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
        write_json(run.path(name), content)
    return tuple(contents)
