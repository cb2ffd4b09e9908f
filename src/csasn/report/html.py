"""Sections become one self-contained page, and each of their figures and tables a file beside it."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from csasn.files import write_bytes
from csasn.report.blocks import Block, Drawing, Section, Table


def write_blocks(folder: Path, sections: Sequence[Section]) -> None:
    """Every figure of the sections as figures/NAME.svg and .png, every table as tables/NAME.csv."""
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Drawing):
            write_bytes(folder / f"figures/{block.name}.svg", block.svg.encode())
            write_bytes(folder / f"figures/{block.name}.png", block.png)
        elif isinstance(block, Table):
            write_bytes(folder / f"tables/{block.name}.csv", block.csv())


def rendered(
    sections: Sequence[Section], *, title: str, heading: str, source: str, headline: str, simulated: bool
) -> bytes:
    """The page as HTML, stamped where the cohort is simulated."""
    environment = Environment(loader=PackageLoader("csasn.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters["groups"] = side_by_side
    return (
        environment.get_template("page.html")
        .render(title=title, heading=heading, source=source, headline=headline, simulated=simulated, sections=sections)
        .encode()
    )


def side_by_side(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks in order, with drawings that follow each other in one group."""
    keyed = groupby(enumerate(blocks), key=lambda pair: -1 if isinstance(pair[1], Drawing) else pair[0])
    return [[block for _, block in group] for _, group in keyed]
