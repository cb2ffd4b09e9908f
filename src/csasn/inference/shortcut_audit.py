"""Test pictures read again without marks, without the nodule, and from their border alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import ndimage

from csasn.decoding.burned_in import without_text
from csasn.decoding.marks import find_marks
from csasn.files import write_whole
from csasn.imaging.certified import certified_mask, certified_picture
from csasn.imaging.letterbox import as_images, letterbox
from csasn.inference.loading import Reader, load_reader, refuse_other_weights
from csasn.learning.rows import FoldRows, folds_of, rows_of
from csasn.learning.session import Session, open_session, start_fabric
from csasn.progress import Progress
from csasn.runs import CSASN, Run
from csasn.schema import ALTERED_COLUMNS

BORDER_SHARE = 0.12  # of the width at the left and at the right, of the height at the top
BESIDE_NODULE_PX = 12  # marks this near the mask belong to the nodule: calipers end there, and so do echoes of its rim
BATCH_ROWS = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Altered:
    """A picture's variants by name, the share of its pixels marked away from the nodule, and whether both meet.

    `border_free` says that the nodule does not reach into the border; None where there is no mask.
    """

    variants: dict[str, NDArray[np.uint8]]
    marked_share: float
    border_free: bool | None


def audit_run(run: Run, *, progress: Progress) -> Path:
    """Write altered.parquet: the malignancy logit of every variant of the test images of up to shortcuts.n_patients.

    Each image is read by the model of the fold that tests it. Raises MismatchError like `predict`, RefusedPicture
    where a picture or mask can no longer be read.
    """
    run.require("predictions.parquet")
    session = open_session(run, device=start_fabric(run.configuration.fit).device, progress=progress)
    refuse_other_weights(session)
    chosen = chosen_rows(run.manifest(), run.configuration.shortcuts.n_patients, seed=run.configuration.fit.seed)
    test, total, done = rows_of(run, "test"), len(chosen), 0
    found: list[dict[str, object]] = []
    for rows in folds_of(run):
        reader = load_reader(session, CSASN, rows.fold)
        own = np.intersect1d(test[rows.fold], chosen)
        for start in range(0, len(own), BATCH_ROWS):
            batch = own[start : start + BATCH_ROWS]
            found += _read(session, reader, rows, batch)
            done += len(batch)
            progress("reading altered pictures", done, total)
    table = pl.DataFrame(found, schema=ALTERED_COLUMNS)
    write_whole(run.path("altered.parquet"), table.write_parquet)
    run.finish("audit", inputs=("split.csv", "predictions.parquet"), outputs=("altered.parquet",))
    return run.path("altered.parquet")


def chosen_rows(manifest: pl.DataFrame, n_patients: int, *, seed: int) -> NDArray[np.int64]:
    """Manifest rows of up to so many patients, drawn from every class in turn, so that rare classes are among them."""
    patients = manifest.group_by("patient_id").agg(pl.col("malignant").max(), pl.col("subtype").drop_nulls().last())
    shuffled = patients.sort("patient_id").sample(fraction=1.0, shuffle=True, seed=seed)
    in_turn = shuffled.with_columns(turn=pl.int_range(pl.len()).over("subtype", "malignant"))
    kept = in_turn.sort("turn", maintain_order=True)["patient_id"].head(n_patients)
    return np.flatnonzero(manifest["patient_id"].is_in(kept.to_list()).to_numpy())


def _read(session: Session, reader: Reader, rows: FoldRows, batch: NDArray[np.int64]) -> Iterator[dict[str, object]]:
    manifest, root = session.run.manifest()[batch], session.run.images_root()
    altered = [
        alter(certified_picture(root, image, sha256), None if mask is None else certified_mask(root, mask))
        for image, sha256, mask in manifest.select("image_path", "sha256", "mask_path").iter_rows()
    ]
    size_px = session.run.configuration.imaging.size_px
    flat = [(row, name, pixels) for row, each in enumerate(altered) for name, pixels in each.variants.items()]
    images = as_images(np.stack([letterbox(pixels, size_px) for _, _, pixels in flat])).to(session.device)
    with torch.inference_mode():
        logits = reader.network(images).malignancy.double().cpu().tolist()
    for (row, name, _), logit in zip(flat, logits, strict=True):
        yield {
            "fold": rows.fold,
            "image_path": manifest["image_path"][row],
            "variant": name,
            "malignancy": logit,
            "marked_share": altered[row].marked_share,
            "border_free": altered[row].border_free,
        }


def alter(pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> Altered:
    """The variants of a picture (H, W): as-is, without-marks, border, and with a mask (H, W) without-nodule.

    What is taken away is levelled to the median around it. The border is a band at the left, right and top; what lies
    under the nodule is left out, because shadow and enhancement fall there.
    """
    marks = find_marks(pixels)
    height, width = pixels.shape
    border = np.zeros_like(marks)
    band, top = round(BORDER_SHARE * width), round(BORDER_SHARE * height)
    border[:top] = border[:, :band] = border[:, width - band :] = True
    variants = {"as-is": pixels, "without-marks": without_text(pixels, marks), "border": np.where(border, pixels, 0)}
    near = np.zeros_like(marks)
    if mask is not None and mask.any():
        variants["without-nodule"] = without_text(pixels, mask)
        near = ndimage.binary_dilation(mask, iterations=BESIDE_NODULE_PX)
    return Altered(
        variants={name: each.astype(np.uint8) for name, each in variants.items()},
        marked_share=float((marks & ~near).mean()),
        border_free=None if mask is None else not bool((border & near).any()),
    )
