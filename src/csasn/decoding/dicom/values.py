"""The bytes of one frame become stored values: grey or palette indices (H, W), or colour (H, W, 3) as it was coded."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from csasn.decoding.dicom.codestreams import jpeg_model, refuse_codestream
from csasn.decoding.dicom.colour_model import refuse_other_model, seen_model
from csasn.decoding.dicom.layout import PLUGINS, Layout
from csasn.decoding.dicom.run_length import run_length_decoded
from csasn.decoding.refused import RefusedPicture

Space = Literal["L", "RGB", "YCbCr"]  # Pillow's names


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Values of a frame before any of them was given a meaning: "L" stands for one number a pixel, of any range."""

    values: NDArray[Any]
    space: Space
    fixes: tuple[str, ...] = ()
    """Codes of what was done to this frame."""


def decoded(content: bytes, layout: Layout) -> Stored:
    """One frame from its bytes; RefusedPicture where they are not one whole frame of this layout (undecodable,
    colour-contradicts and the codes of `refuse_codestream`).
    """
    stored = _stored(content, layout)
    if stored.space != "L":
        refuse_other_model(stored.values, stored.space, layout.photometric)
    return stored


def _stored(content: bytes, layout: Layout) -> Stored:
    if layout.native:
        return _stored_bits(_native(content, layout), layout)
    refuse_codestream(content, layout)
    if layout.syntax == RLELossless:
        return _stored_bits(run_length_decoded(content, layout), layout)
    says = jpeg_model(content, layout)
    try:
        if says == "RGB" and layout.channels == 3:  # of which the plugin would have luma and chroma made
            values, said = np.asarray(Image.open(io.BytesIO(content), formats=["JPEG"])), "RGB"
        else:
            values, said = _by_plugin(content, layout)
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make decoders raise nearly anything
        raise RefusedPicture("undecodable", f"the decoder gave up ({type(error).__name__})") from None
    if values.shape != ((layout.rows, layout.columns, 3) if layout.channels == 3 else (layout.rows, layout.columns)):
        raise RefusedPicture("pixel-data-length", f"a frame decodes to {values.shape}")
    if values.max() >> layout.bits_stored > 0:
        raise RefusedPicture("bits-contradict", f"a frame holds values of more than {layout.bits_stored} bits")
    fixes: tuple[str, ...] = ("planar-ignored",) if layout.planar and layout.channels == 3 else ()
    if layout.channels == 1:
        return Stored(values=values, space=_space(said))
    if says:
        return Stored(values=values, space="YCbCr" if says == "YCbCr" else "RGB", fixes=fixes)
    space = _space(said)
    if layout.syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) and space == "RGB":
        space, more = _unmarked(values)
        fixes += more
    return Stored(values=values, space=space, fixes=fixes)


def _by_plugin(content: bytes, layout: Layout) -> tuple[NDArray[Any], str]:
    """Values of a compressed frame and the colour model that pydicom takes them for.

    Planar Configuration is always 0: a compressed frame comes by pixel, whatever the file says (PS3.5 8.2).
    """
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.channels,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "number_of_frames": 1,
        "pixel_representation": int(layout.signed),
        "planar_configuration": 0,
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
    }
    decoder, plugin = get_decoder(layout.syntax), PLUGINS[layout.syntax]
    values, described = decoder.as_array(encapsulate([content]), index=0, raw=True, decoding_plugin=plugin, **options)
    return values, str(described["photometric_interpretation"])


def _unmarked(values: NDArray[Any]) -> tuple[Space, tuple[str, ...]]:
    """The colour model of a JPEG that its file calls RGB and that says nothing itself: every JPEG library takes such a
    one for Y'CbCr. The values decide, or nothing does.
    """
    seen, share = seen_model(values)
    if seen is None:
        raise RefusedPicture("colour-contradicts", f"its file says RGB, as a JPEG without a mark it is Y'CbCr; {share}")
    return seen, ("read-as-ycbcr",) if seen == "YCbCr" else ()


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
    fixes = ("upper-bits-dropped",) if dropped else ()
    return Stored(values=kept, space=_space(layout.photometric), fixes=fixes)
