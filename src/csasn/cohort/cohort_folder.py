"""The files that make a folder a cohort: manifest, fingerprints, ledger, certificate and the sheet of look-alikes."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from csasn.cohort.integrity import certify, pairs_sheet
from csasn.cohort.ledger import LedgerRow, ledger_csv
from csasn.files import write_bytes, write_json
from csasn.schema import FINGERPRINT_COLUMNS, complete_columns


def write_cohort(
    folder: Path, rows: pl.DataFrame, ledger: Sequence[LedgerRow], *, images_root: Path, facts: Mapping[str, object]
) -> dict[str, object]:
    """Write the cohort files of `rows` (manifest and fingerprint columns together) into `folder`; the certificate.

    `facts` are the certificate's statements on where the cohort comes from (simulated, source, citation, licence,
    notes). An `images_root` equal to `folder` is written as ".", so that the cohort can be moved.
    """
    manifest = complete_columns(rows)
    fingerprints = rows.select(pl.col(name).cast(dtype) for name, dtype in FINGERPRINT_COLUMNS.items())
    for name, frame in (("manifest.parquet", manifest), ("fingerprints.parquet", fingerprints)):
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        write_bytes(folder / name, buffer.getvalue())
    ledger_content = ledger_csv(ledger)
    write_bytes(folder / "ledger.csv", ledger_content)
    certificate = certify(
        manifest,
        fingerprints,
        ledger_content,
        images_root="." if images_root == folder else str(images_root.resolve()),
        **facts,  # type: ignore[arg-type]
    )
    pairs = certificate["near_duplicates"]
    if isinstance(pairs, list) and pairs:
        sheet = io.BytesIO()
        pairs_sheet(pairs, images_root, manifest).save(sheet, format="PNG")
        write_bytes(folder / "near_duplicates.png", sheet.getvalue())
    write_json(folder / "certificate.json", certificate)
    return certificate
