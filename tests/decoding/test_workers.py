"""Items come back in order, and one that kills or stalls its process costs only itself."""

import os
import time

import pytest

from csasn.decoding.workers import Lost, each_in_workers


def behave(word: object) -> object:
    if word == "abort":
        os.abort()
    if word == "exit":
        os._exit(3)
    if word == "stall":
        time.sleep(60)
    if word == "greedy":
        return len(bytearray(3 << 30))
    if word == "raise":
        raise ValueError("of the function")
    return word


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_with_progress(workers):
    seen = []
    found = list(each_in_workers(behave, range(100), workers=workers, progress=lambda *args: seen.append(args)))
    assert found == list(range(100))
    assert seen == [(done, 100) for done in range(1, 101)]


def test_a_crash_a_stall_and_a_flood_cost_one_item_each():
    items = [0, "abort", 2, 3, "exit", 5, "stall", 7, "greedy", 9, "abort"]
    found = list(each_in_workers(behave, items, workers=2, limit_s=1.0))
    lost = {place: each.code for place, each in enumerate(found) if isinstance(each, Lost)}
    assert lost == {
        1: "decoder-crashed",
        4: "decoder-crashed",
        6: "took-too-long",
        8: "too-much-memory",
        10: "decoder-crashed",
    }
    assert [each for each in found if not isinstance(each, Lost)] == [0, 2, 3, 5, 7, 9]


def test_an_exception_of_the_function_is_raised_here():
    with pytest.raises(ValueError, match="of the function"):
        list(each_in_workers(behave, [1, "raise", 2], workers=2))


def test_nothing_to_do_is_done():
    assert list(each_in_workers(behave, [], workers=2)) == []
