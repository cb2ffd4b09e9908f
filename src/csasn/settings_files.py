"""Settings from TOML files and from the command line's names, and back to TOML."""

import json
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from csasn.config import Configuration, Settings
from csasn.errors import BadInputError, listing

S = TypeVar("S", bound=Settings)


def read_configuration(path: Path) -> Configuration:
    """Defaults overlaid with a TOML file; BadInputError lists every unknown name and value out of range."""
    return read_settings(path, Configuration)


def read_settings(path: Path, kind: type[S]) -> S:
    """Settings of a kind from a TOML file; BadInputError lists every unknown name and value out of range."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"There is no configuration at {path}. Profiles lie in configs/*.toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not valid TOML: {error}.") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise refused_settings(error, source=str(path)) from None


def validated(content: dict[str, object], *, source: str) -> Configuration:
    """A Configuration from nested names and values; BadInputError names each wrong one and its source."""
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        raise refused_settings(error, source=source) from None


def refused_settings(error: ValidationError, *, source: str) -> BadInputError:
    """The error that names each setting that is unknown or out of range, and where it was set."""
    rows = []
    for each in error.errors():
        place = ".".join(map(str, each["loc"]))
        rows.append(f"{place}: {each['msg']} (received {each['input']!r})" if place else each["msg"])
    return BadInputError(
        f"{source} sets what CSASN does not have or cannot take:\n{listing(rows)}\n"
        "`csasn run --help` lists every setting and its unit."
    )


def to_toml(configuration: Configuration) -> str:
    """The resolved settings as TOML, one table a group."""
    lines: list[str] = []
    for group, values in configuration.model_dump(mode="json").items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {_toml_cell(value)}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def _toml_cell(value: object) -> str:
    """A value as TOML writes it: JSON but for tables, and for the delete character, which TOML wants escaped."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_cell(name)} = {_toml_cell(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
