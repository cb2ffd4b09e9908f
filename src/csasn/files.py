"""Plain files, written whole or not at all, and their hashes."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType

from csasn.errors import BadInputError, StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a failing write below `path` into a StorageError that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Writing {path} failed: {error.strerror or error}. Nothing half-written was left behind. "
            "Free space on the device or choose another --out folder, then run the same command again."
        ) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, fsync and rename it, fsync the folder: whole or absent.

    Raises StorageError where the device is full or read-only; an older file at `path` then stays as it was.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = beside(path)
        part.touch(exist_ok=False)  # with the rights that the user's umask leaves; the tempfile module gives others
        try:
            write(part)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A new name beside `path` for what is to take its name once it is whole."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut; some network file systems cannot, and say EINVAL."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes whole or not at all."""
    write_whole(path, lambda part: part.write_bytes(content))


def write_json(path: Path, content: object) -> None:
    """Write indented JSON whole or not at all; NaN is refused because JSON has none."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file; BadInputError where it is missing or is not an object."""
    try:
        content = json.loads(file_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        words = "too many brackets" if isinstance(error, RecursionError) else error
        raise BadInputError(f"{path} is not readable JSON ({words}): restore it or rerun its stage.") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path} must hold a JSON object; received {type(content).__name__}.")
    return content


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file, open for reading; OSError where it is missing, cannot be read, or is no plain file.

    A pipe, a device or a socket never blocks: it is opened without waiting, and refused before a byte is read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file, but a device, a pipe or the like", str(path))
        yield stream


def own_path(folder: Path, name: str, *, links: Mapping[str, str] = MappingProxyType({})) -> Path:
    """A place below a folder that may have come from elsewhere, by its plain name.

    Raises BadInputError where the name leads out of the folder, and where a part of it is a link, a pipe, a device or
    a socket: what is read or written would lie elsewhere. `links`: where a part may link to, by its name.
    """
    parts, place = Path(name).parts, folder
    if Path(name).is_absolute() or ".." in parts:
        raise BadInputError(f"A file of {folder} lies below it; received the name {name!r}. Do not use this folder.")
    for part in parts:
        place = place / part
        if place.is_symlink():
            if links.get(part) == str(place.readlink()):
                continue
            raise BadInputError(
                f"{place} is a link, which is not followed: files of {folder} lie in it. "
                "Put what it links to in its place."
            )
        if place.exists() and not (place.is_file() or place.is_dir()):
            raise BadInputError(
                f"{place} must be a plain file or a folder; it is a pipe, a device or a socket. Remove it."
            )
    return place


def file_bytes(path: Path) -> bytes:
    """The bytes of a plain file; BadInputError where it is missing, cannot be read, or is no plain file."""
    try:
        with opened(path) as stream:
            return stream.read()
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the stage that writes it first.") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}): check it and its permissions.") from None


def file_sha256(path: Path) -> str:
    """SHA-256 of a plain file's bytes, hexadecimal; OSError as in `opened`."""
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def folder_made_whole(folder: Path) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its name only when the block ends without an error.

    Raises BadInputError where `folder` exists and is not empty, StorageError where the device refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(f"{folder} exists already and is not empty: choose another --out or remove it first.")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = beside(folder)
        scratch.mkdir()
    try:
        with storage_errors(folder):
            yield scratch
            if folder.exists():
                folder.rmdir()
            scratch.replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
