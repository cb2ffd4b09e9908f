"""Stored values become grey: one table from every possible value of a file to its grey, palette and window applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from csasn.decoding.dicom.layout import PALETTE, Layout
from csasn.decoding.dicom.regions import number_of
from csasn.decoding.dicom.values import Space
from csasn.decoding.refused import RefusedPicture

WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
CHANNELS = ("Red", "Green", "Blue")

Grey = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tone:
    """What a file's stored values mean; the tables have one entry for each possible value, from the least on."""

    least: int
    meant: Values | None = None
    """Values after the modality's table or scale, where only the range of those in use will say how grey they are."""
    greys: Grey | None = None
    """Greys (N), where the file says them; None with `meant` None: values are grey as they are."""
    colours: Grey | None = None
    """Red, green and blue (N, 3) of a palette."""
    inverted: bool = False
    fixes: tuple[str, ...] = ()

    def over(self, frames: Sequence[NDArray[Any]]) -> "Tone":
        """The tone with the range that the values of these frames span, where it depends on them."""
        if self.meant is None:
            return self
        used = np.zeros(len(self.meant), dtype=np.bool_)
        for frame in frames:
            used[frame.astype(np.int32) - self.least] = True
        low, high = float(self.meant[used].min()), float(self.meant[used].max())
        greys = _greys((self.meant - low) / max(high - low, np.finfo(np.float64).tiny), inverted=self.inverted)
        return Tone(least=self.least, greys=greys, fixes=self.fixes)

    def grey(self, values: NDArray[Any]) -> Grey:
        """Grey (H, W) of stored values (H, W)."""
        if self.greys is None:
            return np.ascontiguousarray(values, dtype=np.uint8)
        if values.dtype == np.uint8 and len(self.greys) == 256:  # bytes by a table of bytes: six times as fast
            greys = np.frombuffer(values.tobytes().translate(self.greys.tobytes()), dtype=np.uint8)
            return greys.reshape(values.shape)
        return self.greys.take(_indices(values, self.least))

    def colour(self, values: NDArray[Any]) -> Grey | None:
        """Colours (H, W, 3) of a palette's indices (H, W); None where there is no palette."""
        return None if self.colours is None else self.colours.take(values, axis=0)


def grey_of_colours(values: NDArray[Any], space: Space) -> Grey:
    """Grey (H, W) of colours (H, W, 3): Y'CbCr to RGB by ITU-T T.871, once, and RGB to grey by ITU-R BT.601."""
    picture = _picture(values, space)
    return np.asarray((picture if space == "RGB" else picture.convert("RGB")).convert("L"))


def rgb(values: NDArray[Any], space: Space) -> Grey:
    """Red, green and blue (H, W, 3) of colours (H, W, 3)."""
    return values if space == "RGB" else np.asarray(_picture(values, space).convert("RGB"))


def tone_of(dataset: Dataset, layout: Layout) -> Tone:
    """The meaning of a grey or palette file's values.

    8 unsigned bits without table, scale or window are grey as they are, 8 signed ones from -128 on. Else the
    modality's table or scale applies, then the table or window of interest (PS3.3 C.11.2.1), or without one the range
    of the values in use. MONOCHROME1 is inverted at the end. Raises RefusedPicture with palette-unreadable or
    window-unknown.
    """
    n_values = 1 << layout.bits_stored
    least = -n_values // 2 if layout.signed else 0
    if layout.photometric == PALETTE:
        colours = _palette(dataset, layout)
        greys = grey_of_colours(colours[None], "RGB")[0]
        return Tone(least=least, greys=greys, colours=colours, fixes=("palette-applied",))
    inverted = layout.photometric == "MONOCHROME1"
    fixes = ("monochrome1-inverted",) if inverted else ()
    stored = np.arange(least, least + n_values, dtype=np.float64)
    meant = _meant(stored, dataset, layout)
    shares = _shares(meant, dataset, layout)
    if shares is not None:
        return Tone(least=least, greys=_greys(shares, inverted=inverted), fixes=(*fixes, "windowed"))
    if layout.bits_stored != 8 or not np.array_equal(meant, stored):
        return Tone(least=least, meant=meant, inverted=inverted, fixes=(*fixes, "windowed"))
    if layout.signed or inverted or layout.bits_allocated != 8:
        return Tone(least=least, greys=_greys((stored - least) / 255, inverted=inverted), fixes=fixes)
    return Tone(least=least)


def _indices(values: NDArray[Any], least: int) -> NDArray[Any]:
    return values if least == 0 else values.astype(np.int32) - least


def _picture(values: NDArray[Any], space: Space) -> Image.Image:
    height, width = values.shape[:2]
    return Image.frombuffer(space, (width, height), np.ascontiguousarray(values), "raw", space, 0, 1)


def _greys(shares: Values, *, inverted: bool) -> Grey:
    greys = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return 255 - greys if inverted else greys


def _meant(stored: Values, dataset: Dataset, layout: Layout) -> Values:
    if table := dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, table[0], layout)[0]
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
    return stored * (1.0 if slope is None else slope) + (0.0 if intercept is None else intercept)


def _shares(meant: Values, dataset: Dataset, layout: Layout) -> Values | None:
    """Shares of full white of the values, by the file's table or window of interest; None where it has neither."""
    if table := dataset.get("VOILUTSequence"):
        found, bits = _looked_up(meant, table[0], layout)
        return found / ((1 << bits) - 1)
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if centre is None and width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
    narrowest = 1.0 if function == "LINEAR" else np.finfo(np.float32).tiny
    if centre is None or width is None or function not in WINDOWS or width < narrowest:
        raise RefusedPicture("window-unknown", "its window of interest is incomplete or of an unknown kind")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (meant - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (meant - centre) / width + 0.5
    if width == 1:  # a threshold
        return (meant > centre - 0.5).astype(np.float64)
    return (meant - (centre - 0.5)) / (width - 1) + 0.5


def _looked_up(values: Values, item: Dataset, layout: Layout) -> tuple[Values, int]:
    """Entries of a modality or VOI table (PS3.3 C.11.1.1) at values, and the bits of an entry."""
    n_entries, first, bits = (int(each) for each in item.LUTDescriptor)
    entries = _entries(item["LUTData"].value, n_entries or 1 << 16, bits, layout)
    if entries is None or not 8 <= bits <= 16:
        raise RefusedPicture("window-unknown", f"a table of {n_entries} entries of {bits} bits is not so long")
    places = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    return entries[places].astype(np.float64), bits


def _entries(data: Any, n_entries: int, bits: int, layout: Layout) -> NDArray[np.uint16] | None:
    """The numbers of a table, which are words; two entries of 8 bits may share one. None where some are missing."""
    if isinstance(data, bytes):
        whole = data[: len(data) // 2 * 2]
        words = np.frombuffer(whole, dtype=">u2" if layout.big_endian else "<u2").astype("<u2")
        if bits == 8 and len(words) < n_entries:
            words = np.frombuffer(words.tobytes(), dtype=np.uint8).astype("<u2")
    else:
        words = np.ravel(np.asarray(data, dtype=np.int64)).astype("<u2")
    return words[:n_entries] if len(words) >= n_entries else None


def _palette(dataset: Dataset, layout: Layout) -> Grey:
    """Colours (N, 3) of every index, 8 bits a channel (PS3.3 C.7.6.3.1.5 and .6)."""
    table = np.stack([_channel(dataset, name, layout) for name in CHANNELS], axis=-1)
    # Entries of 16 bits of which the upper 8 are never used are entries of 8 bits.
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8)


def _channel(dataset: Dataset, name: str, layout: Layout) -> NDArray[np.uint16]:
    descriptor = dataset.get(f"{name}PaletteColorLookupTableDescriptor")
    data = dataset.get(f"{name}PaletteColorLookupTableData")
    segments = dataset.get(f"Segmented{name}PaletteColorLookupTableData")
    if descriptor is None or not (data or segments):
        raise RefusedPicture("palette-unreadable", "a table of its palette is missing")
    n_entries, first, bits = (int(each) for each in descriptor)
    n_entries = n_entries or 1 << 16
    entries = _entries(data, n_entries, bits, layout) if data else _expanded(segments, n_entries, bits, layout)
    if entries is None or bits not in (8, 16):
        raise RefusedPicture("palette-unreadable", f"a table has not its {n_entries} entries of {bits} bits")
    return entries[np.clip(np.arange(1 << layout.bits_stored) - first, 0, n_entries - 1)]


def _expanded(segments: Any, n_entries: int, bits: int, layout: Layout) -> NDArray[np.uint16] | None:
    """The entries of a segmented table (PS3.3 C.7.9.2), lines between known ones; None where it is too short.

    A segment is 0, n and n entries; or 1, n and the entry that the line of the next n entries ends at; or 2, n and a
    place in two words, low one first, from which n segments are repeated.
    """
    words = _entries(segments, len(segments) // (2 if bits == 16 else 1), bits, layout)
    numbers = [] if words is None else words.tolist()
    entries, known = np.zeros(n_entries), np.zeros(n_entries, dtype=np.bool_)
    n_done = place = n_repeated = after = 0
    while n_done < n_entries and place + 2 < len(numbers):
        kind, n = numbers[place : place + 2]
        if kind == 2 and n and not n_repeated and place + 3 < len(numbers):
            n_repeated, after = n, place + 4
            place = numbers[place + 2] + (numbers[place + 3] << bits)
            continue
        if kind == 0 and n_done + n <= n_entries and place + 2 + n <= len(numbers):
            entries[n_done : n_done + n], known[n_done : n_done + n] = numbers[place + 2 : place + 2 + n], True
            place += 2 + n
        elif kind == 1 and n_done and n_done + n <= n_entries and n:
            entries[n_done + n - 1], known[n_done + n - 1] = numbers[place + 2], True
            place += 3
        else:
            return None
        n_done += n
        if n_repeated:
            n_repeated -= 1
            place = place if n_repeated else after
    if n_done < n_entries:
        return None
    places = np.arange(n_entries)
    return np.rint(np.interp(places, places[known], entries[known])).astype(np.uint16)
