"""The maps and the nodule masks of the images that explanations.json shows, as squares to be drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.arrays import Array
from csasn.evidence.explanations import cells_of, place_of, target_of
from csasn.evidence.statistics.pointing import Place, enlarged
from csasn.frames import read_parquet
from csasn.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownMaps:
    """Of one image: where the picture lies in its square, the nodule (S, S) if any, and each map (S, S) by its name."""

    place: Place
    mask: NDArray[np.bool_] | None
    squares: Mapping[str, Array]


def shown_maps(run: Run, image_paths: Sequence[str]) -> dict[str, ShownMaps]:
    """The trained network's maps and the mask of each image, from explanations/."""
    maps = read_parquet(run.require("explanations/maps.parquet"))
    masks = read_parquet(run.require("explanations/masks.parquet"))
    trained = maps.filter(pl.col("level") == 0)
    shown = {}
    for row in masks.filter(pl.col("image_path").is_in(image_paths)).iter_rows(named=True):
        target = target_of(row)
        shown[row["image_path"]] = ShownMaps(
            place=place_of(row),
            mask=None if target is None else target.mask,
            squares={
                each["map"]: enlarged(cells_of(each), row["size_px"])
                for each in trained.filter(pl.col("image_path") == row["image_path"]).iter_rows(named=True)
            },
        )
    return shown
