"""Every variant of every fault that ingest meets."""

from tests.faults import files, identities, manifests, objects, pictures, tones, words, workbooks
from tests.faults.fault import Fault

ALL_FAULTS: tuple[Fault, ...] = (
    *pictures.FAULTS, *tones.FAULTS, *files.FAULTS, *objects.FAULTS, *words.FAULTS, *manifests.FAULTS,
    *identities.FAULTS, *workbooks.FAULTS,
)  # fmt: skip
