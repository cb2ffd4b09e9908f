"""The journal of a run: one JSON object a line, appended as training goes; it never holds names of people or files."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from csasn.files import storage_errors

JOURNAL = "journal.jsonl"

Value = float | int | str | bool | None
Record = dict[str, Value | list[int]]
Listener = Callable[[Record], object]


class Journal:
    """Appends records to a file and tells each of them to its listeners.

    A record is one write at the end of the file, so that a kill can tear only the last line, which readers then pass
    over. Texts are the program's own words (model, stage, event): never a path, a patient or a site.
    """

    def __init__(self, path: Path, listeners: Sequence[Listener] = ()) -> None:
        self._path, self._listeners = path, tuple(listeners)
        with storage_errors(path):
            self._torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")

    def record(self, event: str, **values: Value | list[int]) -> None:
        """Append an event with the time of day (UTC); ValueError for a number that is not finite, StorageError."""
        record: Record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values}
        line = json.dumps(record, allow_nan=False) + "\n"
        with storage_errors(self._path):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                os.write(handle, (("\n" if self._torn else "") + line).encode())
            finally:
                os.close(handle)
        self._torn = False
        for listener in self._listeners:
            listener(record)


def read_journal(path: Path) -> list[Record]:
    """The records of a journal in the order of writing, torn lines passed over; none where there is no file."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "event" in record:
            records.append(record)
    return records
