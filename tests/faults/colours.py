"""Faults 107 to 109: DICOM whose compressed colours are not what its labels say."""

import struct

import numpy as np
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.faults.fault import Fault
from tests.faults.objects import made, named, ycbcr
from tests.faults.pictures import COLOUR, LUMA, encoded
from tests.faults.sources import GREY, grey_of, one_object
from tests.support.dicom_objects import jpeg

TO_GREY = ("colour-to-grey",)
SCREEN = np.stack([GREY, GREY, GREY], axis=-1)  # grey, kept in colour, as scanners do
SCREEN_YCC = np.stack([GREY, 0 * GREY + np.uint8(128), 0 * GREY + np.uint8(128)], axis=-1)
RED = np.minimum(GREY.astype(int) + 12, 255).astype(np.uint8)
TINTED = np.stack([RED, GREY, np.maximum(GREY.astype(int) - 12, 0).astype(np.uint8)], axis=-1)
TINTED_GREY = grey_of(*np.moveaxis(TINTED.astype(float), -1, 0))
FULL = {"quality": 100, "subsampling": 0}
LIKE_JPEG = 3  # grey levels of a JPEG of quality 100 whose three channels are not halved


def without(content: bytes, marker: bytes) -> bytes:
    """A JPEG without its first segment of a kind: JFIF's (ff e0) or Adobe's (ff ee)."""
    place = content.index(marker)
    return content[:place] + content[place + 2 + struct.unpack_from(">H", content, place + 2)[0] :]


def bare(values: np.ndarray) -> bytes:
    """A JPEG of luma and chroma whose channels are called 1, 2 and 3, and that has no mark."""
    return without(jpeg(values, **FULL), b"\xff\xe0")


def of_rgb(values: np.ndarray) -> bytes:
    """A JPEG of red, green and blue, called R, G and B, with Adobe's mark of no transform."""
    return jpeg(values, keep_rgb=True, **FULL)


def with_adobe(values: np.ndarray) -> bytes:
    """A JPEG of luma and chroma with Adobe's mark of the transform."""
    content = bare(values)
    return content[:2] + b"\xff\xee" + struct.pack(">H5s7B", 14, b"Adobe", 0, 100, 0, 0, 0, 0, 1) + content[2:]


def baseline(number: int, name: str, frame: bytes, photometric: str, **outcome: object) -> Fault:
    """An object of one baseline JPEG."""
    options = {"pixels": COLOUR, "photometric": photometric, "frames": [frame]}
    outcome = {"tolerance": LIKE_JPEG} | outcome if "pixels" in outcome else outcome
    return one_object(number, name, made(transfer_syntax=JPEGBaseline8Bit, **options), **outcome)


IN_PLANES = tuple(
    one_object(
        107,
        name,
        made(pixels=COLOUR, photometric=photometric, transfer_syntax=syntax, PlanarConfiguration=1),
        pixels=LUMA,
        fixed=fixed,
    )
    for name, syntax, photometric, fixed in (
        ("jpeg-lossless", JPEGLosslessSV1, "RGB", (*TO_GREY, "planar-ignored")),
        ("jpeg-ls", JPEGLSLossless, "RGB", (*TO_GREY, "planar-ignored")),
        ("jpeg-2000", JPEG2000Lossless, "YBR_RCT", (*TO_GREY, "planar-ignored")),
        ("jpeg-2000-without-transform", JPEG2000Lossless, "RGB", (*TO_GREY, "planar-ignored")),
        ("run-length-has-planes", RLELossless, "RGB", TO_GREY),
    )
)
CALLED_RGB = tuple(
    one_object(
        108,
        f"{name}-of-chroma-called-rgb",
        made(pixels=SCREEN_YCC, photometric="RGB", transfer_syntax=syntax, **options),
        refused="colour-contradicts",
    )
    for name, syntax, options in (
        ("plain", ExplicitVRLittleEndian, {}),
        ("run-length", RLELossless, {}),
        ("jpeg-lossless", JPEGLosslessSV1, {}),
        ("jpeg-ls", JPEGLSLossless, {}),
        ("jpeg-2000", JPEG2000Lossless, {"frames": [encoded(SCREEN_YCC, "JPEG2000", no_jp2=True, mct=0)]}),
    )
)
FAULTS = (
    *IN_PLANES,
    one_object(
        107,
        "jpeg-baseline",
        made(
            pixels=COLOUR,
            photometric="YBR_FULL",
            transfer_syntax=JPEGBaseline8Bit,
            frames=[jpeg(COLOUR, **FULL)],
            PlanarConfiguration=1,
        ),
        pixels=LUMA,
        tolerance=LIKE_JPEG,
        fixed=(*TO_GREY, "planar-ignored"),
    ),
    one_object(
        107,
        "plain-in-planes-is-true",
        made(pixels=COLOUR, photometric="RGB", PlanarConfiguration=1, content=np.moveaxis(COLOUR, -1, 0).tobytes()),
        pixels=LUMA,
        fixed=TO_GREY,
    ),
    *CALLED_RGB,
    baseline(108, "without-mark", bare(SCREEN), "RGB", pixels=GREY, fixed=(*TO_GREY, "read-as-ycbcr")),
    baseline(108, "without-mark-tinted", bare(TINTED), "RGB", pixels=TINTED_GREY, fixed=(*TO_GREY, "read-as-ycbcr")),
    baseline(108, "without-mark-nor-evidence", bare(COLOUR), "RGB", refused="colour-contradicts"),
    baseline(108, "without-mark-called-what-it-is", bare(SCREEN), "YBR_FULL", pixels=GREY, fixed=TO_GREY),
    baseline(108, "adobe-undone-once", with_adobe(COLOUR), "YBR_FULL", pixels=LUMA, fixed=TO_GREY),
    one_object(108, "rgb-called-ybr", made(pixels=SCREEN, photometric="YBR_FULL"), refused="colour-contradicts"),
    one_object(
        108,
        "run-length-of-rgb-called-ybr",
        made(pixels=TINTED, photometric="YBR_FULL", transfer_syntax=RLELossless),
        refused="colour-contradicts",
    ),
    one_object(108, "grey-screen-in-rgb", made(pixels=SCREEN, photometric="RGB"), pixels=GREY, fixed=TO_GREY),
    one_object(108, "grey-screen-in-ybr", made(pixels=SCREEN_YCC, photometric="YBR_FULL"), pixels=GREY, fixed=TO_GREY),
    one_object(
        108,
        "colours-are-believed",
        made(pixels=ycbcr(), photometric="YBR_FULL"),
        pixels=LUMA,
        tolerance=1,
        fixed=TO_GREY,
    ),
    baseline(109, "with-adobe", of_rgb(COLOUR), "RGB", pixels=LUMA, fixed=TO_GREY),
    baseline(109, "without-adobe", without(of_rgb(COLOUR), b"\xff\xee"), "RGB", pixels=LUMA, fixed=TO_GREY),
    baseline(109, "called-ybr", without(of_rgb(TINTED), b"\xff\xee"), "YBR_FULL", pixels=TINTED_GREY, fixed=TO_GREY),
    one_object(
        109,
        "extended",
        named(
            JPEGExtended12Bit,
            JPEGBaseline8Bit,
            pixels=TINTED,
            photometric="RGB",
            frames=[without(of_rgb(TINTED), b"\xff\xee")],
        ),
        pixels=TINTED_GREY,
        tolerance=LIKE_JPEG,
        fixed=TO_GREY,
    ),
)
