"""Every variant of every fault."""

from faults import files, objects, pictures, words
from faults.fault import Fault

ALL_FAULTS: tuple[Fault, ...] = (*pictures.FAULTS, *files.FAULTS, *objects.FAULTS, *words.FAULTS)
