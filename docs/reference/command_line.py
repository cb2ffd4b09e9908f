"""The page of commands: what `csasn COMMAND --help` prints, less its frames, for every command.

Command: `python -m docs.reference.command_line` from the project's root. It writes docs/reference/command-line.md.
"""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from csasn.cli import COMMANDS

OUT = Path(__file__).with_name("command-line.md")
WIDTH = "80"  # characters a line, whatever the terminal has
HEAD = """# Command line

Every command with its options, as `csasn COMMAND --help` prints them, less the frames.
`docs/reference/command_line.py` writes this page from the program itself.

Settings come from three places. A later one wins: the defaults, the TOML file behind `--config`, the command line. So
`size_px = 168` in the table `[imaging]` of the file is `--imaging.size-px 168` on the command line.

`csasn` can also be called as `python -m csasn`. `csasn --version` prints the version.
[Exit codes](run-folder.md#exit-codes).
"""


def help_of(*arguments: str) -> str:
    """What `csasn ARGUMENTS --help` prints, without colour and at a fixed width."""
    plain = {"COLUMNS": WIDTH, "LINES": "50", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    colours = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    environment = {name: value for name, value in os.environ.items() if name not in colours} | plain
    printed = subprocess.run(
        [sys.executable, "-m", "csasn", *arguments, "--help"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    rules = re.compile(r"[╰│] ?─+ ?[╯│]")  # a frame's lower edge, and a line across it
    words = "\n".join(unframed(line) for line in printed.strip().splitlines() if not rules.fullmatch(line))
    return re.sub(r"\n{3,}", "\n\n", words)


def unframed(line: str) -> str:
    """A line of a framed panel as plain words; its title gets a blank line before it."""
    if title := re.fullmatch(r"╭─ (.+?) ─*╮", line):
        return f"\n{title[1]}:"
    if not line.startswith("│"):  # usage and description, which are printed on one line however long they are
        return "\n".join(textwrap.wrap(line, int(WIDTH), break_long_words=False)) or line
    return re.sub(r"^│ (.*)│$", r"  \1", line).rstrip()


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD, f"```text\n{help_of()}\n```\n"]
    parts += [f"## csasn {name}\n\n```text\n{help_of(name)}\n```\n" for name in COMMANDS]
    return "\n".join(parts)


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
