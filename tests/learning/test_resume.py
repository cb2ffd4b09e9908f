"""Resume: cut after any step of either stage, a training goes on to the same bits as one that was never cut."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from csasn.errors import StoppedError
from csasn.learning.recovery.pytree import flatten, unflatten
from csasn.learning.recovery.sigterm import StopSignal
from tests.support.small_unit import SHORT, fingerprint_of, start_fabric, train_unit

N_STEPS = 15


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return start_fabric()


def fingerprints(fabric: Fabric, folder: Path, *, cut_at: int | None) -> list[str]:
    """Of the state after each step, then of the end; stopped as by SIGTERM after step `cut_at`."""
    stop, found = StopSignal(), []
    stop.requested = cut_at == 1

    def on_step(learning: object, step: int) -> None:
        found.append(fingerprint_of(learning.tree()))
        stop.requested = step + 1 == cut_at

    end = train_unit(fabric, folder, on_step, every_steps=0, stop=stop)
    return [*found, end]


@pytest.fixture(scope="module")
def uncut(fabric: Fabric, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    found = fingerprints(fabric, tmp_path_factory.mktemp("uncut"), cut_at=None)
    assert len(found) == len(set(found)) == N_STEPS + 1
    return found


@pytest.mark.parametrize("cut_at", [1, 3, 5, 9, 10, 12, 14])
def test_cut_after_a_step_the_rest_is_the_same_bit_for_bit(
    fabric: Fabric, uncut: list[str], tmp_path: Path, cut_at: int
) -> None:
    with pytest.raises(StoppedError, match=f"after step {cut_at if cut_at <= 9 else cut_at - 9} of stage"):
        fingerprints(fabric, tmp_path, cut_at=cut_at)
    assert fingerprints(fabric, tmp_path, cut_at=None) == uncut[cut_at:]


def test_cut_twice_and_cut_with_patience_over(fabric: Fabric, uncut: list[str], tmp_path: Path) -> None:
    for cut_at in (4, 11):
        with pytest.raises(StoppedError):
            fingerprints(fabric, tmp_path, cut_at=cut_at)
    assert fingerprints(fabric, tmp_path, cut_at=None) == uncut[11:]
    assert SHORT[0].n_epochs * 3 + SHORT[1].n_epochs * 3 == N_STEPS


def test_a_tree_comes_back_as_it_was() -> None:
    tree = {"a": {0: {"x": torch.ones(2)}, 1: None}, "b": [1, 2.5, (True, "text")], "c": {}}
    tensors, plain = flatten(tree)
    assert list(tensors) == ["a/0/x"]
    back = unflatten(tensors, plain)
    assert back["a"][0]["x"] is tensors["a/0/x"]
    assert back["b"] == [1, 2.5, [True, "text"]]
    assert (back["a"][1], back["c"]) == (None, {})
    with pytest.raises(TypeError, match="b is a set"):
        flatten({"b": {1}})
