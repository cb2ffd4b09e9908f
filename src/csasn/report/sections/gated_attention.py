"""A nodule's images put together by the mean of their logits and by gated attention."""

from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun, rows_of
from csasn.report.formatting import ends_text, figure_name, p_text


def aggregation(evaluated: EvaluatedRun) -> Section | None:
    """Both ways on the same nodules; nothing where the run did not ask for attention."""
    content = evaluated.beyond("aggregations.json")
    if content is None:
        return None
    rows = [
        [
            figure_name(row["target"], row["metric"]),
            *(
                ends_text(*(row[f"{way}_{end}"] for end in ("estimate", "low", "high")), digits=3)
                for way in ("mean", "attention")
            ),
            ends_text(row["estimate"], row["low"], row["high"], digits=3),
            p_text(row["p"]),
        ]
        for row in rows_of(content["figures"])
    ]
    table = Table(
        name="aggregations",
        caption="Per nodule, both ways on the same nodules; differences by the same bootstrap draws of patients",
        head=("Figure", "Mean of logits", "Gated attention", "Attention minus mean", "p"),
        rows=rows,
    )
    told = Words(
        text=f"{content['n_several_images']:,} of {content['n_nodules']:,} tested nodules have several images; of the "
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
