"""The bytes of one frame become stored values: grey or palette indices (H, W), or colour (H, W, 3) as it was coded."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from csasn.decoding.dicom.codestreams import refuse_codestream, shares_chroma
from csasn.decoding.dicom.layout import PLUGINS, Layout
from csasn.decoding.dicom.run_length import run_length_decoded
from csasn.decoding.refused import RefusedPicture

Space = Literal["L", "RGB", "YCbCr"]  # Pillow's names


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Values of a frame before any of them was given a meaning: "L" stands for one number a pixel, of any range."""

    values: NDArray[Any]
    space: Space
    dropped: bool = False
    """Whether something lay beside the stored bits, and was left out."""


def decoded(content: bytes, layout: Layout) -> Stored:
    """One frame from its bytes; RefusedPicture where they are not one whole frame of this layout (undecodable and the
    codes of `refuse_codestream`).
    """
    if layout.native:
        return _stored_bits(_native(content, layout), layout)
    refuse_codestream(content, layout)
    if layout.syntax == RLELossless:
        return _stored_bits(run_length_decoded(content, layout), layout)
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.channels,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "number_of_frames": 1,
        "pixel_representation": int(layout.signed),
        "planar_configuration": int(layout.planar),
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
    }
    try:
        decoder, plugin = get_decoder(layout.syntax), PLUGINS[layout.syntax]
        values, described = decoder.as_array(
            encapsulate([content]), index=0, raw=True, decoding_plugin=plugin, **options
        )
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make decoders raise nearly anything
        raise RefusedPicture("undecodable", f"the decoder gave up ({type(error).__name__})") from None
    if values.shape != ((layout.rows, layout.columns, 3) if layout.channels == 3 else (layout.rows, layout.columns)):
        raise RefusedPicture("pixel-data-length", f"a frame decodes to {values.shape}")
    if values.max() >> layout.bits_stored > 0:
        raise RefusedPicture("bits-contradict", f"a frame holds values of more than {layout.bits_stored} bits")
    said = str(described["photometric_interpretation"])
    return Stored(values=values, space="YCbCr" if shares_chroma(content, layout) else _space(said))


def _space(photometric: str) -> Space:
    """Reversible and irreversible transforms of JPEG 2000 are undone by its decoders."""
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        return "YCbCr"
    return "RGB" if photometric in ("RGB", "YBR_ICT", "YBR_RCT") else "L"


def _native(content: bytes, layout: Layout) -> NDArray[Any]:
    order, kind = ">" if layout.big_endian else "<", "i" if layout.signed else "u"
    values = np.frombuffer(content, dtype=f"{order}{kind}{layout.bits_allocated // 8}")
    rows, columns = layout.rows, layout.columns
    if layout.channels == 1:
        return values.reshape(rows, columns)
    if layout.halved_chroma:
        pairs = values.reshape(rows, columns // 2, 4)
        colours = np.empty((rows, columns, 3), dtype=np.uint8)
        colours[:, :, 0] = pairs[:, :, :2].reshape(rows, columns)
        colours[:, :, 1:] = pairs[:, :, 2:].repeat(2, axis=1)
        return colours
    return values.reshape(3, rows, columns).transpose(1, 2, 0) if layout.planar else values.reshape(rows, columns, 3)


def _stored_bits(values: NDArray[Any], layout: Layout) -> Stored:
    """Only the stored bits, with their sign, without whatever lies beside them (old overlays, say)."""
    above = layout.bits_allocated - 1 - layout.high_bit
    spare = layout.bits_allocated - layout.bits_stored
    kept = (values << above) >> spare if spare else values
    dropped = bool(spare) and not np.array_equal(kept << spare - above, values)
    return Stored(values=kept, space=_space(layout.photometric), dropped=dropped)
