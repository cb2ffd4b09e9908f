"""The exceptions that a user can meet: each says the invariant, what was received, and what to do."""

from collections.abc import Sequence

NOTHING_WRITTEN = "Nothing was written."  # the end of a message of ingest


class CsasnError(Exception):
    """Base of every error that is the user's to mend; the command line prints it alone and exits with 1."""


class BadInputError(CsasnError):
    """A source, manifest or image breaks an invariant; nothing was written."""


class MismatchError(CsasnError):
    """A stage was given a file whose hash is not the one that it was made from."""


class WeightsError(CsasnError):
    """Pretrained weights are missing, unreachable, or do not fit the network."""


class DivergedError(CsasnError):
    """Training produced a loss or weights that are not finite; the last good checkpoint is kept.

    `rows`: manifest rows of the batch where it showed, if it was one.
    """

    def __init__(self, message: str, *, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class MemoryShortageError(CsasnError):
    """The device or the machine has no memory left for a step; the last checkpoint is intact."""


class LockedError(CsasnError):
    """Another process is training in the run folder."""


class StoppedError(CsasnError):
    """The process was asked to end (SIGTERM) and saved its state first."""


class StorageError(CsasnError):
    """The device is full or refuses to write; nothing half-written stays behind."""


def listing(rows: Sequence[str]) -> str:
    """Every offending row, none left out: one a line, indented."""
    return "\n".join(f"  - {row}" for row in rows)
