"""A run-length frame becomes stored values: each of its segments must give exactly the bytes that the size needs."""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import rle.rle
from numpy.typing import NDArray

from csasn.decoding.dicom.layout import Layout
from csasn.decoding.refused import RefusedPicture

HEAD_BYTES = 64


def run_length_decoded(content: bytes, layout: Layout) -> NDArray[Any]:
    """Values (H, W) or (H, W, 3) of a frame (PS3.5 annex G): one segment a byte of a channel, the upper byte first.

    Raises RefusedPicture with truncated, where a segment stops early, and pixel-data-length, where one gives more bytes
    than a channel has: decoders drop the rest without a word. `refuse_codestream` has checked the header.
    """
    n_segments, *places = struct.unpack_from("<16I", content)
    wanted = layout.rows * layout.columns
    planes = []
    for start, end in pairwise([*places[:n_segments], len(content)]):
        try:
            plane = rle.rle.decode_segment(content[start:end])
        except ValueError:
            raise RefusedPicture("truncated", "a run-length segment stops before its end") from None
        if len(plane) < wanted:
            raise RefusedPicture("truncated", f"a run-length segment gives {len(plane)} bytes of {wanted}")
        if len(plane) > wanted:
            raise RefusedPicture("pixel-data-length", f"a run-length segment gives {len(plane)} bytes, not {wanted}")
        planes.append(np.frombuffer(plane, dtype=np.uint8).reshape(layout.rows, layout.columns))
    if layout.channels == 3:
        return np.stack(planes, axis=-1)
    if len(planes) == 1:
        return planes[0].view(np.int8) if layout.signed else planes[0]
    return (planes[0].astype(np.uint16) << 8 | planes[1]).view(np.int16 if layout.signed else np.uint16)
