"""Faults 121 to 123: workbooks that show something else than a reader of their values is given."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import xlsxwriter

from tests.faults.fault import Fault
from tests.faults.manifests import LABELS, NAMES, fault, pictures

HEAD = ("image_path", "patient_id", "label", "site")
ODS_NAMES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text", "style")
)
CALC = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
Book = Callable[[xlsxwriter.Workbook, xlsxwriter.worksheet.Worksheet], object]


def rows() -> list[tuple[str, str, str, str]]:
    """Six rows without a fault."""
    return [(name, f"p{place}", label, "Alpha") for place, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))]


def workbook(change: Book, *edits: tuple[str, str]) -> Callable[[Path], None]:
    """A workbook of the six rows that is changed as it is written; then texts of its first sheet are replaced."""

    def make(folder: Path) -> None:
        pictures(folder)
        path = folder / "table.xlsx"
        book = xlsxwriter.Workbook(path)
        sheet = book.add_worksheet("S")
        for place, row in enumerate([HEAD, *rows()]):
            for column, cell in enumerate(row):
                sheet.write_string(place, column, cell)
        change(book, sheet)
        book.close()
        for old, new in edits:
            edited(path, old, new)

    return make


def edited(path: Path, old: str, new: str) -> None:
    """Replace a text of the first sheet, which must be there."""
    before = path.with_suffix(".before")
    shutil.move(path, before)
    with zipfile.ZipFile(before) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name).decode()
            if name.endswith("sheet1.xml"):
                assert old in content, content
                content = content.replace(old, new)
            target.writestr(name, content)
    before.unlink()


def document(cell: str, row: str = "", style: str = "") -> Callable[[Path], None]:
    """An OpenDocument sheet of the six rows, the fourth cell of the third row replaced."""

    def words(text: str) -> str:
        return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'

    def make(folder: Path) -> None:
        pictures(folder)
        body = "<table:table-row>" + "".join(map(words, HEAD)) + "</table:table-row>"
        for place, (*cells, site) in enumerate(rows()):
            opened = f"<table:table-row{row}>" if place == 2 else "<table:table-row>"
            body += opened + "".join(map(words, cells)) + (cell if place == 2 and cell else words(site))
            body += "</table:table-row>"
        content = (
            f'<?xml version="1.0"?><office:document-content {ODS_NAMES} {CALC}>{style}<office:body><office:spreadsheet>'
            f'<table:table table:name="S">{body}</table:table></office:spreadsheet></office:body>'
            "</office:document-content>"
        )
        with zipfile.ZipFile(folder / "table.ods", "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr("content.xml", content)
            archive.writestr(
                "META-INF/manifest.xml",
                '<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:'
                'manifest:1.0"><manifest:file-entry manifest:full-path="/" '
                'manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>',
            )

    return make


def of(number: int, name: str, make: Callable[[Path], None], *aborts: str, file: str = "table.xlsx") -> Fault:
    """The fault; all six pictures are used unless it aborts."""
    return fault(number, name, make, file=file, aborts=aborts, fixed=None)


def failed(_: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
    sheet.write_formula(3, 3, "=VLOOKUP(1,A1:B2,2)", None, "#N/A")


def empty_text(_: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
    sheet.write_formula(0, 4, '="comment"', None, "comment")
    sheet.write_formula(3, 4, "=T(1)", None, "")


def hidden_row(_: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
    sheet.set_row(2, None, None, {"hidden": True})


def filtered(_: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
    sheet.autofilter(0, 0, 6, 3)
    sheet.filter_column(2, "label == PTC")
    for place in (1, 2, 5, 6):
        sheet.set_row(place, None, None, {"hidden": True})


def hidden_sheet(book: xlsxwriter.Workbook, _: object) -> None:
    book.add_worksheet("lists").write_column(0, 0, ["benign", "PTC"])
    book.get_worksheet_by_name("lists").hide()


def very_hidden_sheet(book: xlsxwriter.Workbook, _: object) -> None:
    book.add_worksheet("lists").write_column(0, 0, ["benign", "PTC"])
    book.get_worksheet_by_name("lists").very_hidden()


def two_sheets(book: xlsxwriter.Workbook, _: object) -> None:
    hidden_sheet(book, _)
    book.add_worksheet("more").write_column(0, 0, ["a", "b"])


def padded(column: int, text: str, number: float) -> Book:
    """A text of digits in the second row, and in the fourth a number that is shown with zeros in front."""

    def change(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
        sheet.write_string(1, column, text)
        sheet.write_number(3, column, number, book.add_format({"num_format": "0000"}))

    return change


AS_WRITTEN = '<c r="D4" t="e"><f>VLOOKUP(1,A1:B2,2)</f><v>#N/A</v></c>'
ODS_ERROR = (
    '<table:table-cell table:formula="of:=VLOOKUP(1;[.A1];2)" office:value-type="string" office:string-value="" '
    'calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>'
)
FAILED_CELLS = (
    of(121, "as-excel-writes", workbook(failed), "cell D4"),
    of(121, "type-first", workbook(failed, ('r="D4" t="e"', 't="e" r="D4"')), "cell D4"),
    of(121, "no-place", workbook(failed, ('<c r="D4" t="e">', '<c t="e">')), "cell D4"),
    of(121, "single-quotes", workbook(failed, ('r="D4" t="e"', "r='D4' t='e'")), "cell D4"),
    of(121, "prefix", workbook(failed, (AS_WRITTEN, f'<y:c xmlns:y="{"http://schemas.openxmlformats.org/spreadsheetml/"}'
       '2006/main" r="D4" t="e"><y:v>#N/A</y:v></y:c>')), "cell D4"),
    of(121, "never-computed", workbook(failed, (AS_WRITTEN, '<c r="D4"><f>VLOOKUP(1,A1:B2,2)</f></c>')),
       "cell D4 (a formula that was never computed)"),
    of(121, "open-document", document(ODS_ERROR), "cell D4", file="table.ods"),
    of(121, "open-document-other-writer", document('<table:table-cell table:formula="of:=1/0" '
       'office:value-type="float" office:value="0"><text:p>#DIV/0!</text:p></table:table-cell>'),
       "cell D4", file="table.ods"),
    of(121, "open-document-never-computed", document('<table:table-cell table:formula="of:=[.A1]"/>'),
       "cell D4 (a formula that was never computed)", file="table.ods"),
    of(121, "a-formula-may-give-no-text", workbook(empty_text, ('<c r="E4">', '<c r="E4" t="str">'))),
)  # fmt: skip
HIDDEN = (
    of(122, "row", workbook(hidden_row)),
    of(122, "filter", workbook(filtered)),
    of(122, "open-document-row", document("", ' table:visibility="filter"'), file="table.ods"),
    of(122, "sheet", workbook(hidden_sheet)),
    of(122, "very-hidden-sheet", workbook(very_hidden_sheet)),
    of(122, "two-visible-and-one-hidden", workbook(two_sheets), "S\n", "lists (hidden)", "more\n"),
)
TWOFOLD = (
    of(123, "text-and-number", workbook(padded(1, "0012", 12)), "cell B2 is the text '0012', cell B4 the number 12"),
    of(123, "site", workbook(padded(3, "007", 7)), "cell D2 is the text '007'"),
    of(123, "no-zero-in-the-number", workbook(padded(1, "0", 12))),
    of(123, "other-numbers", workbook(padded(1, "0012", 13))),
    of(123, "open-document", document('<table:table-cell office:value-type="float" office:value="12"><text:p>0012'
       '</text:p></table:table-cell>', "", ""), file="table.ods"),
)  # fmt: skip

FAULTS = (*FAILED_CELLS, *HIDDEN, *TWOFOLD)
