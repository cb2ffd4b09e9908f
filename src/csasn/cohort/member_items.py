"""One picture of a file that holds many, as an item."""

from csasn.cohort.items import Item, Reading, shot_of
from csasn.cohort.published.stanford_cine import read_member
from csasn.decoding.refused import RefusedPicture


def read_member_item(item: Item) -> Reading:
    """The picture of that number, with its mask."""
    pixels, mask = read_member(item.path, item.member)
    if pixels.min() == pixels.max():
        raise RefusedPicture("blank", f"every pixel has the value {int(pixels[0, 0])}")
    fixes = ("mask-empty",) if mask is not None and not mask.any() else ()
    return Reading(shots=(shot_of(item, pixels, mask, fixes=fixes, sha256=None),))
