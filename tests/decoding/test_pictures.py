"""Pictures are read to the exact grey value, or refused with a stable code."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csasn.decoding.pictures import MAX_PIXELS, pixel_sha256, read_mask, read_picture
from csasn.decoding.refused import RefusedPicture

GREY = np.arange(40 * 48, dtype=np.int64).reshape(40, 48) % 251


@pytest.fixture
def grey() -> np.ndarray:
    return GREY.astype(np.uint8)


def saved(folder: Path, picture: Image.Image, name: str = "picture.png", **options: object) -> Path:
    path = folder / name
    picture.save(path, **options)
    return path


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def refusal(path: Path) -> str:
    with pytest.raises(RefusedPicture) as caught:
        read_picture(path)
    assert caught.value.reason
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "PPM"])
def test_grey_of_8_bits_comes_as_stored_whatever_the_file_is_called(tmp_path, grey, kind):
    path = tmp_path / "wrong-extension.jpg"
    path.write_bytes(encoded(grey, kind))
    np.testing.assert_array_equal(read_picture(path), grey)
    assert read_picture(path).dtype == np.uint8


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_grey_of_16_bits_is_windowed_and_never_clipped(tmp_path, name):
    deep = np.full((32, 33), 1000, dtype=np.uint16)
    deep[0, :5] = [1000, 1100, 2000, 41000, 61000]
    pixels = read_picture(saved(tmp_path, Image.fromarray(deep), name))
    # (x - 1000) / 60000 * 255 = 0, 0.425, 4.25, 170, 255
    assert pixels[0, :5].tolist() == [0, 0, 4, 170, 255]
    assert (pixels[1:] == 0).all()


def test_float_tiff_between_0_and_1_is_windowed_and_not_black(tmp_path):
    values = np.zeros((32, 32), dtype=np.float32)
    values[0, :4] = [0.0, 0.2, 0.6, 1.0]
    assert read_picture(saved(tmp_path, Image.fromarray(values), "f.tif"))[0, :4].tolist() == [0, 51, 153, 255]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(tmp_path, bad):
    values = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    values[3, 3] = bad
    assert refusal(saved(tmp_path, Image.fromarray(values), "f.tif")) == "not-finite"


def test_colour_becomes_grey_by_itu_r_601(tmp_path):
    colour = np.zeros((32, 32, 3), dtype=np.uint8)
    colour[0, :3] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    # 0.299, 0.587 and 0.114 of 255
    assert read_picture(saved(tmp_path, Image.fromarray(colour)))[0, :4].tolist() == [76, 150, 29, 0]


def test_palette_indices_are_looked_up(tmp_path):
    indices = np.zeros((32, 32), dtype=np.uint8)
    indices[0, :3] = [0, 1, 2]
    picture = Image.new("P", (32, 32))
    picture.putdata(indices.ravel().tolist())
    picture.putpalette([10, 10, 10, 200, 200, 200, 255, 0, 0])
    assert read_picture(saved(tmp_path, picture))[0, :4].tolist() == [10, 200, 76, 10]


def test_transparency_is_composited_over_black(tmp_path):
    rgba = np.zeros((32, 32, 4), dtype=np.uint8)
    rgba[0, :4] = [[200, 200, 200, 255], [200, 200, 200, 0], [200, 200, 200, 51], [255, 255, 255, 128]]
    assert read_picture(saved(tmp_path, Image.fromarray(rgba)))[0, :4].tolist() == [200, 0, 40, 128]
    grey_alpha = np.zeros((32, 32, 2), dtype=np.uint8)
    grey_alpha[0, :2] = [[200, 255], [200, 51]]
    assert read_picture(saved(tmp_path, Image.fromarray(grey_alpha, mode="LA")))[0, :2].tolist() == [200, 40]


def test_a_transparent_grey_value_becomes_black(tmp_path, grey):
    path = saved(tmp_path, Image.fromarray(grey), transparency=200)
    np.testing.assert_array_equal(read_picture(path), np.where(grey == 200, 0, grey))


def test_cmyk_becomes_grey_by_way_of_rgb(tmp_path):
    cmyk = np.zeros((32, 32, 4), dtype=np.uint8)
    cmyk[0, :3] = [[0, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 0]]
    path = saved(tmp_path, Image.fromarray(cmyk, mode="CMYK"), "c.tif")
    assert read_picture(path)[0, :3].tolist() == [255, 0, 76]


@pytest.mark.parametrize(("orientation", "upright"), [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))])
def test_exif_orientation_is_applied(tmp_path, grey, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(grey), exif=exif.tobytes())
    np.testing.assert_array_equal(read_picture(path), upright(grey))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_cut_anywhere_is_refused(tmp_path, grey, kind):
    content = encoded(grey, kind)
    path = tmp_path / "cut"
    for n_bytes in [*range(8, len(content), 61), *range(len(content) - 16, len(content))]:
        path.write_bytes(content[:n_bytes])
        assert refusal(path) in ("truncated", "corrupt"), n_bytes
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path) == "truncated"


def test_a_png_without_its_end_or_with_a_flipped_bit_is_refused(tmp_path, grey):
    content = bytearray(encoded(grey, "PNG"))
    path = tmp_path / "x.png"
    path.write_bytes(content[:-12])
    assert refusal(path) == "truncated"
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert refusal(path) == "corrupt"


def test_what_is_no_picture_is_refused(tmp_path):
    for content in (b"<html></html>", b"PK\x03\x04" + b"\0" * 50, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        (tmp_path / "x.png").write_bytes(content)
        assert refusal(tmp_path / "x.png") == "not-a-picture"
    (tmp_path / "x.png").write_bytes(b"")
    assert refusal(tmp_path / "x.png") == "empty-file"


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "pipe.png") == "not-a-regular-file"
    assert refusal(Path("/dev/zero")) == "not-a-regular-file"
    assert refusal(tmp_path) == "not-a-regular-file"
    assert refusal(tmp_path / "absent.png") == "unreadable"
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert refusal(tmp_path / "loop.png") == "unreadable"


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_001), (100_000, 100_000), (20_000, 6_000)])
def test_a_pixel_bomb_is_refused_from_its_header(tmp_path, width, height):
    assert width * height > MAX_PIXELS
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert refusal(path) == "too-many-pixels"


def test_sizes_that_no_scan_has_are_refused(tmp_path):
    ramp = np.tile(np.arange(31, dtype=np.uint8), (40, 1))
    assert refusal(saved(tmp_path, Image.fromarray(ramp))) == "too-small"
    ramp = np.tile(np.arange(400, dtype=np.int64).astype(np.uint8), (32, 1))
    assert refusal(saved(tmp_path, Image.fromarray(ramp))) == "extreme-aspect"


def test_a_blank_picture_is_refused(tmp_path):
    assert refusal(saved(tmp_path, Image.new("L", (64, 64), 7))) == "blank"
    assert refusal(saved(tmp_path, Image.fromarray(np.full((64, 64), 700, dtype=np.uint16)))) == "blank"


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x.png"])
def test_several_frames_are_refused(tmp_path, grey, name):
    path = tmp_path / name
    Image.fromarray(grey).save(path, save_all=True, append_images=[Image.fromarray(255 - grey)])
    assert refusal(path) == "multi-frame"


def test_a_mask_is_true_inside_and_may_be_empty(tmp_path):
    inside = np.zeros((40, 40), dtype=bool)
    inside[10:20, 5:30] = True
    for value in (1, 2, 255):
        path = saved(tmp_path, Image.fromarray((inside * value).astype(np.uint8)))
        np.testing.assert_array_equal(read_mask(path), inside)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(inside))), inside)
    blurred = saved(tmp_path, Image.fromarray((inside * 255).astype(np.uint8)), "mask.jpg", quality=60)
    np.testing.assert_array_equal(read_mask(blurred), inside)
    assert not read_mask(saved(tmp_path, Image.new("1", (40, 40)))).any()


def test_equal_pixels_have_equal_hashes_whatever_the_file(tmp_path, grey):
    png = saved(tmp_path, Image.fromarray(grey))
    tiff = saved(tmp_path, Image.fromarray(grey), "x.tif")
    assert pixel_sha256(read_picture(png)) == pixel_sha256(read_picture(tiff))
    assert pixel_sha256(grey) != pixel_sha256(grey.reshape(48, 40))
    assert pixel_sha256(grey) != pixel_sha256(grey[::-1])
