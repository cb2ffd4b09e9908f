"""Every variant of the faults goes through the real `ingest`: used, refused, fixed or aborted exactly as declared."""

import os
from collections import defaultdict
from pathlib import Path

import pytest

from faults.every import ALL_FAULTS
from faults.fault import Fault
from faults.outcome import outcome_of

FAST = [pytest.param(each, id=each.id, marks=[pytest.mark.slow] if each.heavy else []) for each in ALL_FAULTS]


def test_every_fault_has_three_variants_of_its_own() -> None:
    variants: defaultdict[int, set[str]] = defaultdict(set)
    for fault in ALL_FAULTS:
        assert fault.name not in variants[fault.number], fault.id
        variants[fault.number].add(fault.name)
    assert all(len(names) >= 3 for names in variants.values()), variants
    assert set(range(1, 50)) <= set(variants)


@pytest.mark.parametrize("fault", FAST)
def test_what_becomes_of_it(fault: Fault, tmp_path: Path) -> None:
    if fault.root_reads and os.geteuid() == 0:
        pytest.skip("root reads what nobody may")
    assert outcome_of(fault, tmp_path / "x").wrong == ()
