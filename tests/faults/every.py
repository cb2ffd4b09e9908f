"""Every variant of every fault that ingest meets."""

from tests.faults import (
    colours,
    exports,
    files,
    identities,
    manifests,
    marked,
    objects,
    pictures,
    pieces,
    planes,
    tones,
    words,
    workbooks,
)
from tests.faults.fault import Fault

ALL_FAULTS: tuple[Fault, ...] = (
    *pictures.FAULTS, *tones.FAULTS, *files.FAULTS, *objects.FAULTS, *words.FAULTS, *manifests.FAULTS, *planes.FAULTS,
    *colours.FAULTS, *marked.FAULTS, *pieces.FAULTS, *exports.FAULTS, *identities.FAULTS, *workbooks.FAULTS,
)  # fmt: skip
