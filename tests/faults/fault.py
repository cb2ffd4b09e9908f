"""One fault: how to make its source, and what must become of every item in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csasn.config import IngestSettings


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A variant of a numbered fault.

    `make(folder)` writes the source below an empty folder. Ingest is then given `folder / source`, with
    `folder / labels` where set, and the settings. Every file of the source that is no table is named in `used`,
    `refused` (item -> code) or both `used` and `fixed` (item -> codes of the fixes); `pixels` holds, for items whose
    pixels matter, the exact grey picture (H, W) uint8 that must reach the cohort, computed without the project's
    reader (`tolerance`: the largest difference allowed, for lossy formats only). Items are paths relative to the
    source's folder. Where `aborts` is set, ingest raises BadInputError whose message holds every one of its texts, and
    nothing is written.
    """

    number: int
    name: str
    make: Callable[[Path], None]
    source: str = "source"
    labels: str | None = None
    layout: str = "auto"
    settings: IngestSettings = field(default_factory=IngestSettings)
    used: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pixels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    tolerance: int = 0
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Items whose mask matters -> where the nodule is (H, W), computed without the project's reader."""
    spacing_mm: Mapping[str, float | None] = field(default_factory=dict)
    """Items whose mm per pixel matter -> `pixel_spacing_mm` of the manifest."""
    patients: tuple[str, ...] = ()
    """Where set, `patient_id` of the manifest, row by row."""
    aborts: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    """Texts that must stand in no file of the cohort."""
    root_reads: bool = False
    """Whether it is none for root, who reads what nobody may."""
    heavy: bool = False
    """Whether it needs seconds: left out of the fast tests."""

    @property
    def id(self) -> str:
        """Number and name, as pytest shows it."""
        return f"{self.number:02d}-{self.name}"
