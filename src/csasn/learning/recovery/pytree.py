"""Nested dicts and lists of tensors and plain values, taken apart for safetensors and JSON, and put together again."""

from typing import Any

from torch import Tensor

TENSOR, PAIRS = "__tensor__", "__pairs__"


def flatten(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Tensors by path ("optimizer/state/0/exp_avg"), and the tree in JSON's terms with their paths in their places.

    Dicts with keys that are no text become lists of pairs, tuples become lists. Raises TypeError for anything that
    JSON does not have, so that nothing is lost in silence.
    """
    tensors: dict[str, Tensor] = {}

    def visit(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node
            return {TENSOR: path}
        if isinstance(node, dict):
            visited = [[key, visit(value, f"{path}/{key}" if path else str(key))] for key, value in node.items()]
            return dict(visited) if all(isinstance(key, str) for key in node) else {PAIRS: visited}
        if isinstance(node, list | tuple):
            return [visit(value, f"{path}/{number}") for number, value in enumerate(node)]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"A training state holds tensors and JSON's values; {path} is a {type(node).__name__}.")

    return tensors, visit(tree, "")


def unflatten(tensors: dict[str, Tensor], plain: Any) -> Any:
    """The tree that `flatten` gave, tuples as lists."""
    if isinstance(plain, dict):
        if TENSOR in plain:
            return tensors[plain[TENSOR]]
        if PAIRS in plain:
            return {key: unflatten(tensors, value) for key, value in plain[PAIRS]}
        return {key: unflatten(tensors, value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [unflatten(tensors, value) for value in plain]
    return plain
