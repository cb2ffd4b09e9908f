"""The files of a published set: each becomes a row, belongs to one, is a document, or is refused."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from csasn.cohort.folders import files_below, unusable
from csasn.cohort.ledger import LedgerRow
from csasn.cohort.published.published_set import PublishedSet
from csasn.cohort.source import Source
from csasn.decoding.pictures import refuse_unopenable
from csasn.decoding.refused import RefusedPicture
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
DOCUMENTS = (
    ".txt",
    ".md",
    ".rst",
    ".pdf",
    ".html",
    ".xml",
    ".json",
    ".jsonl",
    ".yaml",
    ".yml",
    ".csv",
    ".tsv",
    ".xlsx",
)
HIDDEN = (".", "__MACOSX")
DOCUMENT_NAMES = ("LICENSE", "LICENCE", "README", "Thumbs.db", "desktop.ini")
MOST_WRAPPERS = 3  # folders around a set, one in the other, as archives leave them (TN5000 has two of its own)
MOST_DOCUMENT_BYTES = 4_000_000  # of one annotation file
# What a row may hold beside its keys and label; see csasn.cohort.source for the columns that are not the manifest's.
ROW_TYPES: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "image_path": pl.String,
    "site": pl.String,
    "patient_id": pl.String,
    "nodule_id": pl.String,
    "malignant": pl.Boolean,
    "subtype": pl.String,
    "patient_assumed": pl.Boolean,  # the image stands in for a patient whom the set does not name
    "mask_path": pl.String,
    "mask_paths": pl.List(pl.String),  # further masks, to be united with mask_path
    "outlines": pl.List(pl.List(pl.List(pl.Float64))),  # polygons of [x, y], px
    "member": pl.Int64,
    "frame": pl.Int32,
    "split_hint": pl.String,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """The files below a set's folder that may be opened, relative and sorted, and those that may not."""

    root: Path
    paths: tuple[str, ...]
    refused: tuple[LedgerRow, ...]

    def within(self, folder: str) -> list[str]:
        """The files that lie directly in a sub-folder; "" is the set's own folder."""
        parent = PurePosixPath(folder)
        return [path for path in self.paths if PurePosixPath(path).parent == parent]

    def document(self, path: str) -> bytes:
        """The bytes of an annotation file; RefusedPicture where it is no regular file, empty, too large, unreadable."""
        place = self.root / path
        refuse_unopenable(place)
        if place.stat().st_size > MOST_DOCUMENT_BYTES:
            raise RefusedPicture("annotation-unreadable", f"over {MOST_DOCUMENT_BYTES} bytes")
        try:
            return place.read_bytes()
        except OSError as error:
            raise RefusedPicture("unreadable", f"{type(error).__name__}: {error}") from error


def tree_of(folder: Path) -> Tree:
    """The files of a set; links that lead out of it and names that are no text are refused unopened."""
    paths, unlisted = files_below(folder)
    refused = [LedgerRow(item=_shown(name), code="unreadable", reason="the folder cannot be read") for name in unlisted]
    usable: list[str] = []
    for path in paths:
        if found := unusable(path, folder):
            refused.append(LedgerRow(item=_shown(str(path)), code=found[0], reason=found[1]))
        else:
            usable.append(str(path))
    return Tree(root=folder, paths=tuple(usable), refused=tuple(refused))


def home_of(folder: Path, looks: Callable[[Path], bool]) -> Path | None:
    """The folder that looks like the set: the given one, or the only folder in it where an archive was unpacked.

    A folder that holds pictures or a second folder is no wrapper, so that a hospital's tree is never searched.
    """
    for _ in range(MOST_WRAPPERS):
        if looks(folder):
            return folder
        inner = _only_folder(folder)
        if inner is None:
            return None
        folder = inner
    return folder if looks(folder) else None


def _only_folder(folder: Path) -> Path | None:
    """The one visible sub-folder of a folder without pictures; stops at the first entry that shows there is none."""
    found: str | None = None
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(HIDDEN) or entry.is_symlink():
                    continue
                if entry.name.lower().endswith(PICTURES) or (found is not None and entry.is_dir()):
                    return None
                if entry.is_dir():
                    found = entry.name
    except OSError:
        return None
    return None if found is None else folder / found


def required_home(folder: Path, looks: Callable[[Path], bool], published: PublishedSet) -> Path:
    """The folder that looks like the set; BadInputError, saying what the layout is, where there is none."""
    home = home_of(folder, looks)
    if home is None:
        raise BadInputError(
            f"The layout {published.name} is {published.title}. {folder} is not: it holds\n"
            f"{listing([entry.name for entry in visible(folder)]) or '  - (nothing)'}\n"
            f"Give the folder as it was distributed, or another --layout. {NOTHING_WRITTEN}"
        )
    return home


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are neither hidden nor links, sorted; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [each.name for each in entries if not each.is_symlink()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(HIDDEN)]


def gathered(
    published: PublishedSet,
    tree: Tree,
    rows: Sequence[Mapping[str, object]],
    refused: Iterable[LedgerRow],
    *,
    used: Iterable[str] = (),
    notes: Sequence[str] = (),
    kept: bool = False,
) -> Source:
    """The source of a set; files that are neither rows, nor `used` by one, nor documents join the refused.

    A partition declared for some rows only is left out, and said. Raises BadInputError where no row is left.
    """
    ledger = [*tree.refused, *refused]
    known = {str(row["image_path"]) for row in rows} | set(used) | {row.item for row in ledger}
    ledger += [
        LedgerRow(item=path, code="not-in-layout", reason=f"the layout {published.name} has no place for it")
        for path in tree.paths
        if path not in known and not _is_document(path)
    ]
    if not rows:
        codes = [f"{code}: {n}" for code, n in Counter(row.code for row in ledger).most_common()]
        raise BadInputError(
            f"A cohort needs at least one labelled image; {tree.root} (layout {published.name}) gives none:\n"
            f"{listing(codes) or '  - it holds no picture'}\nRestore the files as they were distributed. "
            f"{NOTHING_WRITTEN}"
        )
    columns = [name for name in ROW_TYPES if any(row.get(name) is not None for row in rows)]
    n_hints = sum(row.get("split_hint") is not None for row in rows)
    if 0 < n_hints < len(rows):
        columns.remove("split_hint")
        notes = (*notes, f"The set declares a partition for {n_hints} of {len(rows)} images only: none was taken over.")
    frame = pl.DataFrame(
        [{name: row.get(name) for name in columns} for row in rows],
        schema={name: ROW_TYPES[name] for name in columns},
    )
    return Source(
        rows=frame,
        root=tree.root,
        layout=published.name,
        refused=tuple(ledger),
        citation=published.citation,
        licence=published.licence,
        notes=tuple(notes),
        kept=kept,
    )


def _is_document(path: str) -> bool:
    """Whether a file belongs to a distribution but is no picture: a readme, a table, a system's hidden file."""
    name = PurePosixPath(path)
    if name.suffix.lower() in PICTURES:
        return False
    hidden = any(part.startswith(HIDDEN) for part in name.parts)
    return hidden or name.suffix.lower() in DOCUMENTS or name.name in DOCUMENT_NAMES


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
