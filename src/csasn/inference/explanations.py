"""Maps of test images beside their nodule masks, and those of a few again while the weights are dealt anew."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.files import write_whole
from csasn.imaging.certified import certified_mask, certified_picture
from csasn.imaging.letterbox import as_images, letterbox, letterbox_place
from csasn.inference.loading import load_reader, refuse_other_weights
from csasn.inference.randomised import deal_anew, levels_of
from csasn.inference.shortcut_audit import chosen_rows
from csasn.learning.rows import folds_of, rows_of
from csasn.learning.session import Session, open_session, start_fabric
from csasn.network.csasn import Csasn
from csasn.network.maps import Explained, explain, why_missing
from csasn.progress import Progress
from csasn.runs import CSASN, Run
from csasn.schema import MAP_COLUMNS, MAPS, MASK_COLUMNS

IMAGES_A_PATIENT = 2  # a cine loop has many that look alike
RANDOMISED_PATIENTS = 24  # one image each; every level of the cascade reads all of them again
BATCH_ROWS = 4
PLACE = ("top_px", "left_px", "height_px", "width_px")
MASK_EDGE = 127  # of a letterboxed mask, whose edge is resampled


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chosen:
    """Manifest rows whose maps are made, and those among them that are read again while weights are dealt anew."""

    rows: NDArray[np.int64]
    randomised: NDArray[np.int64]


def explain_run(run: Run, *, progress: Progress) -> Path:
    """Write explanations/: maps and masks of the test images of up to explain.n_patients, at most two a patient.

    Each image is read by the model of the fold that tests it, in float32. Raises MismatchError like `predict`,
    RefusedPicture where a picture or mask can no longer be read.
    """
    run.require("predictions.parquet")
    session = open_session(run, device=start_fabric(run.configuration.fit).device, progress=progress)
    refuse_other_weights(session)
    for branch in session.branches.values():
        branch.in_bfloat16 = False  # its eight bits are too few for gradients
    test, chosen, done = rows_of(run, "test"), chosen_images(run), 0
    maps: list[dict[str, object]] = []
    masks: list[dict[str, object]] = []
    missing: dict[str, str] = {}
    target_class: dict[int, int] = {}
    for rows in folds_of(run):
        network = load_reader(session, CSASN, rows.fold).network.requires_grad_(False)
        own = np.intersect1d(test[rows.fold], chosen.rows)
        for start in range(0, len(own), BATCH_ROWS):
            batch = own[start : start + BATCH_ROWS]
            images, placed = _look(session, batch)
            found = explain(network, images)
            masks += placed
            maps += _map_rows(session, batch, found, fold=rows.fold, level=0, randomised="none")
            missing = {kind: why_missing(network, kind) for kind in MAPS if kind not in found.maps}
            target_class |= dict(zip(batch.tolist(), found.target_class.tolist(), strict=True))
            done += len(batch)
            progress("mapping what speaks for each answer", done, len(chosen.rows))
        again = np.intersect1d(own, chosen.randomised)
        maps += _randomised(
            session, network, {row: target_class[row] for row in again.tolist()}, fold=rows.fold, progress=progress
        )
    write_whole(run.path("explanations/maps.parquet"), pl.DataFrame(maps, schema=MAP_COLUMNS).write_parquet)
    write_whole(run.path("explanations/masks.parquet"), pl.DataFrame(masks, schema=MASK_COLUMNS).write_parquet)
    run.finish(
        "explain",
        inputs=("split.csv", "predictions.parquet"),
        outputs=("explanations/maps.parquet", "explanations/masks.parquet"),
        notes={"missing": missing},
    )
    return run.path("explanations")


def chosen_images(run: Run) -> Chosen:
    """Test images of patients drawn from every class in turn, evenly spaced where a patient has many."""
    seed = run.configuration.fit.seed
    tested = np.unique(np.concatenate(list(rows_of(run, "test").values())))
    manifest = run.manifest()[tested].with_columns(row=pl.Series(tested))
    of_patients = manifest[chosen_rows(manifest, run.configuration.explain.n_patients, seed=seed)]
    grouped = of_patients.group_by("patient_id", maintain_order=True).agg("row")["row"].to_list()
    spaced = [[rows[place] for place in evenly_spaced(len(rows), IMAGES_A_PATIENT)] for rows in grouped]
    few = manifest[chosen_rows(manifest, RANDOMISED_PATIENTS, seed=seed)]["patient_id"].unique()
    first = of_patients.filter(pl.col("patient_id").is_in(few.to_list())).unique("patient_id", keep="first")
    return Chosen(
        rows=np.sort(np.array([row for rows in spaced for row in rows], dtype=np.int64)),
        randomised=np.sort(first["row"].to_numpy().astype(np.int64)),
    )


def evenly_spaced(n: int, most: int) -> list[int]:
    """At most so many of the places 0 to n - 1, the first among them."""
    return list(range(n)) if n <= most else np.linspace(0, n - 1, most).round().astype(int).tolist()


def _randomised(
    session: Session, network: Csasn, target_class: dict[int, int], *, fold: int, progress: Progress
) -> Iterator[dict[str, object]]:
    """Maps of rows and the answers that the trained network named, at every level; a copy is randomised."""
    if not target_class:
        return
    rows = np.array(list(target_class), dtype=np.int64)
    batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
    images = [_look(session, batch)[0] for batch in batches]
    generator = torch.Generator().manual_seed(session.run.configuration.fit.seed)
    levels = levels_of(dealt := copy.deepcopy(network))
    for level, (name, parameters) in enumerate(levels, start=1):
        deal_anew(parameters, generator)
        for batch, each in zip(batches, images, strict=True):
            found = explain(dealt, each, np.array([target_class[row] for row in batch.tolist()]))
            yield from _map_rows(session, batch, found, fold=fold, level=level, randomised=name)
        progress(f"the same with weights dealt anew, fold {fold}", level, len(levels))


def _look(session: Session, batch: NDArray[np.int64]) -> tuple[Tensor, list[dict[str, object]]]:
    """Images (B, 1, S, S) of manifest rows, and a record of each one's mask and place."""
    manifest, root = session.run.manifest()[batch], session.run.images_root()
    size_px, pictures, records = session.run.configuration.imaging.size_px, [], []
    for image, sha256, mask in manifest.select("image_path", "sha256", "mask_path").iter_rows():
        pixels = certified_picture(root, image, sha256)
        pictures.append(letterbox(pixels, size_px))
        place = dict(
            zip(("top_px", "left_px", "height_px", "width_px"), letterbox_place(pixels.shape, size_px), strict=True)
        )
        nodule = None if mask is None else letterbox(np.uint8(255) * certified_mask(root, mask), size_px) > MASK_EDGE
        packed = None if nodule is None else np.packbits(nodule).tobytes()
        records.append({"image_path": image, "size_px": size_px, **place, "mask": packed})
    return as_images(np.stack(pictures)).to(session.device), records


def _map_rows(
    session: Session, batch: NDArray[np.int64], found: Explained, *, fold: int, level: int, randomised: str
) -> Iterator[dict[str, object]]:
    names = session.run.manifest()[batch]["image_path"].to_list()
    for kind, maps in found.maps.items():
        for name, index, each in zip(names, found.target_class.tolist(), maps, strict=True):
            yield {
                "fold": fold,
                "image_path": name,
                "target_class": session.cohort.classes.names[index],
                "map": kind,
                "level": level,
                "randomised": randomised,
                "n_rows": each.shape[0],
                "n_columns": each.shape[1],
                "cells": each.ravel().tolist(),
            }
