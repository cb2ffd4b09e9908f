"""Keyed hashes stand in for a site's identifiers; the key and the way back stay in a private folder of the site."""

import csv
import errno
import fcntl
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from csasn.csv_cells import csv_bytes, restored_cell
from csasn.errors import BadInputError
from csasn.files import beside, storage_errors, sync_folder

SECRET_NAME = "secret.key"  # noqa: S105 - the name of the file, not the secret
N_SECRET_BYTES = 32
CROSSWALK_COLUMNS = ("pseudonym", "kind", "original")
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)
SHOWN_DIGITS = 16  # 64 bits: among a million patients two meet with probability 3e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pseudonyms:
    """HMAC-SHA256 (RFC 2104) of identifiers with a site's secret, and what was asked, for the crosswalk."""

    secret: bytes = field(repr=False)
    asked: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    """Pseudonym -> (kind, original)."""

    def patient(self, *, site: str, issuer: str, patient_id: str) -> str:
        """The same person at the same site, and no other, has this key: site, issuer and id make it together."""
        return self._named("patient", "p", site, issuer, patient_id)

    def nodule(self, patient: str, nodule_id: str) -> str:
        """A nodule of a patient; its name in the label table may say too much."""
        return f"{patient}-{self._named('nodule', 'n', patient, nodule_id)}"

    def item(self, path: str) -> str:
        """A file of the export, by its relative path."""
        return self._named("item", "i", path)

    def device(self, text: str) -> str:
        """A device, by manufacturer and model."""
        return self._named("device", "d", text)

    def same_person(self, *, issuer: str, patient_id: str) -> str:
        """Equal for one id at two sites: compared within an ingest, never written."""
        return self._digest("person", issuer, patient_id)

    def _named(self, kind: str, letter: str, *words: str) -> str:
        name = f"{letter}-{self._digest(kind, *words)}"
        self.asked[name] = (kind, " | ".join(word for word in words if word))
        return name

    def _digest(self, *words: str) -> str:
        message = "".join(f"{len(word)}:{word}" for word in words)  # lengths keep ("a", "bc") from ("ab", "c")
        return hmac.new(self.secret, message.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:SHOWN_DIGITS]


def open_pseudonyms(private: Path | None, out: Path, source: Path) -> Pseudonyms:
    """The pseudonyms of a site, from `private/secret.key`, or from a new key, which `keep_private` writes there.

    Raises BadInputError where no folder is named, where it lies within the cohort or the export, or the cohort within
    it, where others than its owner have rights to it, and where the key or the crosswalk of an earlier ingest is not
    one; StorageError where nothing could be written there.
    """
    if private is None:
        raise BadInputError(
            "Patients of a DICOM export get keyed pseudonyms; the key must lie outside of the cohort. "
            "Name a folder of your site with --private FOLDER: secret.key is made there on first use, and "
            "crosswalk-<cohort>.csv, the way back to files and patients. Keep it as safe as the export."
        )
    inside, around = private.resolve(), out.resolve()
    if inside.is_relative_to(around) or around.is_relative_to(inside):
        raise BadInputError(
            f"The private folder and the cohort lie apart, so that the cohort can be handed on; received "
            f"--private {private} and --out {out}. Choose another --private."
        )
    if inside.is_relative_to(source.resolve()):
        raise BadInputError(
            f"The private folder and the export lie apart: an export is handed on and read as a whole; received "
            f"--private {private} within {source}. Choose another --private."
        )
    path = private / SECRET_NAME
    with storage_errors(path):
        nearest = next(each for each in (private, *private.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=nearest):  # an error here, not after hours of reading
            pass
        read_crosswalk(private, out)
        if not path.exists():
            _refuse_wide_rights(private)
            return Pseudonyms(secret=secrets.token_bytes(N_SECRET_BYTES))
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * N_SECRET_BYTES}}}", text):
        raise BadInputError(
            f"A secret is {2 * N_SECRET_BYTES} hexadecimal digits; {path} holds something else. "
            "Restore it from your backup: another key gives every patient another pseudonym."
        )
    _refuse_wide_rights(private, path)
    return Pseudonyms(secret=bytes.fromhex(text))


def _refuse_wide_rights(*paths: Path) -> None:
    """Whoever reads the key finds every patient behind the pseudonyms."""
    wide = [path for path in paths if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if wide:
        found = ", ".join(f"{path} ({stat.filemode(path.stat().st_mode)})" for path in wide)
        raise BadInputError(
            f"The private folder and its key are for their owner alone; others have rights to {found}. "
            f"Take them away: chmod go= {' '.join(map(str, wide))}"
        )


def keep_private(pseudonyms: Pseudonyms, private: Path, out: Path) -> None:
    """Write the key and the crosswalk of the cohort `out` into the private folder, readable by their owner alone.

    Call it before the cohort takes its name: no cohort is then without its way back. Raises BadInputError where another
    key has come to lie there meanwhile: these pseudonyms would then be no one's.
    """
    with storage_errors(private):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(private):
            _keep_secret(pseudonyms.secret.hex(), private / SECRET_NAME)
            known = read_crosswalk(private, out) | pseudonyms.asked
            rows = ((name, kind, original) for name, (kind, original) in sorted(known.items()))
            write_privately(crosswalk_path(private, out), csv_bytes(CROSSWALK_COLUMNS, rows))


def crosswalk_path(private: Path, out: Path) -> Path:
    """Where the way back from a cohort's pseudonyms lies; cohorts of one name share it, and none takes rows out."""
    return private / f"crosswalk-{out.name}.csv"


def read_crosswalk(private: Path, out: Path) -> dict[str, tuple[str, str]]:
    """Pseudonym -> (kind, original) of earlier ingests into cohorts of this name; BadInputError where it is damaged."""
    path = crosswalk_path(private, out)
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            head, *rows = csv.reader(stream, strict=True)
            found = {name: (kind, restored_cell(original)) for name, kind, original in rows}
    except (ValueError, csv.Error, IsADirectoryError) as error:
        raise _no_crosswalk(path) from error
    if tuple(head) != CROSSWALK_COLUMNS:
        raise _no_crosswalk(path)
    return found


def _no_crosswalk(path: Path) -> BadInputError:
    return BadInputError(
        f"A crosswalk is a table of {', '.join(CROSSWALK_COLUMNS)}; {path} is something else. It may be the only way "
        "back to patients: restore it from your backup, or move it away."
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two ingests that end at once write here one after the other; a file system without locks goes without."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


def _keep_secret(text: str, path: Path) -> None:
    if not path.exists():
        write_privately(path, f"{text}\n".encode(), replace=False)
    if path.read_text(encoding="ascii", errors="replace").strip() != text:
        raise BadInputError(
            f"A site has one key; {path} was made or changed by another ingest meanwhile. Run this one again."
        )


def _take_free_name(part: Path, path: Path) -> None:
    """Unlike a rename after a look, a hard link never replaces a file; nor does O_EXCL, where there are no links."""
    with suppress(FileExistsError):
        try:
            path.hardlink_to(part)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(part.read_bytes())
                os.fsync(stream.fileno())


def write_privately(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner can read, whole or not at all; without `replace` a file there stays as it is."""
    part = beside(path)
    with storage_errors(path):
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
                os.fsync(stream.fileno())
            if replace:
                part.replace(path)
            else:
                _take_free_name(part, path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
