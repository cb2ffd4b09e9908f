"""Fully sharded training (FSDP): each process keeps a part of the transformer's blocks, and all of everything else."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard_blocks(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The module with every transformer block that is trained spread over the processes (FSDP2).

    A block's weights are gathered when it is run and let go afterwards; its gradient and the optimiser's moments stay
    in parts. What is small, or is called past its own `forward`, stays whole: see `average_whole_gradients`.
    """
    for layer in module.modules():
        if isinstance(layer, Block) and any(each.requires_grad for each in layer.parameters()):
            fully_shard(layer, mesh=mesh["data_parallel"])
    return module


def is_sharded(tensor: Tensor) -> bool:
    """Whether a process holds only a part of it."""
    return isinstance(tensor, DTensor)


def whole(tree: Any) -> Any:
    """Nested dicts and lists with every tensor whole, in all processes, which have to ask together."""
    if isinstance(tree, DTensor):
        return tree.full_tensor()
    if isinstance(tree, dict):
        return {name: whole(each) for name, each in tree.items()}
    if isinstance(tree, list):
        return [whole(each) for each in tree]
    return tree


def spread(found: Tensor, like: Tensor) -> Tensor:
    """A whole tensor laid out as `like` is: in parts where that is, as it came elsewhere."""
    if isinstance(like, DTensor) and not isinstance(found, DTensor):
        return distribute_tensor(found.to(like.device), like.device_mesh, like.placements)
    return found


def average_whole_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over the processes of every gradient that is whole; blocks in parts have averaged their own."""
    gradients = [each.grad for each in parameters if each.grad is not None and not is_sharded(each.grad)]
    together = torch.cat([each.reshape(-1) for each in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    parts = torch.tensor_split(together, list(accumulate(each.numel() for each in gradients[:-1])))
    for mine, summed in zip(gradients, parts, strict=True):
        mine.copy_(summed.view(mine.shape))


def clip_mixed(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients, whole and in parts, to a joint norm of at most `max_norm`; the norm before."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    norm: Tensor = torch.stack([whole(each.norm()) for each in gradients]).norm()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_ has it
    for each in gradients:
        each.mul_(float(factor))
    return norm
