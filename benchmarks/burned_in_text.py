"""Burned-in text is found and masked: planted strings, an independent reader, text-free pictures, and time.

    CSASN_DATA=../shared/data python benchmarks/burned_in_text.py [--plantings 900] [--seed 2] [--misses FOLDER]

Settings were chosen on odd seeds (and the even half of busi); figures to report are of even seeds (and the odd half).
Where tesseract is installed it reads the pictures before and after. Takes about 8 minutes on one core, most of them
tesseract's. Bars: no identifier of 4 characters or more, 10 px or higher and 60 grey levels or more off its background
stays legible; under 2 % of text-free phantom pictures touched; 3 ms a picture of 640 x 480 px.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from csasn.cohort.burned_in import find_text, without_text
from csasn.cohort.phantom.anatomy import VIEWS, draw_tissue
from csasn.cohort.phantom.cohort import draw_patients
from csasn.cohort.phantom.scanner import Scanner, draw_scanner, take_picture

INK_SHARE = 0.3  # a pixel is ink where the letter covers at least this share of it
COVERED = 0.9  # a character with less of its ink masked counts as legible
LEGIBLE = 2  # a planting with this many legible characters is missed
FONT_FOLDER = Path("/usr/share/fonts/truetype")
FONT_FILES = (
    "dejavu/DejaVuSans.ttf",
    "dejavu/DejaVuSans-Bold.ttf",
    "dejavu/DejaVuSansMono.ttf",
    "dejavu/DejaVuSerif.ttf",
    "dejavu/DejaVuSansCondensed.ttf",
    "liberation/LiberationSans-Regular.ttf",
    "liberation/LiberationSans-Bold.ttf",
    "liberation/LiberationMono-Regular.ttf",
    "liberation/LiberationSerif-Regular.ttf",
    "liberation/LiberationSansNarrow-Regular.ttf",
)
FAMILY = ("MEYER", "Novak", "GARCIA", "Chen", "SMITH-JONES", "Okafor", "LINDQVIST", "Rossi", "WILLIAMS", "Kim", "Ito")
GIVEN = ("Anna", "KARL", "Maria", "LI", "Peter J", "FATIMA", "Ivo", "Wilhelmina", "JOSE", "Eve")

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planting:
    """A picture with one string in it: `inks` holds the ink (H, W) of every visible character, one by one.

    `height_px` is the font's size, `contrast` the grey levels between its ink and the mean of what lay beneath a
    character, of the character with the least.
    """

    pixels: Grey
    words: str
    inks: tuple[Mask, ...]
    source: str
    font: str
    height_px: int
    contrast: float
    boxed: bool
    quality: int | None

    @property
    def identifier(self) -> bool:
        """It belongs to the plantings of which none may be missed."""
        return sum(map(str.isalnum, self.words)) >= 4 and self.height_px >= 10 and self.contrast >= 60

    def legible(self, text: Mask) -> int:
        """How many of its characters the mask `text` leaves legible."""
        return sum(bool(text[ink].mean() < COVERED) for ink in self.inks)


def bare(scanner: Scanner) -> Scanner:
    """The scanner without overlays."""
    return replace(scanner, ruler=False, text=False, caliper_share=0.0)


def phantom_pictures(n: int, seed: int, *, overlays: bool = False) -> Iterator[tuple[Grey, Mask]]:
    """Simulated pictures (H, W) and the masks of their nodules, of many scanners, overlays off unless asked for."""
    patients = draw_patients(n_patients=max(n, 40), n_sites=20, seed=seed)
    order = np.random.default_rng(seed).permutation(len(patients))
    for at in range(n):
        patient, view = patients[order[at]], VIEWS[at % len(VIEWS)]
        scanner = draw_scanner(patient.site_number, seed)
        rng = np.random.default_rng([seed, at])
        tissue = draw_tissue(patient.attributes, patient.diameters, view, scanner.grid, rng)
        picture = take_picture(scanner if overlays else bare(scanner), tissue, view, rng)
        yield picture.pixels, picture.mask > 0


def busi_pictures(half: int) -> list[tuple[str, Grey]]:
    """Names and grey pixels of every second real picture; none where CSASN_DATA is absent."""
    folder = Path(os.environ.get("CSASN_DATA", "absent")) / "busi/images"
    paths = sorted(folder.glob("*.png"))[half::2]
    return [(path.name, np.asarray(Image.open(path).convert("L"))) for path in paths]


def draw_words(rng: np.random.Generator) -> str:
    """A string as scanners burn it in: a name, a date, a number, an accession number, a time, initials."""
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1930, 2024))
    number = int(rng.integers(10**3, 10**9))
    name = f"{rng.choice(FAMILY)}{rng.choice([', ', ' ', '^', ','])}{rng.choice(GIVEN)}"
    choices = (
        name,
        str(rng.choice(FAMILY)),
        f"{year}-{month:02}-{day:02}",
        f"{day:02}.{month:02}.{year}",
        f"{month:02}/{day:02}/{year % 100:02}",
        str(number),
        f"ID: {number}",
        f"ACC{number}",
        f"US-{number % 10**6:06}-{year % 100:02}",
        f"{name} {day:02}.{month:02}.{year}"[:30],
        f"{day % 24:02}:{month:02}:{year % 60:02}",
        f"{rng.choice(['F', 'M'])} {year % 90:02}Y",
        f"{rng.choice(GIVEN)[:1]}{rng.choice(FAMILY)[:2]}".upper(),
    )
    return str(choices[int(rng.integers(len(choices)))])


@cache
def _font(name: str, height_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if name == "bitmap":
        return ImageFont.load_default_imagefont()
    if name == "default":
        return ImageFont.load_default(height_px)  # type: ignore[return-value]
    return ImageFont.truetype(FONT_FOLDER / name, height_px)


def _draw_font(rng: np.random.Generator) -> tuple[str, int]:
    names = ["bitmap", "default", *(name for name in FONT_FILES if (FONT_FOLDER / name).is_file())]
    name = names[int(rng.integers(len(names)))]
    height = int(np.exp(rng.uniform(np.log(8), np.log(40.99))))
    return name, 11 * max(1, round(height / 16)) if name == "bitmap" else height


def letter_covers(words: str, name: str, height_px: int, *, smooth: bool) -> list[NDArray[np.float64]]:
    """The share (h, w) of each pixel that a character covers, one array a visible character, cropped to them all."""
    font = _font(name, height_px)
    times = height_px // 11 if name == "bitmap" else 1
    left, place = 4, (int(font.getlength(words)) + 12, 2 * height_px // times + 8)
    covers = []
    for at, character in enumerate(words):
        canvas = Image.new("L", place)
        draw = ImageDraw.Draw(canvas)
        draw.fontmode = "L" if smooth else "1"
        draw.text((left + font.getlength(words[:at]), 4), character, fill=255, font=font)
        if canvas.getbbox() is not None:
            covers.append(np.asarray(canvas).repeat(times, axis=0).repeat(times, axis=1) / 255.0)
    seen = np.max(covers, axis=0) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    within = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return [cover[within] for cover in covers]


def _around(cover: NDArray[np.float64]) -> tuple[slice, slice]:
    """The box of one character's cover (h, w)."""
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def through_jpeg(pixels: Grey, quality: int) -> Grey:
    """The picture after JPEG compression."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def plant(pixels: Grey, rng: np.random.Generator, source: str) -> Planting | None:
    """A string burned into a picture (H, W) somewhere, or None where the drawn one is larger than the picture."""
    words, (name, height_px) = draw_words(rng), _draw_font(rng)
    covers = letter_covers(words, name, height_px, smooth=bool(rng.random() < 0.6))
    (h, w), (height, width) = covers[0].shape, pixels.shape
    boxed, quality = bool(rng.random() < 0.15), int(rng.integers(75, 96)) if rng.random() < 0.7 else None
    level = float(rng.integers(140, 256))
    border = int(rng.integers(1, 5)) if boxed else 0
    if h + 2 * border > height or w + 2 * border > width:
        return None
    top = int(rng.integers(border, height - h - border + 1))
    left = int(rng.integers(border, width - w - border + 1))
    within = slice(top, top + h), slice(left, left + w)
    planted = pixels.astype(np.float64)
    if boxed:
        planted[top - border : top + h + border, left - border : left + w + border] = level
        level = float(rng.uniform(0, level - 60))
    contrast = min(abs(level - float(planted[within][_around(cover)].mean())) for cover in covers)
    whole = np.max(covers, axis=0)
    planted[within] = planted[within] * (1 - whole) + level * whole
    written = np.rint(planted).astype(np.uint8)
    inks = []
    for cover in covers:
        ink = np.zeros(pixels.shape, dtype=np.bool_)
        ink[within] = cover >= min(INK_SHARE, float(cover.max()))
        inks.append(ink)
    return Planting(
        pixels=written if quality is None else through_jpeg(written, quality),
        words=words,
        inks=tuple(inks),
        source=source,
        font=name,
        height_px=height_px,
        contrast=contrast,
        boxed=boxed,
        quality=quality,
    )


def backgrounds(n: int, seed: int) -> list[tuple[str, Grey]]:
    """Pictures to plant in: phantoms, black screens, real pictures, half of them enlarged to what scanners store."""
    rng = np.random.default_rng([seed, 7])
    pictures = [("phantom", pixels) for pixels, _ in phantom_pictures(max(n // 4, 20), seed)]
    pictures += [("busi", pixels) for _, pixels in busi_pictures((seed + 1) % 2)]
    pictures.append(("black", np.zeros((480, 640), dtype=np.uint8)))
    kinds = sorted({kind for kind, _ in pictures})
    chances = {"phantom": 0.45, "busi": 0.45, "black": 0.1}
    odds = np.array([chances[kind] for kind in kinds])
    drawn = []
    for _ in range(n):
        kind = kinds[int(rng.choice(len(kinds), p=odds / odds.sum()))]
        among = [pixels for name, pixels in pictures if name == kind]
        pixels = among[int(rng.integers(len(among)))]
        if rng.random() < 0.5:
            times = float(rng.uniform(1.3, 2.2))
            size = round(pixels.shape[1] * times), round(pixels.shape[0] * times)
            pixels, kind = (
                np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)),
                f"{kind} enlarged",
            )
        drawn.append((kind, pixels))
    return drawn


def plantings(n: int, seed: int) -> list[Planting]:
    """`n` plantings, fixed by the seed."""
    rng = np.random.default_rng([seed, 8])
    planted: list[Planting] = []
    while len(planted) < n:
        for kind, pixels in backgrounds(n - len(planted), seed + 100 * len(planted)):
            planting = plant(pixels, rng, kind)
            if planting is not None:
                planted.append(planting)
    return planted


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
