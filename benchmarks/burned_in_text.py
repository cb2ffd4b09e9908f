"""Burned-in text is found and masked: planted strings, an independent reader, text-free pictures, and time.

    CSASN_DATA=../shared/data python benchmarks/burned_in_text.py [--plantings 900] [--seed 2] [--misses FOLDER]

Settings were chosen on odd seeds (and the even half of busi); figures to report are of even seeds (and the odd half).
Where tesseract is installed it reads the pictures before and after. Takes about 8 minutes on one core, most of them
tesseract's. Bars: no identifier of 4 characters or more, 10 px or higher and 60 grey levels or more off its background
stays legible; under 2 % of text-free phantom pictures touched; 3 ms a picture of 640 x 480 px.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))
from csasn.decoding.burned_in import find_text, without_text
from tests.support.planted_text import (
    LEGIBLE,
    Grey,
    Mask,
    Planting,
    busi_pictures,
    phantom_pictures,
    plantings,
    through_jpeg,
)


def read_by_tesseract(pixels: Grey, inks: Sequence[Mask]) -> str:
    """What tesseract reads about the planted string, three times enlarged, in capitals, letters and digits only."""
    ink = np.any(inks, axis=0)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    part = pixels[max(rows[0] - 20, 0) : rows[-1] + 21, max(columns[0] - 20, 0) : columns[-1] + 21]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.png"
        picture = Image.fromarray(part)
        picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.BICUBIC).save(path)
        command = ["tesseract", str(path), "-", "--psm", "11"]
        heard = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_THREAD_LIMIT": "1"}
        )
    return plain(heard.stdout)


def plain(words: str) -> str:
    """Capitals and digits of some words."""
    return re.sub(r"[^A-Z0-9]", "", words.upper())


def told(words: str, heard: str) -> bool:
    """Any 4 characters on end of the string are in what was read (all of it, where it is shorter)."""
    planted = plain(words)
    n = min(4, len(planted))
    return any(planted[at : at + n] in heard for at in range(len(planted) - n + 1))


def report_plantings(planted: Sequence[Planting], misses: Path | None) -> None:
    """Print what stayed legible, and write the missed pictures into a folder where one is given."""
    masks = [find_text(planting.pixels) for planting in planted]
    legible = np.array([planting.legible(text) for planting, text in zip(planted, masks, strict=True)])
    covered = np.array([text[np.any(each.inks, axis=0)].mean() for each, text in zip(planted, masks, strict=True)])
    identifier = np.array([planting.identifier for planting in planted])
    height = np.array([planting.height_px for planting in planted])
    low = np.array([planting.contrast < 60 for planting in planted])
    few = ~identifier & (height >= 10) & ~low
    groups = (
        ("identifiers", identifier),
        ("fainter than 60 grey levels", low),
        ("lower than 10 px", (height < 10) & ~low),
        ("fewer than 4 characters", few),
    )
    for name, chosen in groups:
        if chosen.any():
            print(
                f"{name:28} {chosen.sum():4} planted, missed {(legible[chosen] >= LEGIBLE).sum():3}, one character or "
                f"more legible {(legible[chosen] > 0).sum():3}, mean share of ink masked {covered[chosen].mean():.4f}"
            )
    kinds = sorted({planting.source for planting in planted})
    for kind in kinds:
        chosen = identifier & np.array([planting.source == kind for planting in planted])
        print(f"  identifiers on {kind:18} {chosen.sum():4} planted, missed {(legible[chosen] >= LEGIBLE).sum()}")
    print(f"share of the picture masked, mean {np.mean([text.mean() for text in masks]):.3f}")
    for at in np.flatnonzero(identifier & (legible > 0)):
        each = planted[at]
        print(
            f"  {legible[at]} legible of {each.words!r}: {each.source}, {each.font}, {each.height_px} px, contrast "
            f"{each.contrast:.0f}, boxed {each.boxed}, JPEG {each.quality}"
        )
        if misses is not None:
            show = np.hstack([each.pixels, without_text(each.pixels, masks[at])])
            Image.fromarray(show).save(misses / f"missed-{at}.png")


def report_reading(planted: Sequence[Planting]) -> None:
    """Print how often tesseract reads four characters on end, before and after masking."""
    if shutil.which("tesseract") is None:
        print("tesseract is not installed: the independent reading is left out")
        return
    before = after = 0
    for each in planted:
        before += told(each.words, read_by_tesseract(each.pixels, each.inks))
        heard = read_by_tesseract(without_text(each.pixels, find_text(each.pixels)), each.inks)
        if told(each.words, heard):
            after += 1
            print(f"  still read: {each.words!r} as {heard!r}")
    print(
        f"tesseract reads 4 characters on end of {before} of {len(planted)} identifiers before masking, {after} after"
    )


def report_text_free(n: int, seed: int) -> None:
    """Print how many pictures without any text are touched, as simulated, through JPEG and enlarged."""
    pictures = list(phantom_pictures(n, seed))
    for name, times, quality in (
        ("as simulated", 1.0, None),
        ("JPEG 80", 1.0, 80),
        ("x 1.5", 1.5, None),
        ("x 2", 2.0, None),
    ):
        touched, share, nodule = 0, [], []
        for pixels, mask in pictures:
            size = round(pixels.shape[1] * times), round(pixels.shape[0] * times)
            changed = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
            inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            text = find_text(changed if quality is None else through_jpeg(changed, quality))
            touched += bool(text.any())
            share.append(text.mean())
            nodule.append(text[inside].mean())
        print(
            f"text-free phantoms, {name:13} {touched} of {n} touched, {np.mean(share):.2e} of the pixels masked, "
            f"{np.mean(nodule):.2e} of the nodules"
        )
    n_masked = [find_text(pixels).any() for pixels, _ in phantom_pictures(40, seed, overlays=True)]
    print(f"phantoms with the scanners' own overlays: {sum(n_masked)} of 40 touched (7 of 10 scanners print text)")


def report_real(half: int) -> None:
    """Print how many real pictures are touched; whether rightly is for the eye."""
    pictures = busi_pictures(half)
    if not pictures:
        print("CSASN_DATA is absent: no real pictures")
        return
    masks = [find_text(pixels) for _, pixels in pictures]
    beyond = [text[24:].any() or text[:24, 40:].any() for text in masks]
    print(
        f"busi: {sum(text.any() for text in masks)} of {len(masks)} touched, {sum(map(bool, beyond))} of them beyond "
        f"the maker's sign in a corner, {np.mean([text.mean() for text in masks]):.4f} of the pixels masked"
    )


def report_time(seed: int) -> None:
    """Print the least of seven mean times for a picture of 640 x 480 px, text-free and with a string in it."""
    (pixels, _), *_ = phantom_pictures(1, seed)
    free = np.asarray(Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC))
    tiled = np.tile(pixels, (2, 2))[:480, :640]
    lettered = Image.fromarray(free)
    ImageDraw.Draw(lettered).text((40, 40), "MEYER, ANNA 1984-03-12", fill=230, font=ImageFont.load_default(18))
    for name, picture in (("text-free", free), ("text-free, sharp speckle", tiled), ("one line", np.asarray(lettered))):
        rounds = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(10):
                find_text(picture)
            rounds.append((time.perf_counter() - started) / 10)
        print(f"{min(rounds) * 1000:.1f} ms to look for text in 640 x 480 px, {name}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plantings", type=int, default=900)
    parser.add_argument("--read", type=int, default=300, help="identifiers that tesseract reads twice")
    parser.add_argument("--free", type=int, default=300, help="text-free phantom pictures")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--misses", type=Path, help="an existing folder for the pictures that keep legible characters")
    chosen = parser.parse_args()
    planted = plantings(chosen.plantings, chosen.seed)
    report_plantings(planted, chosen.misses)
    report_text_free(chosen.free, chosen.seed + 50)
    report_real((chosen.seed + 1) % 2)
    report_time(chosen.seed)
    report_reading([planting for planting in planted if planting.identifier][: chosen.read])


if __name__ == "__main__":
    main()
