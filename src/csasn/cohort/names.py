"""What the name of a file or folder says before it is opened: a mask, a folder of masks, a system's own file."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

WORDS = "masks?|seg|segs|segmentations?|labels?|gt|ground[ _-]?truth|annotations?|annot|roi|contours?|outlines?"
MASK_NAME = re.compile(rf"(?P<image>.+?)[ _.-]+({WORDS})([ _.-]*\d+)?", re.IGNORECASE)
MASK_PREFIX = re.compile(rf"({WORDS})[ _.-]+(?P<image>.+)", re.IGNORECASE)
MASK_FOLDER = re.compile(rf"(.*[ _.-])?({WORDS})", re.IGNORECASE)
# A level of these names holds the pictures beside their masks; it is no patient.
IMAGE_FOLDERS = ("image", "images", "img", "imgs", "picture", "pictures")
# Files that systems leave behind, found by name and beginning: a picture of such a name is an item all the same.
THUMBNAILS = ("thumbs.db", "ehthumbs.db")
OLE = b"\xd0\xcf\x11\xe0"
LITTER = (".ds_store", "desktop.ini", "icon\r", ".localized", ".directory")
LITTER_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", ".trashes", ".spotlight-v100")
APPLE_DOUBLE = "._"
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"RIFF", b"\0\0\0\x0cjP")


def is_litter(path: Path) -> bool:
    """Whether a file is one that macOS or Windows leaves in folders: no item, and of no interest to anybody."""
    name = path.name.lower()
    if not (name.startswith(APPLE_DOUBLE) or name in (*LITTER, *THUMBNAILS)):
        return False
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    if name in THUMBNAILS:
        return not head or head.startswith(OLE)
    return not head.startswith(PICTURES) and head[128:] != b"DICM"


class MaskNames:
    """The pictures of a source by their names, and which of the files are masks of others."""

    def __init__(self, paths: Iterable[PurePosixPath]) -> None:
        self._stems = {str(path.with_suffix("")) for path in paths}
        self._below: dict[tuple[str, str], set[str]] = {}
        for path in paths:
            if len(path.parts) > 1 and not _in_mask_folder(path):
                self._below.setdefault((path.parts[0], path.stem.lower()), set()).add(str(path))

    def image_of(self, path: PurePosixPath) -> str | None:
        """The picture whose mask a file is, by its name or its folder; None where it is a picture itself."""
        names = [found["image"] for each in (MASK_NAME, MASK_PREFIX) if (found := each.fullmatch(path.stem))]
        for name in names:
            if str(path.with_name(name)) in self._stems:
                return name
        if not _in_mask_folder(path):
            return None
        for name in (path.stem, *names):
            if self._below.get((path.parts[0], name.lower())):
                return name
        return None


def _in_mask_folder(path: PurePosixPath) -> bool:
    """Whether a level below the class folder is called after masks."""
    return any(MASK_FOLDER.fullmatch(part) for part in path.parts[1:-1])
