"""Every variant of every fault that ingest meets."""

from faults import files, manifests, objects, pictures, tones, words
from faults.fault import Fault

ALL_FAULTS: tuple[Fault, ...] = (
    *pictures.FAULTS, *tones.FAULTS, *files.FAULTS, *objects.FAULTS, *words.FAULTS, *manifests.FAULTS,
)  # fmt: skip
