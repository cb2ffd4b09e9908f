"""JSON documents that one room writes and another reads: a frozen dataclass each, one writer, one reader."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from csasn.errors import BadInputError, listing
from csasn.files import file_bytes, read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

D = TypeVar("D")


def write_document(path: Path, document: "DataclassInstance") -> None:
    """Write a frozen dataclass, and those within it, as indented JSON whole or not at all; NaN is refused."""
    write_json(path, asdict(document))


def read_document(path: Path, kind: type[D]) -> D:
    """The document of a JSON file as `write_document` wrote it.

    Raises BadInputError where the file is missing or is no JSON object, and where a field is missing, unknown or of
    another type: the message has the path of each wrong value, as in `records[3].estimate`.
    """
    content = read_json(path)
    try:
        return TypeAdapter(kind).validate_json(file_bytes(path), strict=True, extra="forbid")
    except ValidationError as error:
        wrong: dict[str, list[str]] = {}
        for each in error.errors(include_url=False):
            wrong.setdefault(json_path(content, each["loc"], missing=each["type"] == "missing"), []).append(each["msg"])
        raise BadInputError(
            f"{path} is not a document that this version of csasn reads ({kind.__name__}):\n"
            f"{listing([place + ': ' + '; '.join(messages) for place, messages in wrong.items()])}\n"
            "Restore it, or run the stage that writes it again."
        ) from None


def json_path(content: object, place: Sequence[int | str], *, missing: bool = False) -> str:
    """A place in JSON content as text: "records[3].estimate".

    A part that is not in the content only names a type of a union, and is left out; the last one, where a field is
    missing, is that field.
    """
    text = ""
    for number, part in enumerate(place, start=1):
        if isinstance(part, int) and isinstance(content, list):
            text, content = f"{text}[{part}]", content[part]
        elif isinstance(content, dict) and (part in content or (missing and number == len(place))):
            text, content = f"{text}.{part}", content.get(part)
    return text.removeprefix(".") or "the whole file"
