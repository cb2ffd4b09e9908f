"""The command line: parse, call one function, print where the result lies."""

import os
import re
import select
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from csasn import __version__
from csasn.cli.cohort_commands import Check, Ingest, Simulate, Split
from csasn.cli.outcome import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_STOPPED
from csasn.cli.run_commands import (
    Abstention,
    Audit,
    Calibrate,
    Compare,
    Evaluate,
    Explain,
    Fit,
    Predict,
    Report,
    Run,
    Status,
)
from csasn.cli.study_commands import Ablate
from csasn.errors import CsasnError, StoppedError

COMMANDS: dict[str, type] = {
    command.__name__.lower(): command
    for command in (
        Simulate,
        Ingest,
        Check,
        Split,
        Fit,
        Status,
        Predict,
        Calibrate,
        Audit,
        Explain,
        Abstention,
        Evaluate,
        Report,
        Compare,
        Ablate,
        Run,
    )
}

RENAMED_COMMANDS = {"refusal": "abstention"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `csasn`; a CsasnError ends it with its message alone and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"csasn {__version__}")
        return
    try:
        code = parsed(given)()
    except CsasnError as error:
        print(f"csasn: {error}", file=sys.stderr)
        code = EXIT_STOPPED if isinstance(error, StoppedError) else EXIT_REFUSED
    except BrokenPipeError:  # `csasn run --help | head`
        if not _is_unread(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail when Python ends
        print("csasn: nothing reads the output any longer; ended there.", file=sys.stderr)
        code = EXIT_REFUSED
    except KeyboardInterrupt:
        print("csasn: interrupted; run the same command again to go on.", file=sys.stderr)
        code = EXIT_INTERRUPTED
    if code:
        sys.exit(code)


def _is_unread(stream: int) -> bool:
    """Whether what reads this pipe has ended."""
    asked = select.poll()
    asked.register(stream, 0)  # an error is told unasked
    return any(event & select.POLLERR for _, event in asked.poll(0))


def parsed(given: list[str]) -> Callable[[], int]:
    """The command that the arguments name, ready to call; settings come from a file, then from the arguments.

    Only the named command's parser is built, and without a command only the list of commands, so that help is quick.
    """
    if given and given[0] in RENAMED_COMMANDS:
        raise CsasnError(f"`csasn {given[0]}` is called `csasn {RENAMED_COMMANDS[given[0]]}` now; see CHANGELOG.md.")
    if not given or given[0] not in COMMANDS:
        bare = [
            Annotated[dataclass(type(command.__name__, (), {"__doc__": command.__doc__})), tyro.conf.subcommand(name)]
            for name, command in COMMANDS.items()
        ]
        overview: Any = Union[tuple(bare)]  # noqa: UP007 - built at run time
        tyro.cli(overview, args=given, prog="csasn", description="Rare thyroid carcinoma recognition in ultrasound.")
    name, options = given[0], given[1:]
    command = COMMANDS[name]
    chosen: Callable[[], int]
    if command not in (Ingest, Split, Run, Ablate):
        chosen = tyro.cli(command, args=options, prog=f"csasn {name}")
        return chosen
    from pydantic import ValidationError

    from csasn.settings_files import refused_settings, renamed_option

    if words := renamed_option(options):
        raise CsasnError(f"{words}. `csasn {name} --help` lists every setting; CHANGELOG.md says what was renamed.")
    if command in (Split, Ablate):
        options = [re.sub(r"^--scheme\b", "--split.scheme", word) for word in options]
    try:
        chosen = tyro.cli(configured(command, options), args=options, prog=f"csasn {name}")
    except ValidationError as error:
        raise refused_settings(error, source="The command line") from None
    return chosen


def configured(command: type, options: Sequence[str]) -> type:
    """The command with every setting as an argument, whose defaults are those of the --config or --suite given."""
    settings = settings_of(command, options)
    body = {
        "__annotations__": {"settings": Annotated[type(settings), tyro.conf.arg(name="")]},
        "settings": field(default_factory=lambda: settings),
        "__doc__": command.__doc__,
        "__module__": command.__module__,
    }
    return dataclass(frozen=True, kw_only=True)(type(command.__name__, (command,), body))


def settings_of(command: type, options: Sequence[str]) -> Any:
    """The settings that the command's file has, or the defaults where none is given."""
    from csasn.config import Configuration, IngestSettings
    from csasn.settings_files import read_settings

    kind = IngestSettings if command is Ingest else Configuration
    path = path_behind("--suite" if command is Ablate else "--config", options)
    if path is None:
        return kind()
    if command is Ablate:
        from csasn.study.suite import shared_settings

        return shared_settings(path)
    return read_settings(path, kind)


def path_behind(option: str, given: Sequence[str]) -> Path | None:
    """The file behind an option, wherever it stands."""
    for number, word in enumerate(given):
        if word == option and number + 1 < len(given):
            return Path(given[number + 1])
        if word.startswith(f"{option}="):
            return Path(word.removeprefix(f"{option}="))
    return None
