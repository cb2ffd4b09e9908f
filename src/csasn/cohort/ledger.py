"""The ledger: every item that was refused or fixed, with a stable code and a reason for people."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from csasn.schema import LEDGER_COLUMNS

Outcome = Literal["refused", "fixed"]
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


class RefusedPicture(Exception):  # noqa: N818 - a refusal is an entry of the ledger, not an error of the program
    """A file that cannot be used: `code` is stable and goes into the ledger, `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[type["RefusedPicture"], tuple[str, str]]:
        """Both words travel between processes."""
        return type(self), (self.code, self.reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """One row of ledger.csv: what became of an item, and why."""

    item: str
    code: str
    reason: str
    outcome: Outcome = "refused"


def ledger_csv(rows: Iterable[LedgerRow]) -> bytes:
    """The content of ledger.csv; a cell that a spreadsheet would run as a formula begins with an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=os.linesep)
    writer.writerow(LEDGER_COLUMNS)
    for row in rows:
        cells = (row.item, row.outcome, row.code, row.reason)
        writer.writerow(f"'{cell}" if cell.startswith(FORMULA_SIGNS) else cell for cell in cells)
    return stream.getvalue().encode()
