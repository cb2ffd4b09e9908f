"""Burned-in text is found by its strokes, which are thinner and sharper than any echo, and masked line by line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Flat = NDArray[np.intp]  # places in a level, counted along its rows
Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two are the first pixels outside


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stroke:
    """A piece of an upright stroke: in `length_px` rows on end it stands `rise` grey levels above a pixel
    within `reach_px` at its left and another at its right, and from row to row it moves by 1 px at most.
    """

    reach_px: int
    rise: int
    length_px: int


# What begins a line, in the picture, halved and halved again: the larger the letters, the later they are so thin.
# An echo is blurred by pulse and beam, and so seldom reaches these rises; benchmarks/burned_in_text.py is where they
# were chosen (seed 1).
STRONG = (
    (
        _Stroke(reach_px=1, rise=25, length_px=3),
        _Stroke(reach_px=2, rise=40, length_px=4),
        _Stroke(reach_px=2, rise=60, length_px=3),
    ),
    (
        _Stroke(reach_px=1, rise=30, length_px=4),
        _Stroke(reach_px=2, rise=48, length_px=4),
        _Stroke(reach_px=2, rise=70, length_px=3),
    ),
    (_Stroke(reach_px=1, rise=40, length_px=4), _Stroke(reach_px=2, rise=80, length_px=5)),
)
WEAK = _Stroke(reach_px=2, rise=20, length_px=3)  # what continues a line
WEAK_SHARE = 0.25  # of the rise of the line's first strokes; the tissue behind one line can be dark here, bright there
INK_SPREAD = 45  # grey levels by which the ink of one line differs from its median: one value, but for thin letters
STROKE_GAP_PX = 24  # at most, between two strokes that begin a line
LETTER_GAPS = 1.2  # heights of the line within which the next letter is looked for
TALLER = 0.75  # heights by which a line may grow upwards, and downwards, of those of its first strokes
MIN_SIDE_PX = 16
RING_PX = 8  # what lies this near a line is its background


def find_text(pixels: Grey) -> Mask:
    """Where text is burned into a picture (H, W): the mask (H, W) of whole lines, a margin about them included.

    A line begins where two upright strokes of like grey stand side by side, brighter or darker than what is about
    them, and goes on over weaker strokes of that grey. Horizontal writing from about 8 to 40 px; single letters,
    calipers and rulers need not be found.
    """
    text = np.zeros(pixels.shape, dtype=np.bool_)
    level = np.ascontiguousarray(pixels)
    for halvings, strong in enumerate(STRONG):
        if min(level.shape) < MIN_SIDE_PX:
            break
        for top, left, bottom, right in (*_lines(level, strong), *_lines(~level, strong)):
            rows, columns = (slice(max(a, 0) << halvings, b << halvings) for a, b in ((top, bottom), (left, right)))
            text[rows, columns] = True
        level = _halved(level)
    return text


def without_text(pixels: Grey, text: Mask) -> Grey:
    """The picture (H, W) with each connected part of the mask `text` (H, W) levelled to the median around it.

    Pixels outside the mask stay as they are. A part that nothing surrounds becomes black.
    """
    cleaned = pixels.copy()
    parts, _ = ndimage.label(text)
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        near = (
            slice(max(rows.start - RING_PX, 0), rows.stop + RING_PX),
            slice(max(columns.start - RING_PX, 0), columns.stop + RING_PX),
        )
        around = pixels[near][~text[near]]
        cleaned[near][parts[near] == number] = np.median(around) if around.size else 0
    return cleaned


def _halved(level: Grey) -> Grey:
    """Means of 2 x 2 pixels, rounded down a little: no sum leaves 8 bits."""
    height, width = level.shape[0] // 2 * 2, level.shape[1] // 2 * 2
    quarters = level[:height, :width] >> 2
    rows = quarters[::2] + quarters[1::2]
    return np.asarray(rows[:, ::2] + rows[:, 1::2])


def _lines(level: Grey, strong: tuple[_Stroke, ...]) -> list[Box]:
    """Boxes of the lines of text in a level (H, W) that are brighter than what surrounds them."""
    width = level.shape[1]
    rises = {reach_px: _rise(level.ravel(), reach_px) for reach_px in (1, 2)}
    ends = np.unique(np.concatenate([_ends(rises[stroke.reach_px], stroke, width) for stroke in strong]))
    seeds = _merged(_pairs(level, ends, min(stroke.length_px for stroke in strong)))
    if not seeds:
        return []
    weak = _ends(rises[WEAK.reach_px], WEAK, width)
    rows, columns = np.divmod(weak, width)
    ink, rise = level.ravel()[weak].astype(np.int16), rises[WEAK.reach_px][weak]
    grown = []
    for seed in seeds:
        top, left, bottom, right = seed
        own = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        if own.any():
            alike = rise >= WEAK_SHARE * np.median(rise[own])
            alike &= np.abs(ink - np.median(ink[own])) <= INK_SPREAD
            seed = _grown(seed, rows[alike], columns[alike])
        grown.append(seed)
    return [_with_margin(box) for box in _merged(grown)]


def _rise(flat: Grey, reach_px: int) -> Grey:
    """How far each pixel stands above the darkest within `reach_px` at its left and above that at its right: the less.

    Rows follow one another: beyond the right edge lies the left one, a row further down.
    """
    n = len(flat) - 2 * reach_px
    darkest = flat if reach_px == 1 else np.minimum(flat[:-1], flat[1:])
    beside = np.maximum(darkest[:n], darkest[reach_px + 1 : reach_px + 1 + n])
    rise = np.zeros_like(flat)
    within = flat[reach_px : reach_px + n]
    np.subtract(within, np.minimum(within, beside), out=rise[reach_px : reach_px + n])
    return rise


def _ends(rise: Grey, stroke: _Stroke, width: int) -> Flat:
    """Where strokes end: the pixels with such a piece of stroke above them, themselves its last row; in order."""
    places = np.flatnonzero(rise >= np.uint8(stroke.rise))
    offset = width + 1  # a row and a pixel before the first, so that every pixel has one above
    stands = np.zeros(len(rise) + offset, dtype=np.bool_)
    stands[places + offset] = True
    for _ in range(stroke.length_px - 1):
        goes_on = stands[places] | stands[places + 1] | stands[places + 2]
        stands[places + offset] = goes_on
        places = places[goes_on]
    return places


def _pairs(level: Grey, ends: Flat, length_px: int) -> list[Box]:
    """Boxes of two strokes side by side: neighbours in a row of `ends`, apart from each other and of like grey."""
    rows, columns = np.divmod(ends, level.shape[1])
    apart = np.diff(columns)
    ink = level.ravel()[ends].astype(np.int16)
    side_by_side = (np.diff(rows) == 0) & (apart >= 3) & (apart <= STROKE_GAP_PX) & (np.abs(np.diff(ink)) <= INK_SPREAD)
    first = np.flatnonzero(side_by_side)
    corners = rows[first] - length_px + 1, columns[first], rows[first] + 1, columns[first + 1] + 1
    return list(zip(*(corner.tolist() for corner in corners), strict=True))


def _merged(boxes: list[Box]) -> list[Box]:
    """The boxes, those that touch joined into one."""
    apart: list[Box] = []
    for box in sorted(boxes):
        while (other := next((other for other in apart if _touch(box, other)), None)) is not None:
            apart.remove(other)
            box = (min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3]))
        apart.append(box)
    return apart


def _touch(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _grown(box: Box, rows: Flat, columns: Flat) -> Box:
    """The box, grown over the strokes that end at `rows` and `columns` as long as each lies near what it has so far."""
    slack = 4 + round(TALLER * (box[2] - box[0]))
    starts, stops = rows - WEAK.length_px + 1, rows + 1
    in_line = (starts >= box[0] - slack) & (stops <= box[2] + slack)
    starts, stops, columns = starts[in_line], stops[in_line], columns[in_line]
    while True:
        top, left, bottom, right = box
        gap = 6 + round(LETTER_GAPS * (bottom - top))
        beside = (stops > top) & (stops <= bottom + 2) & (columns >= left - gap) & (columns < right + gap)
        above_or_below = (stops > top - 2) & (stops <= bottom + 3) & (columns >= left - 2) & (columns < right + 2)
        near = beside | above_or_below
        if not near.any():
            return box
        box = (
            min(top, int(starts[near].min())),
            min(left, int(columns[near].min())),
            max(bottom, int(stops[near].max())),
            max(right, int(columns[near].max()) + 1),
        )
        if box == (top, left, bottom, right):
            return box


def _with_margin(box: Box) -> Box:
    """The box with room for what no upright stroke marks: hyphens, dots, the last slanted letter, feet and accents."""
    top, left, bottom, right = box
    tall, wide = 2 + round(0.35 * (bottom - top)), 3 + round(0.8 * (bottom - top))
    return top - tall, left - wide, bottom + tall, right + wide
