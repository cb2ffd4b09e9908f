"""The ledger: every item that was refused or fixed, with a stable code and a reason for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from csasn.csv_cells import csv_bytes
from csasn.schema import LEDGER_COLUMNS

Outcome = Literal["refused", "fixed"]
# What is done to an item without asking; each is deterministic and has its row in the ledger.
FIXES = {
    "exif-rotated": "turned upright as its EXIF orientation says",
    "alpha-composited": "its transparency was laid over black",
    "alpha-ignored": "its alpha is 0 everywhere, as programs leave it that know no transparency: it was ignored",
    "palette-applied": "its palette's colours were looked up",
    "cmyk-converted": "its inks became red, green and blue",
    "colour-to-grey": "its colours became grey by ITU-R BT.601",
    "windowed-16-bit": "its grey of more than 8 bits was windowed from its smallest to its largest value",
    "windowed-float": "its floating-point grey was windowed from its smallest to its largest value",
    "wrong-extension": "it was read by its content, which its name's ending contradicts",
    "mask-inverted": "its mask marked the whole border: inside and outside were exchanged",
    "mask-empty": "its mask marks nothing: it says that no nodule is seen",
    "path-normalised": "its row's path was made plain: POSIX separators, relative to the table, no empty parts",
    "label-normalised": "its label was spelt otherwise than its class, in case, space or width",
    "site-normalised": "its site was spelt otherwise than in most rows, in case, space or width",
    "space-trimmed": "space around cells of its row was left out",
    "na-emptied": "NA in a column that is no key was read as an empty cell",
    "text-recoded": "the table has a byte order mark or is UTF-16 or UTF-32, and was read as such",
    "line-break-in-cell": "the table has line breaks within quoted cells, which were read as parts of them",
    "cropped-to-region": "cropped to the B-mode ultrasound region",
    "one-of-several-regions": "the largest of several B-mode regions was taken",
    "monochrome1-inverted": "MONOCHROME1: dark and bright were exchanged",
    "windowed": "more than 8 bits became 8 by the file's window, or from its smallest to its largest value",
    "text-masked": "burned-in text inside the picture was masked",
    "much-text-masked": "what looks like text covers over a fifth of it, and was masked: look at the picture",
    "overlay-dropped": "overlay planes (60xx) were left out",
    "loop-frames": "frames were taken from its loop by the declared policy; they stay with their patient",
    "spacing-from-groups": "its mm per pixel were taken from its functional groups",
    "frames-found-by-end": "its compressed frames come in several fragments without offsets: each ends at its end mark",
    "upper-bits-dropped": "bits beyond Bits Stored were left out",
    "planar-ignored": "its compressed frames were read by pixel, as they always come; it says that they lie in planes",
    "read-as-ycbcr": "it says RGB; its JPEG says nothing, and its values are luma and chroma",
    "preamble-dropped": "its preamble, which could hold a program, was left out",
    "private-tags-dropped": "private tags were left out",
    "charset-unknown": "its character set is not known; its words were read byte by byte",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """One row of ledger.csv: what became of an item, and why."""

    item: str
    code: str
    reason: str
    outcome: Outcome = "refused"


def fixed_row(item: str, code: str) -> LedgerRow:
    """The row of an item that was used after a fix."""
    return LedgerRow(item=item, outcome="fixed", code=code, reason=FIXES[code])


def ledger_csv(rows: Iterable[LedgerRow]) -> bytes:
    """The content of ledger.csv."""
    return csv_bytes(list(LEDGER_COLUMNS), ((row.item, row.outcome, row.code, row.reason) for row in rows))
