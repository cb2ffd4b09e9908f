"""What a layout says of its pictures before any of them is opened: one row an image, and where it all comes from."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from csasn.cohort.ledger import LedgerRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Rows yet to be decoded, with everything that the certificate says about where they come from.

    `rows` holds image_path (relative to `root`), site, patient_id, nodule_id, malignant, subtype, and any other
    manifest column that the source knows. Two columns beside the manifest's own say how a picture is read:
    `outlines` (list of polygons, each a list of [x, y] in px of the stored picture) is drawn as the mask, and `member`
    (int) is the picture's number within a file that holds many (HDF5). `kept` says that pictures are written into the
    cohort folder as grey PNG, because the source's own files cannot be read picture by picture.
    """

    rows: pl.DataFrame
    root: Path
    layout: str
    refused: tuple[LedgerRow, ...] = ()
    citation: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    kept: bool = False
