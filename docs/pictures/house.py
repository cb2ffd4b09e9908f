"""The picture of the house: rooms and walls as the contracts in pyproject.toml have them.

Command: `python -m docs.pictures.house` from the project's root. It writes docs/pictures/house.svg.
"""

import ast
import tomllib
from pathlib import Path
from typing import Any

from docs.pictures.svg import MARGIN, Picture, wrapped

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "csasn"
OUT = Path(__file__).with_name("house.svg")
WIDTH, GAP, LINE = 760, 12, 19


def contracts() -> list[dict[str, Any]]:
    """The walls: every contract of import-linter."""
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    return found


def layers() -> list[list[str]]:
    """Rooms and single files of the layers contract, from the top down."""
    contract = next(contract for contract in contracts() if contract["type"] == "layers")
    return [[name.strip("() ") for name in layer.replace(":", "|").split("|")] for layer in contract["layers"]]


def without_torch() -> set[str]:
    """Rooms that a contract forbids to import torch."""
    return {
        module.removeprefix("csasn.")
        for contract in contracts()
        if "torch" in contract.get("forbidden_modules", ())
        for module in contract["source_modules"]
    }


def purpose(room: str) -> str:
    """The first line of a room's docstring."""
    words = ast.get_docstring(ast.parse((SOURCE / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return words.partition("\n")[0]


def is_room(name: str) -> bool:
    """Whether it is a folder; the others are single files."""
    return (SOURCE / name / "__init__.py").exists()


def draw() -> str:
    """The picture as SVG."""
    picture = Picture("The house: rooms and walls of csasn", WIDTH)
    y, pale = float(MARGIN), without_torch()
    for floor in [[name for name in layer if is_room(name)] for layer in layers()]:
        if floor:
            y = _floor(picture, y, floor, pale) + GAP
    words = [name for layer in layers() for name in layer if not is_room(name)]
    inner = WIDTH - 2 * MARGIN
    lines = wrapped(", ".join(words), 15, inner - 28)
    height = 38 + LINE * len(lines)
    picture.box(MARGIN, y, inner, height, kind="marked" if pale.issuperset(words) else "box")
    picture.text(MARGIN + 14, y + 25, "the words: single files that every room may import", bold=True, room=inner - 28)
    for number, line in enumerate(lines):
        picture.text(MARGIN + 14, y + 47 + LINE * number, line, quiet=True, room=inner - 28)
    _walls(picture, y + height + 30)
    return picture.svg()


def _floor(picture: Picture, y: float, rooms: list[str], pale: set[str]) -> float:
    """Draw the rooms of one layer side by side; the y of its lower edge."""
    width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
    lines = {room: wrapped(purpose(room), 15, width - 28) for room in rooms}
    height = 40 + LINE * max(map(len, lines.values()))
    for place, room in enumerate(rooms):
        x = MARGIN + place * (width + GAP)
        picture.box(x, y, width, height, kind="marked" if room in pale else "box")
        picture.text(x + 14, y + 25, f"{room}/", size=16, bold=True, room=width - 28)
        for number, line in enumerate(lines[room]):
            picture.text(x + 14, y + 47 + LINE * number, line, quiet=True, room=width - 28)
    return y + height


def _walls(picture: Picture, y: float) -> None:
    """How to read the picture, and the contracts that the layers do not show."""
    picture.box(MARGIN, y - 14, 22, 18, kind="marked")
    picture.text(MARGIN + 32, y, "never imports torch")
    picture.box(MARGIN + 232, y - 14, 22, 18)
    picture.text(MARGIN + 264, y, "may import torch, or a room that does")
    rules = [
        "A room may import what lies below it, never what lies above.",
        "Rooms side by side do not import each other.",
        *(f"{contract['name']}." for contract in contracts() if contract["type"] == "forbidden"),
    ]
    y += 32
    picture.text(MARGIN, y, "Walls, checked by `make lint`", bold=True)
    for rule in rules:
        for number, line in enumerate(wrapped(rule, 15, WIDTH - 2 * MARGIN - 18)):
            y += LINE + (4 if number == 0 else 0)
            picture.text(MARGIN + (0 if number == 0 else 14), y, f"• {line}" if number == 0 else line, quiet=True)


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
