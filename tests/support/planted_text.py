"""Strings as scanners burn them in, planted in pictures whose ink is then known, letter by letter."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from csasn.phantom.anatomy import VIEWS, draw_tissue
from csasn.phantom.cohort import draw_patients
from csasn.phantom.scanner import Scanner, draw_scanner, take_picture

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
