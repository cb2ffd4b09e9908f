"""Boxes, arrows and words of the documentation's pictures, as SVG that is legible in light and dark mode."""

import textwrap
from dataclasses import dataclass, field
from html import escape

MARGIN = 16
CHARACTER = {False: 0.56, True: 0.61}  # generous width of a character over the size of plain and bold letters
STYLE = """
  svg { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif; }
  .paper { fill: #ffffff; } text { fill: #1c2430; } .quiet { fill: #4a5666; }
  .box { fill: #eef2f6; stroke: #8796a8; } .marked { fill: #d9f0e6; stroke: #3c9071; }
  .outline { fill: none; stroke: #8796a8; stroke-dasharray: 5 4; }
  .arrow { fill: none; stroke: #5b6a7c; stroke-width: 1.6; } .head { fill: #5b6a7c; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #1b2129; } text { fill: #eef2f6; } .quiet { fill: #b4c0cd; }
    .box { fill: #2a333f; stroke: #8796a8; } .marked { fill: #1d4a3b; stroke: #5cb895; }
    .arrow { stroke: #a9b6c4; } .head { fill: #a9b6c4; }
  }"""


def width_of(words: str, size: float, *, bold: bool = False) -> float:
    """Width that words may take, in px; a little more than in common fonts."""
    return len(words) * size * CHARACTER[bold]


def wrapped(words: str, size: float, width: float) -> list[str]:
    """Lines of words that stay within a width, px."""
    return textwrap.wrap(words, int(width / (size * CHARACTER[False])), break_long_words=False)


@dataclass
class Picture:
    """Shapes on a page of a fixed width, px; its height follows what is drawn."""

    title: str
    width: int
    shapes: list[str] = field(default_factory=list)
    bottom: float = 0.0

    def box(self, x: float, y: float, width: float, height: float, *, kind: str = "box") -> None:
        """A rectangle; kind is box, marked or outline."""
        self.shapes.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        self.bottom = max(self.bottom, y + height)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 15,
        bold: bool = False,
        quiet: bool = False,
        anchor: str = "start",
        room: float | None = None,
    ) -> None:
        """Words whose baseline is y; ValueError where they are wider than `room`, px."""
        width = width_of(words, size, bold=bold)
        left = x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        if (room is not None and width > room) or left < 0 or left + width > self.width:
            raise ValueError(f"{words!r} takes up to {width:.0f} px at x = {left:.0f}; make it shorter or wrap it.")
        weight = ' font-weight="600"' if bold else ""
        tone = ' class="quiet"' if quiet else ""
        place = f'x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        self.shapes.append(f"<text{tone} {place}{weight}>{escape(words)}</text>")
        self.bottom = max(self.bottom, y + size * 0.4)

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line along the points, with a head that points down at its end."""
        (x, y), path = points[-1], " L ".join(f"{x:g} {y:g}" for x, y in points)
        self.shapes.append(f'<path class="arrow" d="M {path}"/>')
        self.shapes.append(f'<path class="head" d="M {x - 5:g} {y - 8:g} L {x + 5:g} {y - 8:g} L {x:g} {y:g} Z"/>')

    def svg(self) -> str:
        """The whole file."""
        height = self.bottom + MARGIN
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:g}" width="{self.width}"'
                f' height="{height:g}" role="img" aria-label="{escape(self.title)}">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}\n</style>",
                f'<rect class="paper" width="{self.width}" height="{height:g}" rx="8"/>',
                *self.shapes,
                "</svg>\n",
            ]
        )
