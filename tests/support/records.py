"""Records of any frozen dataclass, drawn from the types of its fields."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

PLAIN: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    NoneType: st.none(),
    object: st.booleans() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
}


def records(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that a JSON document may hold; a sequence is a list, as a reader makes it."""
    if kind in PLAIN:
        return PLAIN[kind]
    if is_dataclass(kind):
        types = get_type_hints(kind)
        return st.builds(kind, **{field.name: records(types[field.name]) for field in fields(kind)})
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is UnionType:
        return st.one_of(*map(records, parts))
    if origin is Sequence:
        return st.lists(records(parts[0]), max_size=2)
    if origin is Mapping:
        return st.dictionaries(records(parts[0]), records(parts[1]), max_size=2)
    raise TypeError(f"A record of a JSON document has no field of type {kind}.")
