"""The pieces of a page: a section is a title and its blocks; a table is also a CSV file, a drawing an SVG and a PNG."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from csasn.csv_cells import csv_bytes

Cells = Sequence[Sequence[object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A paragraph, small print where quiet, a list where there are items."""

    kind: ClassVar[str] = "words"
    text: str = ""
    items: tuple[str, ...] = ()
    quiet: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of text under a head; `name` is that of its CSV file. Columns in `wide` may break their lines.

    A folded table stands behind its caption: what few readers want, and a figure or a sentence has told already.
    """

    kind: ClassVar[str] = "table"
    name: str
    caption: str
    head: tuple[str, ...]
    rows: Cells
    wide: frozenset[int] = frozenset()
    folded: bool = False

    def csv(self) -> bytes:
        """The table as CSV."""
        return csv_bytes(self.head, self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure as SVG text and as PNG of 300 dots an inch, with the words below it."""

    kind: ClassVar[str] = "drawing"
    name: str
    words: str
    svg: str
    png: bytes

    @property
    def inline(self) -> Markup:
        """The SVG from its root element on, without the XML prologue; text in it is drawn as paths."""
        return Markup(self.svg[self.svg.index("<svg") :])  # noqa: S704 (drawn by matplotlib, which escapes text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A PNG, or None with the reason in `missing`, over a line in bold and further lines."""

    png: bytes | None
    missing: str
    title: str
    lines: tuple[str, ...]
    alt: str

    @property
    def address(self) -> str:
        """The picture as a data address."""
        return "data:image/png;base64," + base64.b64encode(self.png or b"").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures side by side."""

    kind: ClassVar[str] = "pictures"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Text as it stands, behind a summary."""

    kind: ClassVar[str] = "listing"
    summary: str
    text: str


Block = Words | Table | Drawing | Pictures | Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One question that the page answers; `short` is its name in the list of sections."""

    id: str
    title: str
    short: str
    blocks: tuple[Block, ...]
