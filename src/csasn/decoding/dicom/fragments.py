"""Where each frame's bytes lie in a file: told by its length or its fragments, refused where these contradict it."""

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from pydicom.uid import RLELossless

from csasn.decoding.dicom.layout import Layout
from csasn.decoding.dicom.opening import Opened
from csasn.decoding.refused import RefusedPicture

UNDEFINED = 0xFFFFFFFF
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
MAX_FRAGMENTS = 200_000
FRAME_STARTS, FRAME_END = (b"\xff\xd8", b"\xff\x4f"), b"\xff\xd9"  # of JPEG and JPEG-LS, and of JPEG 2000
PADDING, MOST_PADDING = b"\0\xff", 8

Piece = tuple[int, int]  # place in the stream and number of bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The pieces of every frame of a file. `words` says that bytes come swapped in pairs."""

    stream: BinaryIO
    pieces: tuple[tuple[Piece, ...], ...]
    start: int
    words: bool = False
    found_by_end: bool = False
    """Whether nothing but the end mark of each frame told where the next one begins."""

    def read(self, number: int) -> bytes:
        """The bytes of a frame, compressed or not."""
        return b"".join(self._read(*piece) for piece in self.pieces[number])

    def _read(self, place: int, n_bytes: int) -> bytes:
        skipped = (place - self.start) % 2 if self.words else 0
        wanted = skipped + n_bytes + ((skipped + n_bytes) % 2 if self.words else 0)
        self.stream.seek(place - skipped)
        content = self.stream.read(wanted)
        if len(content) != wanted:
            raise RefusedPicture("truncated", "the file ends within its pixels")
        if not self.words:
            return content
        swapped = bytearray(content)
        swapped[0::2], swapped[1::2] = content[1::2], content[0::2]
        return bytes(swapped[skipped : skipped + n_bytes])


def located_frames(file: Opened, layout: Layout) -> Frames:
    """The frames of an opened file, none of them read.

    Raises RefusedPicture with no-pixels, wrong-transfer-syntax, pixel-data-length, truncated, fragments-contradict.
    """
    stream = file.stream
    vr, n_bytes = _element(stream, layout)
    start = stream.tell()
    if (n_bytes == UNDEFINED) == layout.native:
        found = "compressed" if layout.native else "plain"
        raise RefusedPicture("wrong-transfer-syntax", f"{found} pixels are not of transfer syntax {layout.syntax}")
    if not layout.native:
        items = _fragments(stream, start)
        pieces = _by_frame(stream, items, layout)
        by_end = items[0][1] == 0 and layout.n_frames > 1 and any(len(each) > 1 for each in pieces)
        return Frames(stream=stream, pieces=pieces, start=start, found_by_end=by_end)
    expected = layout.frame_bytes * layout.n_frames
    if n_bytes not in (expected, expected + expected % 2):
        raise RefusedPicture("pixel-data-length", f"{n_bytes} bytes; its numbers say {expected}")
    if stream.seek(0, 2) < start + n_bytes:
        raise RefusedPicture("truncated", "the file ends within its pixels")
    places = tuple(((start + number * layout.frame_bytes, layout.frame_bytes),) for number in range(layout.n_frames))
    words = layout.big_endian and layout.bits_allocated == 8 and vr == b"OW"
    return Frames(stream=stream, pieces=places, start=start, words=words)


def _element(stream: BinaryIO, layout: Layout) -> tuple[bytes, int]:
    """VR and length of Pixel Data, whose head the stream stands at; an even length cannot look like one of its VRs."""
    order = ">" if layout.big_endian else "<"
    head = stream.read(12)
    if len(head) < 8:
        raise RefusedPicture("no-pixels", "it describes pixels and holds none")
    if struct.unpack_from(f"{order}HH", head) != (0x7FE0, 0x0010):
        raise RefusedPicture("no-pixels", "it holds floating-point values, which no picture of ultrasound has")
    vr = head[4:6]
    if vr not in (b"OB", b"OW", b"UN"):
        stream.seek(-len(head) + 8, 1)
        return b"OW", int(struct.unpack_from(f"{order}I", head, 4)[0])
    if len(head) < 12:
        raise RefusedPicture("truncated", "the file ends at the head of its pixels")
    return vr, int(struct.unpack_from(f"{order}I", head, 8)[0])


def _fragments(stream: BinaryIO, start: int) -> list[Piece]:
    """The items from `start` to their end mark, the offset table first."""
    n_all, place = stream.seek(0, 2), start
    found: list[Piece] = []
    while len(found) <= MAX_FRAGMENTS:
        stream.seek(place)
        head = stream.read(8)
        n_bytes = int.from_bytes(head[4:], "little")
        if len(head) < 8 or (head[:4] == ITEM and place + 8 + n_bytes > n_all):
            raise RefusedPicture("truncated", "the file ends within its compressed frames")
        if head[:4] == END:
            return found
        if head[:4] != ITEM:
            raise RefusedPicture("fragments-contradict", "its compressed frames do not follow one another")
        found.append((place + 8, n_bytes))
        place += 8 + n_bytes
    raise RefusedPicture("fragments-contradict", f"over {MAX_FRAGMENTS} fragments")


def _by_end(stream: BinaryIO, fragments: list[Piece]) -> tuple[tuple[Piece, ...], ...]:
    """The fragments of each frame, which ends where one ends with an end mark and the next begins with a start mark."""
    frames: list[list[Piece]] = [[]]
    ended = False
    for place, n_bytes in fragments:
        stream.seek(place)
        if ended and stream.read(2) in FRAME_STARTS:
            frames.append([])
        frames[-1].append((place, n_bytes))
        n_last = min(n_bytes, MOST_PADDING)
        stream.seek(place + n_bytes - n_last)
        ended = stream.read(n_last).rstrip(PADDING).endswith(FRAME_END)
    return tuple(tuple(frame) for frame in frames)


def _by_frame(stream: BinaryIO, items: list[Piece], layout: Layout) -> tuple[tuple[Piece, ...], ...]:
    """The fragments of each frame: by the offset table, else one for each frame, else by the end marks of frames."""
    n_frames = layout.n_frames
    if len(items) < 2:
        raise RefusedPicture("fragments-contradict", "it holds no compressed frame")
    (table, n_bytes), fragments = items[0], items[1:]
    if n_bytes == 0:
        if len(fragments) == n_frames:
            return tuple((fragment,) for fragment in fragments)
        found = (tuple(fragments),) if layout.syntax == RLELossless else _by_end(stream, fragments)
        if len(found) == n_frames:
            return found
        raise RefusedPicture("fragments-contradict", f"{len(fragments)} fragments, no offsets, {n_frames} frames")
    if n_bytes != 4 * n_frames:
        raise RefusedPicture("fragments-contradict", f"{n_bytes // 4} offsets; its numbers say {n_frames} frames")
    stream.seek(table)
    offsets = struct.unpack(f"<{n_frames}I", stream.read(n_bytes))
    first = fragments[0][0]
    places = {place - first: number for number, (place, _) in enumerate(fragments)}
    if offsets[0] != 0 or any(offset not in places for offset in offsets):
        raise RefusedPicture("fragments-contradict", "its offset table points between the fragments")
    starts = [places[offset] for offset in offsets]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise RefusedPicture("fragments-contradict", "its offset table is out of order")
    return tuple(tuple(fragments[begin:end]) for begin, end in pairwise([*starts, len(fragments)]))
