"""Faults 110 and 114: frames in fragments without a table of where each begins, and what functional groups say."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.faults.fault import Fault
from tests.faults.objects import LOOP, Make, frame_of, made
from tests.faults.sources import GREY, WHOLE, one_object

N = 3
MIDDLE = 1


def in_pieces(syntax: str, *, n_pieces: int = 3, n_frames: int = N, uneven: bool = False) -> Make:
    """A loop whose frames were each cut into fragments, the offset table empty."""

    def make(path: object) -> None:
        frames = [frame_of(path, pixels=values, transfer_syntax=syntax) for values in LOOP[:N]]  # type: ignore[arg-type]
        if uneven:  # one frame in one fragment, the next in many
            parts = [encapsulate([each], fragments_per_frame=1 + 4 * n, has_bot=False) for n, each in enumerate(frames)]
            content = parts[0][:8] + b"".join(part[8:] for part in parts)
        else:
            content = encapsulate(frames, fragments_per_frame=n_pieces, has_bot=False)
        options = {"pixels": LOOP[:N], "transfer_syntax": syntax, "content": content, "NumberOfFrames": n_frames}
        made(**options)(path)  # type: ignore[arg-type]

    return make


def loop(name: str, syntax: str, *, tolerance: int = 0, **options: object) -> Fault:
    """The middle frame of a loop in pieces, which is read."""
    return one_object(
        110,
        name,
        in_pieces(syntax, **options),  # type: ignore[arg-type]
        settings=WHOLE,
        pixels=LOOP[MIDDLE],
        tolerance=tolerance,
        fixed=("loop-frames", "frames-found-by-end"),
    )


def grouped(name: str, mm: float | None, *fixes: str, **tags: object) -> Fault:
    """An object of functional groups, and the mm per pixel that it must get."""
    return one_object(114, name, made(**tags), pixels=GREY, fixed=fixes, spacing_mm={"x.dcm": mm})


def groups(*spacings_mm: tuple[float, float] | None) -> list[Dataset]:
    """Functional groups with Pixel Spacing, or with an empty Pixel Measures item."""
    made_of = []
    for spacing in spacings_mm:
        measures, group = Dataset(), Dataset()
        if spacing:
            measures.PixelSpacing = list(spacing)
        group.PixelMeasuresSequence = [measures]
        made_of.append(group)
    return made_of


SHARED, BY_FRAME, FOUND = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "spacing-from-groups"
TENTH = (0.125, 0.125)

FAULTS = (
    grouped("shared", 0.125, FOUND, **{SHARED: groups(TENTH)}),
    grouped("by-frame", 0.125, FOUND, **{BY_FRAME: groups(TENTH, TENTH)}),
    grouped("shared-and-frames-without", None, **{SHARED: groups(None), BY_FRAME: groups(TENTH, (0.25, 0.25))}),
    grouped("frames-differ", None, **{BY_FRAME: groups(TENTH, (0.25, 0.25))}),
    grouped("said-above-too", 0.25, PixelSpacing=[0.25, 0.25], **{SHARED: groups(TENTH)}),
    grouped("implicit", 0.125, FOUND, transfer_syntax=ImplicitVRLittleEndian, **{SHARED: groups(TENTH)}),
    one_object(114, "not-square", made(**{SHARED: groups((0.1, 0.2))}), refused="anisotropic-pixels"),
    loop("jpeg", JPEGBaseline8Bit, tolerance=3),
    loop("jpeg-lossless", JPEGLosslessSV1),
    loop("jpeg-ls", JPEGLSLossless, n_pieces=2),
    loop("jpeg-2000", JPEG2000Lossless, n_pieces=5),
    loop("uneven", JPEGLosslessSV1, uneven=True),
    one_object(110, "more-frames-than-said", in_pieces(JPEGLSLossless, n_frames=2), refused="fragments-contradict"),
    one_object(110, "fewer-frames-than-said", in_pieces(JPEGLSLossless, n_frames=4), refused="fragments-contradict"),
    one_object(110, "one-frame-said", in_pieces(JPEGLSLossless, n_frames=1), refused="fragments-contradict"),
    one_object(110, "run-length-has-no-end", in_pieces(RLELossless), refused="fragments-contradict"),
    one_object(
        110,
        "one-frame-in-pieces",
        lambda path: made(
            transfer_syntax=JPEGLosslessSV1,
            content=encapsulate(
                [frame_of(path, transfer_syntax=JPEGLosslessSV1)], fragments_per_frame=4, has_bot=False
            ),
        )(path),
        pixels=np.array(GREY),
    ),
)
