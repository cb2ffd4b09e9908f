"""The transformer's last attention as a named intermediate, so that an explanation can ask for its gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from csasn.errors import BadInputError
from csasn.network.backbones import Features, VitBranch

BLOCK_PARTS = ("norm1", "attn", "ls1", "norm2", "mlp", "ls2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attended:
    """What the transformer saw and where its last block looked.

    Attributes:
        features: map and class token, as the branch's own forward gives them in float32.
        attention: softmax of the last block (B, heads, T, T), rows attend to columns; the prefix tokens come first.
        n_prefix: number of prefix tokens (class and registers).
        grid: rows and columns of the patches.
    """

    features: Features
    attention: Tensor
    n_prefix: int
    grid: tuple[int, int]


def attend(branch: VitBranch, images: Tensor) -> Attended:
    """Images (B, 1, H, W) -> features and last attention; gradients begin at the last block's input.

    Raises BadInputError where the last block is none of timm's plain pre-norm ones.
    """
    backbone: Any = branch.backbone
    last: Any = backbone.blocks[-1]
    if not all(hasattr(last, name) for name in BLOCK_PARTS) or not hasattr(last.attn, "qkv"):
        raise BadInputError(
            f"The attention of {branch.name} cannot be read: its last block is {type(last).__name__}, and a plain "
            "pre-norm block of timm with one qkv projection is needed. Choose another network.vit to explain."
        )
    with torch.no_grad():
        standardised = (images - branch.mean) / branch.std
        tokens = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(backbone.patch_embed(standardised))))
        for block in backbone.blocks[:-1]:
            tokens = block(tokens)
    tokens.requires_grad_(True)
    attention, values = _attention(last.attn, last.norm1(tokens))
    mixed = (attention @ values).transpose(1, 2).flatten(2)
    tokens = tokens + last.ls1(last.attn.proj(last.attn.norm(mixed)))
    tokens = tokens + last.ls2(last.mlp(last.norm2(tokens)))
    return Attended(
        features=branch.laid_out(backbone.norm(tokens)),
        attention=attention,
        n_prefix=int(backbone.num_prefix_tokens),
        grid=tuple(backbone.patch_embed.grid_size),
    )


def _attention(layer: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k' / sqrt(d)) (B, heads, T, T) and the values (B, heads, T, d) of timm's attention."""
    n, length, _ = tokens.shape
    qkv = layer.qkv(tokens).reshape(n, length, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, values = qkv.unbind(0)
    query, key = layer.q_norm(query), layer.k_norm(key)
    return (query * layer.scale @ key.transpose(-2, -1)).softmax(dim=-1), values
