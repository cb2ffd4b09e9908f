"""Attention whose weights are kept, block by block, so that a transformer can be asked what it attended to."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from csasn.network.precision import attention_weights, is_plain


class KeptAttention(TorchFunctionMode):
    """Inside the block every attention is softmax(Q K^T / sqrt(d)) V, computed plainly, whatever network asks for it.

    `weights` holds each one's softmax (B, heads, T, T) in the order of the blocks, as part of the graph, so that a
    gradient can be taken with respect to it. Attention of another kind (masked, causal) is computed but not kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_plain(func, args, kwargs):
            return func(*args, **kwargs)
        query, key, value = args
        self.weights.append(attention_weights(query, key))
        return self.weights[-1] @ value
