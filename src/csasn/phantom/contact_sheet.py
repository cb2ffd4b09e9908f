"""A contact sheet of a simulated cohort: a few pictures of each class and site, to be looked at before training."""

from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw, ImageFont

from csasn.phantom.looks import SUBTYPES

N_EACH = 2  # pictures a class and site
MOST_SITES_SHOWN = 6
TILE_PX = (176, 144)
CAPTION_PX, MARGIN_PX = 14, 52


def contact_sheet(folder: Path, manifest: pl.DataFrame) -> Image.Image:
    """Rows are classes, columns sites; each cell shows the first transverse and longitudinal picture of other nodules.

    `folder` is where the manifest's paths begin. Captions name view and nodule; the heading says SIMULATED.
    """
    sites = sorted(manifest["site"].unique().to_list())[:MOST_SITES_SHOWN]
    classes = [name for name in SUBTYPES if name in set(manifest["subtype"].to_list())]
    width, height = TILE_PX[0] * N_EACH + 6, TILE_PX[1] + CAPTION_PX
    sheet = Image.new("L", (MARGIN_PX + width * len(sites), MARGIN_PX + height * len(classes)), 32)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default_imagefont()
    draw.text((6, 4), "SIMULATED by csasn: no patient, never clinical evidence", fill=255, font=font)
    for column, site in enumerate(sites):
        draw.text((MARGIN_PX + column * width, MARGIN_PX - 16), site, fill=220, font=font)
        for row, name in enumerate(classes):
            top = MARGIN_PX + row * height
            draw.text((6, top + height // 2), name, fill=220, font=font)
            here = manifest.filter((pl.col("site") == site) & (pl.col("subtype") == name))
            for place, (path, view, nodule) in enumerate(_shown(here)):
                left = MARGIN_PX + column * width + place * TILE_PX[0]
                with Image.open(folder / path) as picture:
                    picture.thumbnail((TILE_PX[0] - 4, TILE_PX[1]))
                    sheet.paste(picture, (left, top))
                caption = f"{view[:5]} {nodule[4:10]} SIMULATED"
                draw.text((left, top + TILE_PX[1]), caption, fill=170, font=font)
    return sheet


def _shown(here: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Pictures of a cell, the views in turn, each of another nodule."""
    views = ("transverse", "longitudinal")
    nodules = here["nodule_id"].unique(maintain_order=True).to_list()
    chosen = [
        here.filter((pl.col("nodule_id") == nodule) & (pl.col("view") == views[place % 2]))
        for place, nodule in enumerate(nodules[:N_EACH])
    ]
    return [row for each in chosen for row in each.select("image_path", "view", "nodule_id").rows()[:1]]
