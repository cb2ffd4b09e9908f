"""A public data set by its layout: how it is recognised, how it becomes rows, and whom to cite."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csasn.cohort.labels import Vocabulary
from csasn.cohort.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedSet:
    """One public data set.

    `recognised(folder)` tells the layout from names and a few first bytes, decodes nothing and never raises.
    `source(folder, words)` raises BadInputError where the folder holds no image that can be labelled.
    """

    name: str
    """The word of --layout; also the site of its rows."""
    title: str
    """What the layout looks like, in one line for an error message."""
    citation: str
    licence: str
    url: str
    recognised: Callable[[Path], bool]
    source: Callable[[Path, Vocabulary], Source]
