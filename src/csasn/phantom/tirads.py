"""The ACR TI-RADS level of a simulated nodule, by the points of its drawn attributes (Tessler 2017, JACR 14:587)."""

from csasn.phantom.attributes import Attributes

# The level that a nodule of 0, 1, 2, ... points has; 7 points or more are level 5, and 1 point counts as 2 would.
LEVELS = (1, 2, 2, 3, 4, 4, 4, 5)
COMPOSITION = {"spongiform-or-cystic": 0, "mixed": 1, "solid": 2}
ECHOGENICITY = {"iso-or-hyper": 1, "hypo": 2, "marked": 3}
TALLER_THAN_WIDE = 3
MARGIN = {"smooth": 0, "ill-defined": 0, "irregular": 2}
EXTENSION = 3  # beyond the thyroid, in place of the margin's points
FOCI = {"none": 0, "macro": 1, "rim": 2, "punctate": 3}


def tirads_level(attributes: Attributes) -> int:
    """Level 1 to 5. A spongiform or cystic nodule is level 1 whatever else it has, as the lexicon wants."""
    if attributes.composition == "spongiform-or-cystic":
        return 1
    points = COMPOSITION[attributes.composition] + ECHOGENICITY[attributes.echogenicity] + FOCI[attributes.foci]
    points += TALLER_THAN_WIDE if attributes.taller_than_wide else 0
    points += EXTENSION if attributes.capsule == "extension" else MARGIN[attributes.margin]
    return LEVELS[min(points, len(LEVELS) - 1)]
