"""A PNG is checked chunk by chunk before it is decoded, and what is neither pixels nor orientation is left out."""

import zlib

from csasn.decoding.refused import RefusedPicture

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Text and colour profiles, which change no grey; Pillow gives up on long ones, and on those of an unknown form.
WORDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
WITH_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type ")  # texts in which Pillow looks for it


def checked_png(content: bytes) -> bytes:
    """The PNG without texts and profiles, once every chunk up to IEND has shown its right checksum.

    Pillow checks neither the pixels nor the end. Raises RefusedPicture with truncated or corrupt.
    """
    whole, place, kind = memoryview(content), len(PNG_SIGNATURE), b""
    kept, start = [], 0
    while kind != b"IEND":
        n_bytes, kind = int.from_bytes(whole[place : place + 4], "big"), bytes(whole[place + 4 : place + 8])
        end = place + 8 + n_bytes
        if len(kind) < 4 or end + 4 > len(whole):
            raise RefusedPicture("truncated", "the PNG stops before its IEND chunk")
        if zlib.crc32(whole[place + 4 : end]) != int.from_bytes(whole[end : end + 4], "big"):
            raise RefusedPicture("corrupt", f"the checksum of the PNG chunk {kind!r} is wrong")
        if kind in WORDS and not content.startswith(WITH_ORIENTATION, place + 8):
            kept.append(whole[start:place])
            start = end + 4
        place = end + 4
    return b"".join([*kept, whole[start:]]) if kept else content
