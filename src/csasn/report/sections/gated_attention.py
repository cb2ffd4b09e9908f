"""A nodule's images put together by the mean of their logits and by gated attention."""

from csasn.evidence.gated_attention import Aggregations
from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.formatting import ends_text, figure_name, p_text, share


def aggregation(evaluated: EvaluatedRun) -> Section | None:
    """Both ways on the same nodules; nothing where the run did not ask for attention."""
    content = evaluated.beyond("aggregations.json", Aggregations)
    if content is None:
        return None
    rows = [
        [
            figure_name(row.target, row.metric),
            ends_text(row.mean_estimate, row.mean_low, row.mean_high, digits=3),
            ends_text(row.attention_estimate, row.attention_low, row.attention_high, digits=3),
            share(row, digits=3),
            p_text(row.p),
        ]
        for row in content.figures
    ]
    table = Table(
        name="aggregations",
        caption="Per nodule, both ways on the same nodules; differences by the same bootstrap draws of patients",
        head=("Figure", "Mean of logits", "Gated attention", "Attention minus mean", "p"),
        rows=rows,
    )
    told = Words(
        text=f"{content.n_several_images:,} of {content.n_nodules:,} tested nodules have several images; of the "
        "others, attention has nothing to weigh. Attention was trained on each fold's training nodules, on features of "
        "images that the network had learned from; every other figure of this page is of the mean.",
        quiet=True,
    )
    return Section(
        id="aggregation",
        title="How a nodule's images are put together",
        short="Images of a nodule",
        blocks=(table, told),
    )
