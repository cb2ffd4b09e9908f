import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from csasn.decoding.burned_in import find_text, without_text

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/burned_in_text.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark's plantings, of which the tests take some."""
    spec = importlib.util.spec_from_file_location("burned_in_text", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def speckle() -> NDArray[np.uint8]:
    """A picture (200, 320) of mean grey near 80: echoes 1.2 px deep and 2.5 px wide (SD), 60 dB on the whole scale."""
    rng = np.random.default_rng(5)
    envelope = np.hypot(*(gaussian_filter(rng.normal(size=(200, 320)), (1.2, 2.5)) for _ in range(2)))
    floor = np.hypot(envelope / envelope.mean(), 10 ** (-18 / 20))
    return np.clip(gaussian_filter(80 + 255 / 60 * 20 * np.log10(floor), 0.7), 0, 255).astype(np.uint8)


def write(pixels: NDArray[np.uint8], words: str, *, at: tuple[int, int], size: int, fill: int) -> NDArray[np.uint8]:
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text(at, words, fill=fill, font=ImageFont.load_default(size))
    return np.asarray(picture)


@pytest.mark.parametrize("words", ["MEYER, ANNA", "1984-03-12", "ID 00482913", "okafor"])
@pytest.mark.parametrize("size", [10, 14, 24, 40])
def test_every_pixel_that_writing_changes_is_masked(speckle: NDArray[np.uint8], words: str, size: int) -> None:
    written = write(speckle, words, at=(30, 70), size=size, fill=200)
    text = find_text(written)
    assert text[written != speckle].all()
    assert text.mean() < 0.6  # the largest writing itself fills a quarter of the picture


def test_dark_writing_on_a_light_box_is_masked(speckle: NDArray[np.uint8]) -> None:
    boxed = speckle.copy()
    boxed[60:90, 40:200] = 220
    written = write(boxed, "SMITH 19770621", at=(44, 64), size=16, fill=30)
    assert find_text(written)[written != boxed].all()


def test_two_lines_are_masked_and_what_lies_far_from_them_is_not(speckle: NDArray[np.uint8]) -> None:
    written = write(speckle, "NOVAK KARL", at=(20, 20), size=14, fill=230)
    written = write(written, "12.03.1951", at=(200, 170), size=14, fill=160)
    text = find_text(written)
    assert text[written != speckle].all()
    assert not text[60:150].any()


def test_words_in_the_very_corner_are_masked() -> None:
    empty = np.zeros((64, 96), dtype=np.uint8)
    written = write(empty, "A 4711", at=(0, -2), size=12, fill=255)
    assert find_text(written)[written > 0].all()


def test_echoes_alone_are_no_text(speckle: NDArray[np.uint8]) -> None:
    assert not find_text(speckle).any()
    assert not find_text(255 - speckle).any()
    assert not find_text(np.full((32, 32), 9, dtype=np.uint8)).any()


def test_a_layer_a_disc_and_bright_foci_are_no_text() -> None:
    rows, columns = np.mgrid[:240, :320]
    picture = np.full((240, 320), 40.0)
    picture[rows > 120] = 150
    picture[(rows - 60) ** 2 + (columns - 90) ** 2 < 40**2] = 5
    for row, column in ((50, 200), (56, 214), (61, 203), (50, 232), (58, 226)):
        picture += 180 * np.exp(-0.5 * ((rows - row) ** 2 + (columns - column) ** 2) / 1.5**2)
    assert not find_text(np.clip(picture, 0, 255).astype(np.uint8)).any()


def test_the_same_text_is_found_in_a_view_that_is_not_contiguous(speckle: NDArray[np.uint8]) -> None:
    written = write(speckle, "MEYER 1984", at=(30, 70), size=14, fill=230)
    assert np.array_equal(find_text(np.asfortranarray(written)), find_text(written))


def test_masked_parts_get_the_median_around_them_and_nothing_else_changes() -> None:
    pixels = np.tile(np.arange(40, dtype=np.uint8), (40, 1))
    text = np.zeros((40, 40), dtype=np.bool_)
    text[10:14, 16:24] = True  # columns 8 to 31 surround it evenly: median 19.5
    text[30, 0] = True  # surrounded by columns 0 to 8: rows of 9, one of them without its 0: median 4
    cleaned = without_text(pixels, text)
    assert (cleaned[10:14, 16:24] == 19).all()
    assert cleaned[30, 0] == 4
    assert np.array_equal(cleaned[~text], pixels[~text])
    assert pixels[10, 16] == 16  # the picture given is left as it was


def test_a_picture_that_is_all_mask_becomes_black() -> None:
    pixels = np.full((8, 8), 77, dtype=np.uint8)
    assert not without_text(pixels, np.ones((8, 8), dtype=np.bool_)).any()


def test_planted_identifiers_do_not_stay_legible(bench: ModuleType) -> None:
    planted = [each for each in bench.plantings(120, 4) if each.identifier]
    missed = [each.words for each in planted if each.legible(find_text(each.pixels)) >= bench.LEGIBLE]
    assert len(planted) >= 60
    assert len(missed) <= 1, missed  # 1 in 200 or so stays: writing hardly brighter than bright tissue


def test_text_free_phantoms_are_left_alone(bench: ModuleType) -> None:
    touched = [find_text(pixels).any() for pixels, _ in bench.phantom_pictures(40, 52)]
    assert sum(touched) == 0


def test_a_planting_knows_its_characters(bench: ModuleType) -> None:
    planting = next(each for each in bench.plantings(5, 6) if each.identifier)
    assert len(planting.inks) == sum(not character.isspace() for character in planting.words)
    nothing = np.zeros(planting.pixels.shape, dtype=np.bool_)
    assert planting.legible(nothing) == len(planting.inks)
    assert planting.legible(~nothing) == 0
    assert planting.legible(planting.inks[0]) in range(len(planting.inks) - 1, len(planting.inks))


@pytest.mark.slow
def test_tesseract_reads_nothing_of_what_was_masked(bench: ModuleType) -> None:
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed: there is no independent reader")
    planted = [each for each in bench.plantings(60, 8) if each.identifier]
    before = [bench.told(each.words, bench.read_by_tesseract(each.pixels, each.inks)) for each in planted]
    masked = [without_text(each.pixels, find_text(each.pixels)) for each in planted]
    after = [
        bench.told(each.words, bench.read_by_tesseract(pixels, each.inks))
        for each, pixels in zip(planted, masked, strict=True)
    ]
    assert sum(before) >= len(planted) / 3
    assert sum(after) == 0
