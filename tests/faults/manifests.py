"""Faults 50 to 67: tables of images, faulty in one way each, in the formats that tables come in."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import xlsxwriter
from PIL import Image

from csasn.config import IngestSettings
from tests.faults.fault import Fault

LABELS = ("benign", "benign", "PTC", "PTC", "FTC", "FTC")
NAMES = tuple(f"images/{number}.png" for number in range(len(LABELS)))
Row = dict[str, str | None]
Change = Callable[[list[Row]], list[Row] | None]


def pictures(folder: Path) -> None:
    """Six pictures of noise, all different."""
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(0, 255, (40, 48), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)


def good_rows() -> list[Row]:
    """Six rows without a fault, one a patient."""
    return [
        {"image_path": name, "patient_id": f"p{number}", "label": label}
        for number, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
    ]


def text_of(rows: Sequence[Row], separator: str = ",") -> str:
    """Rows as delimited text; cells that need it are quoted."""
    heads = list(dict.fromkeys(name for row in rows for name in row))
    lines = [heads, *([row.get(name) or "" for name in heads] for row in rows)]
    return "".join(separator.join(_quoted(cell, separator) for cell in line) + "\n" for line in lines)


def _quoted(cell: str, separator: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(sign in cell for sign in (separator, '"', "\n", "\r")) else cell


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Rows as the file whose ending the path has."""
    heads = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        pl.DataFrame(list(rows), schema=dict.fromkeys(heads, pl.String)).write_parquet(path)
    elif path.suffix == ".xlsx":
        book = xlsxwriter.Workbook(path)
        sheet = book.add_worksheet()
        for number, line in enumerate([heads, *([row.get(name) for name in heads] for row in rows)]):
            for column, cell in enumerate(line):
                if cell is not None:
                    sheet.write_string(number, column, cell)
        book.close()
    else:
        path.write_bytes(text_of(rows, "\t" if path.suffix == ".tsv" else ",").encode())


def put(**cells: str | None) -> Callable[..., Change]:
    """A change of cells in the rows of the given numbers: put(label="x")(0, 2)."""

    def on(*numbers: int) -> Change:
        def change(rows: list[Row]) -> None:
            for number in numbers:
                rows[number] |= cells

        return change

    return on


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(rows: list[Row]) -> None:
        for each in changes:
            each(rows)

    return change


def dropped(column: str) -> Change:
    """Rows without a column."""
    return lambda rows: [{name: cell for name, cell in row.items() if name != column} for row in rows]


def renamed(**names: str) -> Change:
    """Rows with columns under other names: renamed(patient_id="Patient")."""
    return lambda rows: [{names.get(name, name): cell for name, cell in row.items()} for row in rows]


def table(
    number: int,
    name: str,
    change: Change = lambda _: None,
    *,
    file: str = "table.csv",
    aborts: tuple[str, ...] = (),
    fixed: Mapping[str, tuple[str, ...]] | None = None,
    beside: Callable[[Path], object] = lambda _: None,
    settings: IngestSettings | None = None,
    patients: tuple[str, ...] = (),
    used: tuple[str, ...] = NAMES,
) -> Fault:
    """A fault made by changing the good rows; `beside` puts further things into the folder."""

    def make(folder: Path) -> None:
        pictures(folder)
        beside(folder)
        rows = good_rows()
        write_table(folder / file, change(rows) or rows)

    return fault(
        number, name, make, file=file, aborts=aborts, fixed=fixed, settings=settings, patients=patients, used=used
    )


def raw(
    number: int,
    name: str,
    content: Callable[[list[Row]], bytes],
    *,
    file: str = "table.csv",
    aborts: tuple[str, ...] = (),
    fixed: Mapping[str, tuple[str, ...]] | None = None,
) -> Fault:
    """A fault made by the very bytes of the table."""

    def make(folder: Path) -> None:
        pictures(folder)
        (folder / file).write_bytes(content(good_rows()))

    return fault(number, name, make, file=file, aborts=aborts, fixed=fixed)


def fault(
    number: int,
    name: str,
    make: Callable[[Path], None],
    *,
    file: str,
    aborts: tuple[str, ...],
    fixed: Mapping[str, tuple[str, ...]] | None,
    settings: IngestSettings | None = None,
    patients: tuple[str, ...] = (),
    used: tuple[str, ...] = NAMES,
) -> Fault:
    """The record: all six pictures are used unless the table aborts."""
    return Fault(
        number=number,
        name=name,
        make=make,
        source=file,
        settings=settings or IngestSettings(),
        used=() if aborts else used,
        fixed=fixed or {},
        patients=patients,
        aborts=aborts and (*aborts, "Nothing was written", "" if number == 50 else file),
    )


def mapped(**columns: str) -> IngestSettings:
    """Settings with a column mapping."""
    return IngestSettings(columns=columns)


def linked_out(folder: Path) -> None:
    """A link to a file, and one to a folder, that lie outside of the table's folder."""
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir()
    Image.fromarray(np.arange(40 * 48, dtype=np.uint8).reshape(40, 48)).save(outside / "x.png")
    (folder / "link.png").symlink_to(outside / "x.png")
    (folder / "linked").symlink_to(outside)
    (folder / "broken.png").symlink_to(folder / "nothing.png")


def absolute_inside(folder: Path) -> None:
    """A good table whose paths are absolute."""
    pictures(folder)
    rows = good_rows()
    for row in rows:
        row["image_path"] = f"{folder}/{row['image_path']}"
    write_table(folder / "table.csv", rows)


def stray_sheets(folder: Path) -> None:
    """A workbook that begins in its third row, with an empty row within."""
    pictures(folder)
    book = xlsxwriter.Workbook(folder / "table.xlsx")
    sheet = book.add_worksheet()
    sheet.write_row(2, 0, ["image_path", "patient_id", "label"])
    sheet.write_row(3, 0, ["images/0.png", "p0", "benign"])
    sheet.write_row(5, 0, ["images/1.png", "p1", "PTCC"])
    book.close()


def error_cell(folder: Path) -> None:
    """A workbook in which a formula failed."""
    pictures(folder)
    book = xlsxwriter.Workbook(folder / "table.xlsx")
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["image_path", "patient_id", "label", "site"])
    sheet.write_row(1, 0, ["images/0.png", "p0", "benign"])
    sheet.write_formula(1, 3, "=VLOOKUP(1,A1:B2,2)", None, "#N/A")
    book.close()


MISSING_COLUMN = (
    table(50, "no-patient", dropped("patient_id"), aborts=("'patient_id'", "It has: image_path, label", "table.csv")),
    table(50, "no-image-tsv", dropped("image_path"), file="t.tsv", aborts=("'image_path'", "t.tsv")),
    table(50, "no-label-parquet", dropped("label"), file="t.parquet", aborts=("'label' (or 'subtype'", "t.parquet")),
    table(
        50, "other-case-xlsx", renamed(patient_id="Patient_ID"), file="t.xlsx", aborts=("did you mean 'Patient_ID'",)
    ),
    table(50, "mapped-to-nothing", settings=mapped(site="Hospital"), aborts=("'Hospital' for site",)),
    table(50, "mapping-misspelt", settings=mapped(pateint_id="x"), aborts=("did you mean 'patient_id'",)),
)
DUPLICATE_PATH = (
    table(51, "same-row", put(image_path=NAMES[0], patient_id="p0", label="benign")(5), aborts=("lines 2, 7",)),
    table(51, "dotted", both(put(image_path="./images/2.png")(3), put(image_path="images//5.png")(4)), file="t.tsv",
          aborts=("line 4: images/2.png (patient p2, PTC)", "line 5: images/2", "line 6: images/5", "line 7")),
    table(51, "windows", put(image_path="images\\0.png", label="benign")(4), file="t.xlsx",
          aborts=("row 2: images/0.png", "row 6: images/0.png")),
    table(51, "thrice", put(image_path=NAMES[2], label="PTC")(3, 4, 5), file="t.parquet", aborts=("row 3", "row 6")),
)  # fmt: skip
TWO_LABELS = (
    table(52, "csv", put(image_path=NAMES[0])(2), aborts=("has one label", "line 2: images/0.png", "PTC")),
    table(52, "through-dots", put(image_path="images/./4.png")(0), file="t.tsv", aborts=("line 2", "line 6", "FTC")),
    table(52, "two-pairs-xlsx", both(put(image_path=NAMES[0])(2), put(image_path=NAMES[1])(4)), file="t.xlsx",
          aborts=("row 2", "row 3", "row 4", "row 6")),
    table(52, "malignant-or-not", both(renamed(label="malignant"), lambda rows: None, put(image_path=NAMES[0])(2)),
          file="t.parquet", aborts=("has one label", "row 1: images/0.png", "row 3: images/0.png")),
)  # fmt: skip
TWO_PARTITIONS = tuple(
    table(53, name, both(put(split_hint="train")(0, 2, 3, 4), put(split_hint=second, patient_id="p0")(1),
                         put(split_hint="test")(5)),
          file=file, aborts=("patient 'p0' in train", f"patient 'p0' in {said}", place))
    for name, second, said, file, place in (
        ("csv", "test", "test", "table.csv", "line 3"),
        ("case", " TUNING ", "tuning", "t.tsv", "line 3"),
        ("xlsx", "test", "test", "t.xlsx", "row 3"),
        ("in-one-and-in-none", None, "no partition", "t.parquet", "row 2"),
    )
)  # fmt: skip
UNKNOWN_LABEL = (
    table(54, "typo", put(label="PTCC")(1, 3, 4), aborts=("lines 3, 5-6: label 'PTCC'", "did you mean 'PTC'?")),
    table(54, "letters-swapped", put(label="bening")(0), file="t.tsv", aborts=("line 2", "did you mean 'benign'?")),
    table(54, "invisible-character", put(label="PTC\u200b")(2), file="t.xlsx", aborts=("row 4", "\\u200b", "'PTC'?")),
    table(54, "two-kinds", both(put(label="sarcoma")(0), put(label="")(2)), file="t.parquet",
          aborts=("row 1: label 'sarcoma' is unknown", "row 3: the label is empty")),
    table(54, "neither-yes-nor-no", put(malignant="maybe")(5), aborts=("line 7: malignant 'maybe'",)),
    table(54, "after-a-line-break", both(put(comment="one\ntwo")(0), put(label="FTCC")(1)), aborts=("line 4: label",)),
    fault(54, "workbook-with-empty-rows", stray_sheets, file="table.xlsx", aborts=("row 6: label 'PTCC'",), fixed=None),
)  # fmt: skip
SPELLING = (
    table(55, "case", put(label="ptc")(2, 3), fixed=dict.fromkeys(NAMES[2:4], ("label-normalised",))),
    table(55, "space", put(label=" FTC\u00a0")(4), file="t.tsv", fixed={NAMES[4]: ("space-trimmed",)}),
    table(55, "full-width", put(label="ＰＴＣ")(2), file="t.xlsx", fixed={NAMES[2]: ("label-normalised",)}),
    table(55, "sites", both(put(site="Hill Side")(0, 1, 2, 3, 4), put(site="hill  side")(5)), file="t.parquet",
          fixed={NAMES[5]: ("site-normalised",)}),
    table(55, "case-and-space", put(label=" Benign")(0), fixed={NAMES[0]: ("space-trimmed", "label-normalised")}),
    table(55, "contradiction-is-no-spelling", put(subtype="benign")(2), aborts=("line 4: its columns contradict",)),
)  # fmt: skip
ENCODED = (
    *(
    raw(56, name, lambda rows, mark=mark, encoding=encoding: mark + text_of(rows).encode(encoding),
        fixed={"table.csv": ("text-recoded",)})
    for name, mark, encoding in (
        ("utf-8-mark", b"\xef\xbb\xbf", "utf-8"),
        ("utf-16-le-mark", b"\xff\xfe", "utf-16-le"),
        ("utf-16-be-mark", b"\xfe\xff", "utf-16-be"),
        ("utf-16-le-unmarked", b"", "utf-16-le"),
        ("utf-16-be-unmarked", b"", "utf-16-be"),
        ("utf-32", b"\xff\xfe\x00\x00", "utf-32-le"),
    )
    ),
    raw(56, "cp1252", lambda rows: text_of(rows).replace("p1", "Müller").encode("cp1252"),
        aborts=("line 3: byte 0xfc is not UTF-8", "CSV UTF-8")),
    raw(56, "utf-16-cut", lambda rows: text_of(rows).encode("utf-16")[:-1], aborts=("utf-16: truncated",)),
)  # fmt: skip
WRONG_DELIMITER = (
    raw(57, "semicolons", lambda rows: text_of(rows, ";").encode(), aborts=("semicolons",)),
    raw(57, "tabs-in-csv", lambda rows: text_of(rows, "\t").encode(), aborts=("tabs",)),
    raw(57, "bars", lambda rows: text_of(rows, "|").encode(), aborts=("bars",)),
    raw(57, "commas-in-tsv", lambda rows: text_of(rows).encode(), file="t.tsv", aborts=("commas",)),
    raw(57, "excel-sep-line", lambda rows: b"sep=;\n" + text_of(rows, ";").encode(), aborts=("semicolons",)),
    raw(57, "one-row", lambda rows: text_of(rows).replace("p2,PTC", "p2;PTC").encode(), aborts=("line 4: 2 cells",)),
    raw(
        57, "comma-in-a-cell", lambda rows: text_of(rows).replace("p4", "Doe, p4").encode(), aborts=("line 6: 4 cells",)
    ),
)
EMPTY_KEY = (
    table(58, "patient", put(patient_id="")(1, 2), aborts=("lines 3-4: patient_id is empty",)),
    table(58, "spaces-tsv", put(patient_id="  ")(5), file="t.tsv", aborts=("line 7: patient_id is empty",)),
    table(58, "image-xlsx", put(image_path=None)(3), file="t.xlsx", aborts=("row 5: image_path is empty",)),
    table(58, "null-parquet", put(patient_id=None)(0), file="t.parquet", aborts=("row 1: patient_id is empty",)),
    table(58, "of-other-programs", both(put(patient_id="NA")(0, 1), put(patient_id="nan")(3)),
          aborts=("lines 2-3: patient_id 'NA' stands for an empty cell", "line 5: patient_id 'nan'")),
    fault(58, "error-cell", error_cell, file="table.xlsx", aborts=("cell D2",), fixed=None),
    table(58, "invisible", put(patient_id="p1\u200b")(2), aborts=("line 4", "visible text")),
)  # fmt: skip
DIGITS = ("007", "7", "0070", "1e3", "1000", "0x7")
KEPT_AS_TEXT = tuple(
    table(59, file, lambda rows: [row | {"patient_id": digits} for row, digits in zip(rows, DIGITS, strict=True)],
          file=file, patients=DIGITS)
    for file in ("table.csv", "t.tsv", "t.xlsx", "t.parquet")
)  # fmt: skip
DOTS = (
    table(61, "csv", put(image_path="../x.png")(0, 3), aborts=("lines 2, 5: '../x.png'",)),
    table(61, "within", put(image_path="images/../images/0.png")(2), file="t.tsv", aborts=("line 4",)),
    table(61, "windows", put(image_path="..\\x.png")(1), file="t.xlsx", aborts=("row 3: '../x.png'",)),
    table(61, "mask", put(mask_path="images/../../m.png")(4), file="t.parquet", aborts=("mask_path", "row 5")),
)
LINKED = (
    table(18, "in-a-table", put(image_path="link.png")(3), beside=linked_out, aborts=("lies below", "line 5",)),
    table(18, "folder-in-a-table", put(image_path="linked/x.png")(3), beside=linked_out, aborts=("lies below",)),
    table(18, "loop-in-a-table", put(image_path="loop.png")(3), aborts=("line 5: 'loop.png'",),
          beside=lambda folder: (folder / "loop.png").symlink_to("loop.png")),
)  # fmt: skip
OUTSIDE = (
    table(62, "posix", put(image_path="/etc/hostname")(2), aborts=("line 4: '/etc/hostname'",)),
    table(62, "drive", put(image_path="C:\\scans\\x.png")(1), file="t.tsv", aborts=("line 3: 'C:/scans/x.png'",)),
    table(62, "drive-slashes", put(image_path="D:/x.png")(1), file="t.xlsx", aborts=("row 3: 'D:/x.png'",)),
    table(62, "server", put(image_path="\\\\nas\\x.png")(0), file="t.parquet", aborts=("row 1: '//nas/x.png'",)),
    fault(62, "absolute-within", absolute_inside, file="table.csv", aborts=(),
          fixed=dict.fromkeys(NAMES, ("path-normalised",))),
    table(62, "windows-within", put(image_path="images\\3.png")(3), fixed={NAMES[3]: ("path-normalised",)}),
)  # fmt: skip
MISSING_FILE = (
    table(63, "csv", both(put(image_path="images/8.png")(0), put(image_path="no/9.png")(4)),
          aborts=("line 2: 'images/8.png'", "line 6: 'no/9.png'")),
    table(63, "mask", put(mask_path="masks/0.png")(0), file="t.tsv", aborts=("mask_path names an existing", "line 2")),
    table(63, "broken-link", put(image_path="broken.png")(1), file="t.xlsx", beside=linked_out, aborts=("row 3",)),
    table(63, "file-as-folder", put(image_path="images/0.png/x.png")(1), file="t.parquet", aborts=("row 2",)),
    table(63, "endless-name", put(image_path="x" * 300)(1), aborts=("line 3",)),
    table(63, "url", put(image_path="https://hospital.example/1.png")(1), aborts=("line 3",)),
)  # fmt: skip
NOTHING = (
    raw(64, "no-bytes", lambda _: b"", aborts=("begins with a header",)),
    raw(64, "header-alone", lambda _: b"image_path,patient_id,label\n", aborts=("at least one row",)),
    raw(64, "blank-lines", lambda _: b"image_path,patient_id,label\n\n , ,\n,,\n", aborts=("at least one row",)),
    table(64, "tsv", lambda rows: [dict.fromkeys(rows[0])], file="t.tsv", aborts=("at least one row",)),
    table(64, "xlsx", lambda rows: [dict.fromkeys(rows[0])], file="t.xlsx", aborts=("at least one row",)),
    table(64, "parquet", lambda rows: [dict.fromkeys(rows[0])], file="t.parquet", aborts=("at least one row",)),
    raw(64, "no-workbook", lambda rows: text_of(rows).encode(), file="t.xlsx", aborts=("not a readable workbook",)),
    raw(64, "no-parquet", lambda _: b"", file="t.parquet", aborts=("not readable parquet",)),
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "'=2")
FORMULA_CELLS = tuple(
    table(65, file, lambda rows: [row | {"patient_id": cell} for row, cell in zip(rows, FORMULAS, strict=True)],
          file=file, patients=FORMULAS)
    for file in ("table.csv", "t.tsv", "t.xlsx", "t.parquet")
)  # fmt: skip
LINE_BREAK = (
    *(
    table(67, name, put(**{column: cell})(*(range(6) if column == "site" else (1,))), file=file,
          fixed={file: ("line-break-in-cell",)})
    for name, column, cell, file in (
        ("comment", "comment", "seen twice,\nsee report", "table.csv"),
        ("carriage-return", "comment", "one\r\ntwo", "table.csv"),
        ("site", "site", "Hill\nSide", "t.tsv"),
        ("xlsx", "device", "Model\n5", "t.xlsx"),
        ("parquet", "device", 'the "new"\none', "t.parquet"),
    )
    ),
    raw(67, "never-closed", lambda rows: text_of(rows).replace("p3", '"p3').encode(), aborts=("from line 5 to line",)),
    raw(67, "text-after-the-quote", lambda rows: text_of(rows).replace("p3", '"p"3').encode(), aborts=("line 5",)),
)  # fmt: skip

FAULTS: tuple[Fault, ...] = (
    *MISSING_COLUMN, *DUPLICATE_PATH, *TWO_LABELS, *TWO_PARTITIONS, *UNKNOWN_LABEL, *SPELLING, *ENCODED,
    *WRONG_DELIMITER, *EMPTY_KEY, *KEPT_AS_TEXT, *LINKED, *DOTS, *OUTSIDE, *MISSING_FILE, *NOTHING,
    *FORMULA_CELLS, *LINE_BREAK,
)  # fmt: skip
