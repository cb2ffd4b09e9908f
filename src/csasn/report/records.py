"""The evaluation's records by what they are of, and a record as text."""

from collections.abc import Sequence

from csasn.evidence.aggregation import MAIN_MODEL
from csasn.evidence.record import Record

Index = dict[tuple[str, str, str, str, str], Record]  # model, site, unit, target, metric


def index(records: Sequence[Record]) -> Index:
    """Records by model, site, unit, target and metric."""
    return {(each.model, each.site, each.unit, each.target, each.metric): each for each in records}


def with_interval(record: Record | None, *, digits: int = 2) -> str:
    """Estimate and interval as text: "0.84 (0.81–0.87)", or "not estimable"."""
    if record is None or record.estimate is None:
        return "not estimable"
    if record.low is None or record.high is None:
        return f"{record.estimate:.{digits}f} (interval not estimable)"
    return f"{record.estimate:.{digits}f} ({record.low:.{digits}f}–{record.high:.{digits}f})"


HEADLINE = (MAIN_MODEL, "all", "patient")  # the model, sites and unit that the page is about
