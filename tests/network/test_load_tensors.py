"""Tensors that cannot be a network's weights are refused by name, whatever hash the file carries."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from csasn.errors import BadInputError
from csasn.network.checkpoint import load_tensors

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
CHANGES: dict[str, tuple[Change, str]] = {
    "nan": (lambda t: t | {"weight": torch.full((2, 3), float("nan"))}, "weight: not finite"),
    "infinite": (lambda t: t | {"bias": torch.tensor([0.0, float("inf")])}, "bias: not finite"),
    "shape": (lambda t: t | {"weight": torch.zeros(3, 3)}, r"weight: shape \(3, 3\), expected \(2, 3\)"),
    "extra": (lambda t: t | {"zzz": torch.zeros(5)}, "zzz: the network has no such tensor"),
    "missing": (lambda t: {"weight": t["weight"]}, "bias: missing"),
    "dtype": (lambda t: {name: each.to(torch.int8) for name, each in t.items()}, "weight: torch.int8"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_what_is_no_weight_is_refused_by_name(name: str) -> None:
    network, (change, words) = nn.Linear(3, 2), CHANGES[name]
    before = {key: each.clone() for key, each in network.state_dict().items()}
    with pytest.raises(BadInputError, match=words):
        load_tensors(network, change(dict(before)), Path("fold0.safetensors"))
    assert all(torch.equal(each, before[key]) for key, each in network.state_dict().items())


def test_its_own_weights_are_taken() -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    load_tensors(network, dict(other.state_dict()), Path("fold0.safetensors"))
    assert torch.equal(network.weight, other.weight)
