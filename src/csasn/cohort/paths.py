"""The paths of a table's rows: plain, below the table's folder, to files that exist, each image in one row."""

import os
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from csasn.cohort.rows import LINE, PATH_FIXED, every_row, offending
from csasn.errors import NOTHING_WRITTEN, BadInputError

DRIVE = "^[A-Za-z]:/"
Standing = Literal["there", "missing", "outside"]


def with_paths(rows: pl.DataFrame, root: Path, source: Path) -> pl.DataFrame:
    """Rows whose image and mask paths are plain, lie below `root` and exist; each image stands in one row.

    A path in Windows form, an absolute one below `root`, and one with empty or "." parts become plain: `_path_fixed`
    marks these rows. Raises BadInputError for paths outside the root (absolute, through "..", or by a link), for
    missing files, for an image with two labels, and for a duplicate image.
    """
    columns = [name for name in ("image_path", "mask_path") if name in rows.columns]
    tree = Tree(root=root.resolve())
    was = rows.select(columns)
    for name in columns:
        rows = rows.with_columns(_plain(rows[name], root, tree))
        standing = pl.Series([None if path is None else tree.standing(path) for path in rows[name]], dtype=pl.String)
        wrong = rows.filter((standing == "outside").fill_null(value=False))
        offending(wrong, name, f"{name} lies below {root}, the folder of the table", source)
        wrong = rows.filter((standing == "missing").fill_null(value=False))
        offending(wrong, name, f"{name} names an existing file below {root}", source)
    fixed = pl.any_horizontal((was[name] != rows[name]).fill_null(value=False) for name in columns)
    rows = rows.with_columns(fixed.alias(PATH_FIXED))
    _refuse_repeated(rows, source)
    return rows


@dataclass(frozen=True, slots=True)
class Tree:
    """What stands below a real folder; each folder on the way to a file is looked at once."""

    root: Path
    left_by: dict[str, bool] = field(default_factory=dict)
    """Folder below the root -> whether a link on the way to it leads out."""

    def standing(self, path: str) -> Standing:
        """Whether a plain path is there, missing, or leads out of the root (by "..", from "/" or a drive, by a link).

        A file in a folder that may not be searched counts as there: reading it is refused later, into the ledger.
        """
        if path.startswith("/") or ".." in path.split("/") or (path[1:3] == ":/" and not self.exists(path)):
            return "outside"
        folder = path.rpartition("/")[0]
        if folder and self._leads_out(folder):
            return "outside"
        try:
            linked = stat.S_ISLNK(os.lstat(f"{self.root}/{path}").st_mode)
        except PermissionError:
            return "there"
        except (OSError, ValueError):  # it is not there, or is a name that no file can have
            return "missing"
        if linked and self._real_outside(path):
            return "outside"
        return "there" if not linked or self.exists(path) else "missing"

    def exists(self, path: str) -> bool:
        """Whether a file is there, links followed."""
        try:
            os.stat(f"{self.root}/{path}")  # noqa: PTH116 - a million of them: pathlib takes five times as long
        except PermissionError:
            return True
        except (OSError, ValueError):  # nothing there, a loop of links, or a name that no file can have
            return False
        return True

    def _leads_out(self, folder: str) -> bool:
        known = self.left_by.get(folder)
        if known is None:
            parent = folder.rpartition("/")[0]
            known = bool(parent) and self._leads_out(parent)
            known = known or ((self.root / folder).is_symlink() and self._real_outside(folder))
            self.left_by[folder] = known
        return known

    def _real_outside(self, path: str) -> bool:
        return not Path(os.path.realpath(self.root / path)).is_relative_to(self.root)


def _plain(cells: pl.Series, root: Path, tree: Tree) -> pl.Series:
    """POSIX paths, relative where they lie below the root, without empty and "." parts."""
    name = cells.name
    windows = cells.str.contains("\\", literal=True).fill_null(value=False)
    if windows.any():  # on this side a backslash may be part of a name: then the file is there by that name
        foreign = [bool(here) and not tree.exists(path) for here, path in zip(windows, cells, strict=True)]
        cells = pl.select(
            pl.when(pl.lit(pl.Series(foreign))).then(cells.str.replace_all("\\", "/", literal=True)).otherwise(cells)
        ).to_series()
    for prefix in dict.fromkeys((f"{tree.root}/", f"{root.absolute()}/")):
        cells = cells.str.strip_prefix(prefix)
    loose = cells.str.contains(r"(^|[^/]/)(\.?/|\.?$)") | cells.str.contains("//", literal=True)
    loose = (loose & ~cells.str.starts_with("/")).fill_null(value=False)
    if loose.any():
        parts = cells.str.split("/").list.eval(pl.element().filter(~pl.element().is_in(["", "."]))).list.join("/")
        cells = pl.select(pl.when(loose).then(parts.replace("", ".")).otherwise(cells)).to_series()
    beyond = (~cells.str.contains(r"^[\x00-\x7f]*$")).fill_null(value=False)
    if beyond.any():  # a Mac may keep a name in another Unicode form than the table has it
        found = [_on_disk(path, tree) if here else path for here, path in zip(beyond, cells, strict=True)]
        cells = pl.Series(found, dtype=pl.String)
    return cells.alias(name)


def _on_disk(path: str, tree: Tree) -> str:
    """A path as the disk has it: composed or decomposed, where only that is there."""
    forms = (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path))
    return next((form for form in forms if tree.exists(form)), path)


def _refuse_repeated(rows: pl.DataFrame, source: Path) -> None:
    repeated = rows.filter(pl.col("image_path").is_duplicated()).sort("image_path", LINE)
    conflict = repeated.filter(pl.struct("malignant", "subtype").n_unique().over("image_path") > 1)
    for found, invariant in (
        (conflict, "An image has one label; these rows give it several"),
        (repeated, "An image stands in one row; these rows repeat it"),
    ):
        if not found.is_empty():
            columns = found.select(LINE, "image_path", "patient_id", "subtype").iter_rows()
            lines = ((line, f"{path} (patient {patient}, {label})") for line, path, patient, label in columns)
            raise BadInputError(
                f"{invariant}. In {source}:\n{every_row(lines, source)}\nKeep the right row of each. {NOTHING_WRITTEN}"
            )
