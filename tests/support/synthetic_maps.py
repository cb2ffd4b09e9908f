"""Maps made by hand for a run made by hand: one that lies on the nodule, one that is flat, and one beside it."""

import numpy as np
import polars as pl

from csasn.runs import Run
from csasn.schema import MAP_COLUMNS, MASK_COLUMNS

SIZE_PX = 56
GRID = 7  # cells of 8 px
NODULE = (slice(16, 32), slice(32, 48))  # two by two cells
LEVELS = ("head", "classifier", "branches 1/4", "branches 4/4")


def cells_on_nodule(rng: np.random.Generator) -> np.ndarray:
    """Largest in the middle of the nodule."""
    cells = 0.2 * rng.random((GRID, GRID))
    cells[2:4, 4:6] = 1.0
    return cells


def explain_by_hand(run: Run, *, masks: bool = True, n_images: int = 40) -> None:
    """Finish the stage `explain` on the first and last images of the manifest."""
    manifest, split, rng = run.manifest(), run.split(), np.random.default_rng(0)
    rows = np.unique(np.linspace(0, len(manifest) - 1, n_images).round().astype(int))
    folds = dict(split.filter(pl.col("partition") == "test").select("image_path", "fold").iter_rows())
    nodule = np.zeros((SIZE_PX, SIZE_PX), dtype=bool)
    nodule[NODULE] = True
    mask_rows, map_rows = [], []
    for number, row in enumerate(manifest[rows].iter_rows(named=True)):
        place = {"size_px": SIZE_PX, "top_px": 7, "left_px": 0, "height_px": 42, "width_px": 56}
        mask_rows.append({"image_path": row["image_path"], **place, "mask": np.packbits(nodule).tobytes()})
        beside = np.zeros((GRID, GRID))
        beside[5, 1] = 1.0
        known = {"fold": folds[row["image_path"]], "image_path": row["image_path"], "target_class": row["subtype"]}
        on = cells_on_nodule(rng)
        made = {"cnn": on, "vit": np.zeros((GRID, GRID)), "fused": beside}
        map_rows += [_row(known, kind, 0, "none", each) for kind, each in made.items()]
        for level, name in enumerate(LEVELS if number < 8 else (), start=1):
            noise = rng.random((GRID, GRID))
            again = {"cnn": noise, "vit": np.zeros((GRID, GRID)), "fused": beside if level < 4 else noise}
            map_rows += [_row(known, kind, level, name, each) for kind, each in again.items()]
    masked = pl.DataFrame(mask_rows, schema=MASK_COLUMNS)
    if not masks:
        masked = masked.with_columns(mask=pl.lit(None, pl.Binary))
    run.path("explanations").mkdir()
    masked.write_parquet(run.path("explanations/masks.parquet"))
    pl.DataFrame(map_rows, schema=MAP_COLUMNS).write_parquet(run.path("explanations/maps.parquet"))
    files = ("explanations/maps.parquet", "explanations/masks.parquet")
    run.finish("explain", inputs=("split.csv",), outputs=files, notes={"missing": {}})


def _row(known: dict, kind: str, level: int, name: str, cells: np.ndarray) -> dict:
    shape = {"n_rows": GRID, "n_columns": GRID, "cells": cells.ravel().tolist()}
    return {**known, "map": kind, "level": level, "randomised": name, **shape}
