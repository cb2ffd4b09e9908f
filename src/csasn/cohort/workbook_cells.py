"""What a workbook shows beside its values: cells that failed, hidden rows and sheets, numbers beside texts of digits.

Readers of workbooks give a failed cell as an empty one and a hidden row as any other, so the file is looked at itself.
Names of elements are compared without their namespace and attributes in any order, since programs differ in both.
"""

import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

FAILED = re.compile(r"#N/A|#[A-Z0-9/_]+[!?]|Err:\d+", re.IGNORECASE)
NUMBER_TYPES = ("float", "percentage", "currency")


@dataclass(kw_only=True, slots=True)
class SheetFacts:
    """Of one sheet: whether it is hidden, cells without a value that there should be, rows hidden, digits by column."""

    hidden: bool = False
    wrong: list[str] = field(default_factory=list)
    hidden_rows: list[int] = field(default_factory=list)
    numbers: dict[tuple[int, int], str] = field(default_factory=dict)
    """(column, whole number) -> the first cell that holds it as a number."""
    digits: list[tuple[int, str, str]] = field(default_factory=list)
    """(column, text, cell) of texts that are digits alone and begin with 0."""

    def twofold(self) -> list[str]:
        """Texts like 0012 in whose column another cell holds the number 12."""
        return [
            f"cell {cell} is the text {text!r}, cell {self.numbers[column, int(text)]} the number {int(text)}"
            for column, text, cell in self.digits
            if (column, int(text)) in self.numbers
        ]

    def take(self, cell: str, column: int, text: str, *, number: bool) -> None:
        """Keep a cell whose digits may be those of another."""
        if number:
            value = _whole(text)
            if value is not None:
                self.numbers.setdefault((column, value), cell)
        elif re.fullmatch(r"0[0-9]{1,17}", text.strip()):
            self.digits.append((column, text.strip(), cell))


def sheet_facts(path: Path) -> dict[str, SheetFacts]:
    """Facts of every sheet of a workbook by its name; none of a format that cannot be looked into (.xls).

    Raises ValueError (ET.ParseError is one), KeyError, OSError or zipfile.BadZipFile where the file is damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in (".xlsx", ".xlsm", ".ods"):
        return {}
    with zipfile.ZipFile(path) as archive:
        return _open_document(archive) if suffix == ".ods" else _excel(archive)


def _excel(archive: zipfile.ZipFile) -> dict[str, SheetFacts]:
    places = {
        _of(each, "Id"): _of(each, "Target").removeprefix("/").removeprefix("xl/")
        for _, each in _elements(archive.open("xl/_rels/workbook.xml.rels"), "Relationship")
    }
    texts = _shared_texts(archive)
    found: dict[str, SheetFacts] = {}
    for _, sheet in _elements(archive.open("xl/workbook.xml"), "sheet"):
        facts = SheetFacts(hidden=_of(sheet, "state") in ("hidden", "veryHidden"))
        target = places.get(_of(sheet, "id"), "")
        if target.startswith("worksheets/"):  # not a sheet that is a chart
            with archive.open(f"xl/{target}") as stream:
                _excel_sheet(stream, facts, texts)
        found[_of(sheet, "name")] = facts
    return found


def _shared_texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    with archive.open("xl/sharedStrings.xml") as stream:
        return ["".join(each.itertext()) for _, each in _elements(stream, "si")]


def _excel_sheet(stream: IO[bytes], facts: SheetFacts, texts: list[str]) -> None:
    number = 0
    for _, row in _elements(stream, "row"):
        number = int(_of(row, "r") or number + 1)
        if _of(row, "hidden") in ("1", "true"):
            facts.hidden_rows.append(number)
        column = 0
        for cell in row:
            if _local(cell) != "c":
                continue
            place = _of(cell, "r")
            column = _column(place) if place else column + 1
            _excel_cell(cell, place or f"{_letters(column)}{number}", column, facts, texts)


def _excel_cell(cell: ET.Element, place: str, column: int, facts: SheetFacts, texts: list[str]) -> None:
    parts = {_local(part): part for part in cell}
    kind = _of(cell, "t")
    value = "".join(parts["v"].itertext()) if "v" in parts else ""
    never_computed = "f" in parts and not value and kind != "str"
    if kind == "e" or never_computed:
        facts.wrong.append(f"{place}{' (a formula that was never computed)' if never_computed and kind != 'e' else ''}")
    elif kind == "s" and value.isdecimal() and int(value) < len(texts):
        facts.take(place, column, texts[int(value)], number=False)
    elif kind in ("inlineStr", "str"):
        text = "".join(parts["is"].itertext()) if "is" in parts else value
        facts.take(place, column, text, number=False)
    elif kind in ("", "n") and value:
        facts.take(place, column, value, number=True)


def _open_document(archive: zipfile.ZipFile) -> dict[str, SheetFacts]:
    found: dict[str, SheetFacts] = {}
    unseen: set[str] = set()
    style = ""
    with archive.open("content.xml") as stream:
        for event, each in _elements(stream, "style", "table-properties", "table", starts=("style",)):
            if event == "start":
                style = _of(each, "name")
            elif _local(each) == "table-properties" and _of(each, "display") == "false":
                unseen.add(style)
            elif _local(each) == "table":
                facts = SheetFacts(hidden=_of(each, "style-name") in unseen)
                _open_document_sheet(each, facts)
                found[_of(each, "name")] = facts
    return found


def _open_document_sheet(table: ET.Element, facts: SheetFacts) -> None:
    number = 1
    for row in table.iter():
        if _local(row) != "table-row":
            continue
        filled = False
        column = 1
        for cell in row:
            if _local(cell) in ("table-cell", "covered-table-cell"):
                filled |= _open_document_cell(cell, f"{_letters(column)}{number}", column, facts)
                column += int(_of(cell, "number-columns-repeated") or 1)
        if filled and _of(row, "visibility") in ("collapse", "filter"):
            facts.hidden_rows.append(number)
        number += int(_of(row, "number-rows-repeated") or 1)


def _open_document_cell(cell: ET.Element, place: str, column: int, facts: SheetFacts) -> bool:
    """Take one cell in; whether it holds anything."""
    kinds = [value for name, value in cell.attrib.items() if name.rpartition("}")[2] == "value-type"]
    text = "".join("".join(part.itertext()) for part in cell if _local(part) == "p")
    formula = bool(_of(cell, "formula"))
    if "error" in kinds or (formula and (not kinds or FAILED.fullmatch(text.strip()))):
        facts.wrong.append(f"{place}{'' if kinds else ' (a formula that was never computed)'}")
    elif any(kind in NUMBER_TYPES for kind in kinds):
        facts.take(place, column, _of(cell, "value"), number=True)
    elif text:
        facts.take(place, column, text, number=False)
    return bool(kinds or text or formula)


def _elements(stream: IO[bytes], *names: str, starts: tuple[str, ...] = ()) -> Iterator[tuple[str, ET.Element]]:
    """Every element with one of these names as it ends (or starts), emptied when the next one is asked for."""
    for event, element in ET.iterparse(stream, events=("start", "end") if starts else ("end",)):  # noqa: S314 - expat bounds entities
        if _local(element) in (starts if event == "start" else names):
            yield event, element
            if event == "end":
                element.clear()


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _of(element: ET.Element, name: str) -> str:
    """An attribute by its name without namespace; empty where absent."""
    attributes: Mapping[str, str] = element.attrib
    return next((value for key, value in attributes.items() if key.rpartition("}")[2] == name), "")


def _whole(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() and 0 <= value < 1e18 else None


def _column(place: str) -> int:
    number = 0
    for letter in place.upper():
        if not "A" <= letter <= "Z":
            break
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _letters(column: int) -> str:
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
