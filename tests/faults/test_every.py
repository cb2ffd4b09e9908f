"""Every variant of the faults goes through the real `ingest`: used, refused, fixed or aborted exactly as declared."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.faults.every import ALL_FAULTS
from tests.faults.fault import Fault
from tests.faults.outcome import outcome_of, reads_everything

FAST = [pytest.param(each, id=each.id, marks=[pytest.mark.slow] if each.heavy else []) for each in ALL_FAULTS]


def test_every_fault_has_three_variants_of_its_own() -> None:
    variants: defaultdict[int, set[str]] = defaultdict(set)
    for fault in ALL_FAULTS:
        assert fault.name not in variants[fault.number], fault.id
        variants[fault.number].add(fault.name)
    assert all(len(names) >= 3 for names in variants.values()), variants
    elsewhere = {60, 66}  # a split and a million rows, not an ingest: test_manifest_faults.py
    found_in_reports = {*range(106, 126), 127, 128}
    assert set(variants) == set(range(1, 68)) - elsewhere | found_in_reports
    assert len(ALL_FAULTS) > 200


@pytest.mark.parametrize("fault", FAST)
def test_what_becomes_of_it(fault: Fault, tmp_path: Path) -> None:
    if fault.root_reads and reads_everything(tmp_path):
        pytest.skip("root reads what nobody may")
    assert outcome_of(fault, tmp_path / "x").wrong == ()
