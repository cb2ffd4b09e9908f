"""Fault 110: compressed frames in several fragments, without a table that says where each frame begins."""

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

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


FAULTS = (
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
