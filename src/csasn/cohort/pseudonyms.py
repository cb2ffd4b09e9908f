"""Keyed hashes stand in for a site's identifiers; the key and the way back stay in a private folder of the site."""

import hmac
import os
import re
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from csasn.csv_cells import csv_bytes
from csasn.errors import BadInputError
from csasn.files import storage_errors

SECRET_NAME = "secret.key"  # noqa: S105 - the name of the file, not the secret
N_SECRET_BYTES = 32
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


def open_pseudonyms(private: Path | None, out: Path) -> Pseudonyms:
    """The pseudonyms of a site, from `private/secret.key`, or from a new key, which `keep_secret` writes there.

    Raises BadInputError where no folder is named, where it lies within the cohort or the cohort within it, and where
    the key is not one; StorageError where nothing could be written there.
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
    path = private / SECRET_NAME
    with storage_errors(path):
        nearest = next(each for each in (private, *private.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=nearest):  # an error here, not after hours of reading
            pass
        if not path.exists():
            return Pseudonyms(secret=secrets.token_bytes(N_SECRET_BYTES))
        text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * N_SECRET_BYTES}}}", text):
        raise BadInputError(
            f"A secret is {2 * N_SECRET_BYTES} hexadecimal digits; {path} holds something else. "
            "Restore it from your backup: another key gives every patient another pseudonym."
        )
    return Pseudonyms(secret=bytes.fromhex(text))


def keep_secret(pseudonyms: Pseudonyms, private: Path) -> None:
    """Write the key of these pseudonyms to `private/secret.key`, readable by its owner alone, unless it is there.

    Raises BadInputError where another key has come to lie there meanwhile: these pseudonyms would then be no one's.
    """
    path, text = private / SECRET_NAME, pseudonyms.secret.hex()
    with storage_errors(path):
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_privately(path, f"{text}\n".encode())
        elif path.read_text(encoding="ascii", errors="replace").strip() != text:
            raise BadInputError(
                f"A site has one key; {path} was made or changed by another ingest meanwhile. Run this one again."
            )


def write_crosswalk(pseudonyms: Pseudonyms, private: Path, out: Path) -> Path:
    """`private/crosswalk-<cohort>.csv`: every pseudonym, its kind and the original; readable by its owner alone."""
    rows = ((name, kind, original) for name, (kind, original) in sorted(pseudonyms.asked.items()))
    path = private / f"crosswalk-{out.name}.csv"
    write_privately(path, csv_bytes(("pseudonym", "kind", "original"), rows))
    return path


def write_privately(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with storage_errors(path):
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
                os.fsync(stream.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
