"""Plain files, written whole or not at all, and their hashes."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the stage that writes it first.") from None
    except ValueError as error:
        raise BadInputError(f"{path} is not readable JSON ({error}): restore it or rerun its stage.") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path} must hold a JSON object; received {type(content).__name__}.")
    return content


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
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
