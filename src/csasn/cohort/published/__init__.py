"""Public data sets by the layout in which they are distributed, in the order in which they are recognised."""

from csasn.cohort.published.busi import (
    BUSI,
    BUSI_CITATION,
    BUSI_COLUMNS,
    BUSI_NOTES,
    BUSI_SITE,
    BUSI_TABLE,
    is_busi,
)
from csasn.cohort.published.ddti import DDTI
from csasn.cohort.published.fangdai import FANGDAI
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.published.stanford_cine import STANFORD_CINE
from csasn.cohort.published.thyroidxl import THYROIDXL
from csasn.cohort.published.tn3k import TN3K
from csasn.cohort.published.tn5000 import TN5000

__all__ = [
    "BUSI_CITATION",
    "BUSI_COLUMNS",
    "BUSI_NOTES",
    "BUSI_SITE",
    "BUSI_TABLE",
    "PUBLISHED",
    "PublishedSet",
    "is_busi",
]

PUBLISHED: dict[str, PublishedSet] = {
    each.name: each for each in (BUSI, DDTI, TN3K, TN5000, THYROIDXL, STANFORD_CINE, FANGDAI)
}
