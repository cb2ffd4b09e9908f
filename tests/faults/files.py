"""Faults 13 to 23: files that are no single picture, lie where they should not, or repeat one another."""

import io
import os
import socket as sockets
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.encoders import ORIENTATION, SHORT, bmp, png, tiff
from tests.faults.fault import Fault
from tests.faults.pictures import JPEG_GREY, NEAR, encoded
from tests.faults.sources import GREY, HEIGHT, SOUND, WIDTH, folder_of, one

OTHER = 255 - GREY
UPRIGHT = np.ascontiguousarray(GREY[::-1, ::-1])


def animated(kind: str, n: int = 3, **options: object) -> bytes:
    """Several pictures in one file."""
    stream = io.BytesIO()
    frames = [
        Image.fromarray(np.roll(GREY, 5 * each, axis=1)).convert("RGB" if kind == "WEBP" else "L") for each in range(n)
    ]
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:], **options)
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("x.png", png(GREY))
    return stream.getvalue()


def size(height: int, width: int) -> bytes:
    return png(np.arange(height * width).reshape(height, width).astype(np.uint8))


def link(target: str) -> object:
    """Makes a symbolic link; targets are relative to the link, or absolute."""
    return lambda path: path.symlink_to(target)


def outside(path: Path) -> None:
    """A sound picture beside the source, and a link to it."""
    beside = path.parents[3] / "elsewhere.png"
    beside.write_bytes(png(GREY // 3))
    path.symlink_to(beside)


def folder_outside(path: Path) -> None:
    beside = path.parents[3] / "elsewhere"
    beside.mkdir()
    (beside / "a.png").write_bytes(png(GREY // 3))
    path.symlink_to(beside)


def closed(path: Path) -> None:
    """A file that not even its owner may read; only root may."""
    path.write_bytes(png(GREY))
    path.chmod(0)


def closed_folder(path: Path) -> None:
    path.mkdir()
    (path / "a.png").write_bytes(png(GREY))
    path.chmod(0)


def socket(path: Path) -> None:
    """A socket's name, which is bound by a short relative path: the kernel takes no long ones."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with sockets.socket(sockets.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def same(name: str, *files: tuple[str, bytes], number: int = 22) -> Fault:
    """The same pixels under several patients."""
    return Fault(
        number=number,
        name=name,
        make=folder_of({f"PTC/{patient}": content for patient, content in files}),
        aborts=("same pixels", "Nothing was written", *(patient for patient, _ in files)),
    )


def several_kinds() -> Fault:
    """Pixels under two patients and others under two labels of one patient: one message lists both."""
    files = {
        "PTC/p1/a.png": png(GREY),
        "PTC/p2/b.tif": tiff(GREY),
        "PTC/p3/c.png": png(GREY // 2),
        "benign/p3/d.bmp": bmp(np.stack([GREY // 2] * 3, axis=-1)[::-1], WIDTH, HEIGHT),
    }
    return Fault(number=22, name="and-under-two-labels", make=folder_of(files), aborts=(*files, "labels of one"))


def many_pairs(n: int) -> Fault:
    """Every one of many pairs is named, however long the message becomes."""
    files = {}
    for number in range(n):
        pixels = GREY.copy()
        pixels[0, 0] = number
        files[f"PTC/one-{number}/a.png"] = files[f"PTC/two-{number}/a.png"] = png(pixels)
    aborts = tuple(f"PTC/one-{n}/a.png (one-{n}) = PTC/two-{n}/a.png (two-{n})" for n in range(n))
    return Fault(number=22, name=f"{n}-pairs", make=folder_of(files), aborts=aborts)


NO_TEXT = os.fsdecode(b"caf\xe9.png")
NAMES = {
    "cyrillic": "щитовидная-железа.png",
    "chinese": "甲状腺-超声.png",
    "combining": "cafe\u0301.png",
    "newline": "two\nlines.png",
    "right-to-left": "a\u202egnp.exe.png",
    "emoji-and-spaces": " 🦋  left lobe .png",
    "escape-code": "red\x1b[31m.png",
    "formula": "=cmd|' ! A0.png",
    "html": "<img src=x onerror=alert(1)>.png",
}

FAULTS = (
    one(13, "gif", "x.gif", animated("GIF"), refused="multi-frame"),
    one(13, "tiff", "x.tif", animated("TIFF"), refused="multi-frame"),
    one(13, "png", "x.png", animated("PNG"), refused="multi-frame"),
    one(13, "webp", "x.webp", animated("WEBP", lossless=True), refused="multi-frame"),
    one(13, "mpo", "x.jpg", animated("MPO", 2), refused="multi-frame"),
    one(13, "gif-of-500", "x.gif", animated("GIF", 500), refused="multi-frame"),
    one(14, "31-rows", "x.png", size(31, 64), refused="too-small"),
    one(14, "one-pixel", "x.png", size(1, 1), refused="too-small"),
    one(14, "31-columns-bmp", "x.bmp", bmp(np.zeros((40, 31, 3), np.uint8), 31, 40), refused="too-small"),
    one(14, "32-is-enough", "x.png", png(GREY[:32, :32]), pixels=GREY[:32, :32]),
    one(15, "wide", "x.png", size(32, 321), refused="extreme-aspect"),
    one(15, "tall", "x.png", size(500, 40), refused="extreme-aspect"),
    one(15, "tiff", "x.tif", tiff(np.arange(32 * 800).reshape(800, 32).astype(np.uint8)), refused="extreme-aspect"),
    one(
        15,
        "ten-to-one-is-allowed",
        "x.png",
        size(32, 320),
        pixels=np.arange(32 * 320).reshape(32, 320).astype(np.uint8),
    ),
    one(16, "png-called-jpg", "x.jpg", png(GREY), pixels=GREY, fixed=("wrong-extension",)),
    one(16, "tiff-called-png", "x.png", tiff(GREY), pixels=GREY, fixed=("wrong-extension",)),
    one(
        16,
        "bmp-called-tif",
        "x.TIF",
        bmp(np.stack([GREY] * 3, axis=-1)[::-1], WIDTH, HEIGHT),
        pixels=GREY,
        fixed=("wrong-extension", "colour-to-grey"),
    ),
    one(16, "jpeg-called-dcm", "x.dcm", JPEG_GREY, pixels=GREY, tolerance=NEAR, fixed=("wrong-extension",)),
    one(16, "without-ending", "IM0001", png(GREY), pixels=GREY),
    one(16, "capital-letters", "X.PNG", png(GREY), pixels=GREY),
    one(17, "html", "x.png", b"<!DOCTYPE html><html><body>404</body></html>", refused="not-a-picture"),
    one(17, "zip", "x.png", archive(), refused="not-a-picture"),
    one(17, "eps", "x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n", refused="not-a-picture"),
    one(
        17, "svg", "x.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>', refused="not-a-picture"
    ),
    one(17, "pdf", "x.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", refused="not-a-picture"),
    one(17, "text", "Thumbs.db", b"not a picture at all" * 9, refused="not-a-picture"),
    one(18, "file-outside", "x.png", outside, refused="outside-source"),
    one(18, "folder-outside", "linked", folder_outside, refused="outside-source"),
    one(18, "loop", "x.png", link("x.png"), refused="outside-source"),
    Fault(
        number=18,
        name="loop-of-two",
        make=folder_of({"PTC/x/a.png": link("b.png"), "PTC/x/b.png": link("a.png")}),
        used=tuple(SOUND),
        refused=dict.fromkeys(("PTC/x/a.png", "PTC/x/b.png"), "outside-source"),
    ),
    one(18, "to-a-device", "x.png", link("/dev/zero"), refused="outside-source"),
    one(18, "to-a-system-file", "x.png", link("/etc/passwd"), refused="outside-source"),
    one(19, "file", "x.png", closed, refused="unreadable", root_reads=True),
    one(19, "folder", "x", closed_folder, refused="unreadable", root_reads=True),
    one(19, "through-a-file", "x.png", link("../../p/sound.png/x.png"), refused="unreadable"),
    one(19, "too-long-a-name", "x.png", link("x" * 300), refused="unreadable"),
    one(19, "dangling-link", "x.png", link("gone.png"), refused="unreadable"),
    one(20, "pipe", "x.png", os.mkfifo, refused="not-a-regular-file"),
    one(20, "socket", "x.png", socket, refused="not-a-regular-file"),
    Fault(
        number=20,
        name="link-to-a-pipe",
        make=folder_of({"PTC/x/a": os.mkfifo, "PTC/x/b.png": link("a")}),
        used=tuple(SOUND),
        refused=dict.fromkeys(("PTC/x/a", "PTC/x/b.png"), "not-a-regular-file"),
    ),
    *(one(21, name, file, png(GREY), pixels=GREY) for name, file in NAMES.items()),
    Fault(
        number=21,
        name="not-utf-8",
        make=folder_of({f"PTC/x/{NO_TEXT}": png(GREY)}),
        used=tuple(SOUND),
        refused={"PTC/x/caf\\udce9.png": "name-not-utf8"},
    ),
    same("copies", ("a/x.png", png(GREY)), ("b/y.png", png(GREY))),
    same("of-two-formats", ("a/x.png", png(GREY)), ("b/y.tif", tiff(GREY, order=">"))),
    same("once-turned", ("a/x.png", png(UPRIGHT)), ("b/y.tif", tiff(GREY, tags={ORIENTATION: (SHORT, [3])}))),
    same(
        "of-three",
        ("a/x.png", png(GREY)),
        ("b/y.bmp", bmp(np.stack([GREY] * 3, axis=-1)[::-1], WIDTH, HEIGHT)),
        ("c/z.png", png(GREY, n_parts=2)),
    ),
    several_kinds(),
    many_pairs(60),
    one(23, "black", "x.png", png(GREY * 0), refused="blank"),
    one(23, "grey-jpeg", "x.jpg", encoded(GREY * 0 + np.uint8(77), "JPEG"), refused="blank"),
    one(
        23,
        "white-16-bit",
        "x.tif",
        tiff(np.full((HEIGHT, WIDTH), 65535, np.uint16)),
        refused="blank",
    ),
    one(23, "transparent", "x.png", png(np.stack([GREY, 0 * GREY], axis=-1), colour=4), refused="blank"),
    one(23, "one-float", "x.tif", tiff(np.full((HEIGHT, WIDTH), 0.25, np.float32)), refused="blank"),
)
