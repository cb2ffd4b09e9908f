"""Weights dealt anew from the top of the network down: what a map of a network that has learned nothing looks like."""

from collections.abc import Iterable

import torch
from torch import nn

from csasn.network.csasn import Csasn

N_PARTS = 4  # of the branches, by depth


def levels_of(network: Csasn) -> list[tuple[str, list[nn.Parameter]]]:
    """Name and parameters of each level, the head first; a level without parameters is left out."""
    head = network.head
    parts: dict[str, list[nn.Module]] = {
        "head": [head.output],
        "classifier": [head.classifier],
        "attention": [head.attention],
        "fusion": [head.fusion] if head.token_norm is None else [head.fusion, head.token_norm],
    }
    levels = [(name, [each for part in modules for each in part.parameters()]) for name, modules in parts.items()]
    for number in range(N_PARTS):
        own = [each for branch in network.branches.values() for each in _of_part(branch, number)]
        levels.append((f"branches {number + 1}/{N_PARTS}", own))
    return [(name, parameters) for name, parameters in levels if parameters]


@torch.no_grad()
def deal_anew(parameters: Iterable[nn.Parameter], generator: torch.Generator) -> None:
    """Permute the numbers of each tensor among its own places, in place.

    Done to one level after the other, from the head down, this is the cascading randomisation of Adebayo 2018 (arXiv
    1810.03292). Distribution and scale of the numbers stay, and only what was learned goes; running statistics stay.
    """
    for each in parameters:
        order = torch.randperm(each.numel(), generator=generator)
        each.copy_(each.flatten()[order.to(each.device)].view(each.shape))


def _of_part(branch: nn.Module, part: int) -> list[nn.Parameter]:
    """The parameters of one part of a branch, the last blocks being part 0."""
    depths: dict[str, int] = branch.depths()  # type: ignore[operator]
    n = max(depths.values()) + 1
    return [each for name, each in branch.named_parameters() if depths[name] * N_PARTS // n == part]
