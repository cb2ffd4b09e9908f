"""bfloat16 where it pays: which device computes it natively, and the one CPU kernel of it that is passed over."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NATIVE_ON_CPU = (
    "amx_bf16",
    "avx512_bf16",
)  # without either, torch emulates: 0.35 GFLOP/s were measured with AVX2 alone


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 natively, and so faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(bool(found.get(name)) for name in NATIVE_ON_CPU)


@contextmanager
def bfloat16(device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Autocast to bfloat16 inside the block where `enabled`; on a CPU with plain attention."""
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        if enabled and device.type == "cpu":
            with _PlainAttention():
                yield
        else:
            yield


class _PlainAttention(TorchFunctionMode):
    """Attention as product, softmax and product, whatever network asks for the fused kernel.

    On a CPU the fused kernel in bfloat16 takes two and a half times as long with gradients, 1.6 times without
    (ViT-B/16, 197 tokens, batch 8, torch 2.14), and memory is not short there.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return plain_attention(*args) if is_plain(func, args, kwargs) else func(*args, **kwargs)


def is_plain(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is attention without mask, dropout, causality, other scale or grouped queries."""
    return func is functional.scaled_dot_product_attention and len(args) == 3 and not any(kwargs.values())


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V; all (B, heads, T, d)."""
    return attention_weights(query, key) @ value


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)), (B, heads, T, T), of queries and keys (B, heads, T, d)."""
    weights: Tensor = ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)
    return weights
