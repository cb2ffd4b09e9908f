"""Settings from TOML files and from the command line's names, and back to TOML."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from csasn.config import Configuration, Settings
from csasn.errors import BadInputError, listing
from csasn.files import file_bytes

S = TypeVar("S", bound=Settings)
# Names of earlier versions and what they are called now; see CHANGELOG.md.
RENAMED = {
    "fit.rivals": "fit.baselines",
    "fit.frozen_epochs": "fit.frozen.epochs",
    "fit.frozen_learning_rate": "fit.frozen.learning_rate",
    "fit.feature_mixup": "fit.frozen.mixup",
    **{
        f"fit.finetune_{name}": f"fit.finetune.{name}"
        for name in (
            *("epochs", "learning_rate", "blocks", "layer_decay", "unfreeze_epochs"),
            *("drop_path", "clip_norm", "mixup", "cutmix"),
        )
    },
    "scrutiny.n_patients": "shortcuts.n_patients and explain.n_patients",
    "scrutiny.refused_fraction": "novelty.abstained_fraction",
    "scrutiny.n_neighbours": "novelty.n_neighbours",
    "scrutiny.n_similar": "explain.n_similar",
    "scrutiny.n_permutations": "shortcuts.n_permutations",
    "scrutiny.false_alarm_rate": "shortcuts.false_alarm_rate",
    "scrutiny.smallest_auroc": "shortcuts.smallest_auroc",
    "scrutiny": "novelty, shortcuts and explain",
    "rivals": "baselines",
}


def read_configuration(path: Path | str) -> Configuration:
    """Defaults overlaid with a TOML file; BadInputError lists every unknown name and value out of range."""
    return read_settings(Path(path), Configuration)


def read_settings(path: Path, kind: type[S]) -> S:
    """Settings of a kind from a TOML file; BadInputError lists every unknown name and value out of range."""
    if not path.exists():
        raise BadInputError(f"There is no configuration at {path}. Profiles lie in configs/*.toml.")
    content = read_toml(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise refused_settings(error, source=str(path)) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, with or without a byte order mark; BadInputError where it is none."""
    try:
        return tomllib.loads(file_bytes(path).decode("utf-8-sig"))
    except RecursionError:
        raise BadInputError(f"{path} is not valid TOML: too many brackets within brackets.") from None
    except ValueError as error:
        raise BadInputError(f"{path} is not valid TOML: {error}.") from error


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
        if place == "scrutiny" and isinstance(each["input"], dict):
            rows += [_renamed(f"scrutiny.{name}") for name in each["input"]] or [_renamed(place)]
        elif each["type"] == "extra_forbidden" and place.removeprefix("settings.") in RENAMED:
            rows.append(_renamed(place.removeprefix("settings.")))
        else:
            rows.append(f"{place}: {each['msg']} (received {each['input']!r})" if place else each["msg"])
    return BadInputError(
        f"{source} sets what CSASN does not have or cannot take:\n{listing(rows)}\n"
        "`csasn run --help` lists every setting and its unit."
    )


def _renamed(name: str) -> str:
    return f"{name}: it is called {RENAMED.get(name, RENAMED['scrutiny'])} now"


def renamed_option(options: Sequence[str]) -> str | None:
    """What the first option with an earlier version's name is called now, in words; None where there is none."""
    for option in options:
        name = option.removeprefix("--").split("=")[0].replace("-", "_")
        if option.startswith("--") and name in RENAMED:
            return (
                f"{option.split('=')[0]} is called --{RENAMED[name].replace(' and ', ' and --').replace('_', '-')} now"
            )
    return None


def flat_settings(settings: Settings) -> dict[str, object]:
    """Every setting by its dotted name ("fit.finetune.epochs"), in JSON's terms."""
    values = settings.model_dump(mode="json")
    flat: dict[str, object] = {}
    for name in type(settings).model_fields:
        each = getattr(settings, name)
        within = (
            {f"{name}.{key}": value for key, value in flat_settings(each).items()} if isinstance(each, Settings) else {}
        )
        flat |= within or {name: values[name]}
    return flat


def overlaid(base: Mapping[str, Any], changes: Mapping[str, Any], kind: type[Settings]) -> dict[str, Any]:
    """Nested names and values with changes laid over them; a table that is a value (a population) is replaced whole."""
    merged = dict(base)
    for name, value in changes.items():
        field = kind.model_fields.get(name)
        table = field.annotation if field is not None else None
        nested = isinstance(table, type) and issubclass(table, Settings) and isinstance(value, Mapping)
        merged[name] = overlaid(base.get(name, {}), value, table) if nested else value  # type: ignore[arg-type]
    return merged


def to_toml(configuration: Configuration) -> str:
    """The resolved settings as TOML, one table a group, with tables of their own within it."""
    lines: list[str] = []
    for group, values in configuration.model_dump(mode="json").items():
        fields = type(getattr(configuration, group)).model_fields
        tables = [name for name in values if isinstance(getattr(getattr(configuration, group), name), Settings)]
        lines.append(f"[{group}]")
        lines += [f"{name} = {_toml_cell(values[name])}" for name in fields if name not in tables]
        for name in tables:
            lines += ["", f"[{group}.{name}]", *(f"{key} = {_toml_cell(each)}" for key, each in values[name].items())]
        lines.append("")
    return "\n".join(lines)


def _toml_cell(value: object) -> str:
    """A value as TOML writes it: JSON but for tables, and for the delete character, which TOML wants escaped."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_cell(name)} = {_toml_cell(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
