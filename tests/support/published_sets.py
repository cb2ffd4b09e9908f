"""What tests ask of a public data set: its rows, its ledger, its refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from csasn.cohort.labels import vocabulary
from csasn.cohort.published import PUBLISHED
from csasn.cohort.source import Source
from csasn.errors import BadInputError
from tests.support import miniature_sets as miniature

WORDS = vocabulary()
KEYS = ("image_path", "patient_id", "nodule_id", "malignant", "subtype")
BUILDERS: dict[str, Callable[[Path], Path]] = {
    "busi": miniature.busi,
    "ddti": miniature.ddti,
    "tn3k": miniature.tn3k,
    "tn5000": miniature.tn5000,
    "thyroidxl": miniature.thyroidxl,
    "stanford-cine": miniature.stanford_cine,
    "fangdai": miniature.fangdai,
}
BOMB = (
    '<!DOCTYPE case [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><case><number>2</number><tirads>&c;</tirads></case>'
)


def rows_of(source: Source, *columns: str) -> list[tuple[object, ...]]:
    return source.rows.select(*columns).rows()


def ledger_of(source: Source, outcome: str = "refused") -> dict[str, str]:
    return {row.item: row.code for row in source.refused if row.outcome == outcome}


def read(name: str, folder: Path) -> Source:
    return PUBLISHED[name].source(folder, WORDS)


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read(name, folder)
    return str(caught.value)
