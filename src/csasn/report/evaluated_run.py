"""What every section reads: a finished run, its figures as records, and how a drawing is made for it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import polars as pl
from matplotlib.figure import Figure

from csasn.csv_cells import restored_cells
from csasn.documents import read_document
from csasn.evidence.evaluation import Evaluation
from csasn.frames import read_csv, read_parquet
from csasn.report.blocks import Drawing
from csasn.report.formatting import Index, index
from csasn.report.plotting import draw
from csasn.runs import Run
from csasn.schema import HISTORY_COLUMNS, WEIGHTS_COLUMNS, ClassList
from csasn.units import MAIN_MODEL, Units, per_unit, tested_rows, units_of

D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run that has been evaluated; every file is read once and its hash checked."""

    run: Run

    @cached_property
    def metrics(self) -> Evaluation:
        """metrics.json."""
        return read_document(self.run.require("metrics.json"), Evaluation)

    def beyond(self, name: str, kind: type[D]) -> D | None:
        """A document that `evaluate` wrote beside metrics.json, or None where this run gave no reason to write it."""
        outputs = self.run.stages()["evaluate"]["outputs"]
        return read_document(self.run.require(name), kind) if name in str(outputs) else None

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """predictions.parquet."""
        return read_parquet(self.run.require("predictions.parquet"))

    @cached_property
    def history(self) -> pl.DataFrame:
        """history.csv."""
        return restored_cells(read_csv(self.run.require("history.csv"), HISTORY_COLUMNS))

    @cached_property
    def weights(self) -> pl.DataFrame:
        """weights.csv."""
        return restored_cells(read_csv(self.run.require("weights.csv"), WEIGHTS_COLUMNS))

    @cached_property
    def split(self) -> pl.DataFrame:
        """split.csv."""
        return self.run.split()

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """manifest.parquet."""
        return self.run.manifest()

    @cached_property
    def _sha256s(self) -> dict[str, str]:
        return dict(self.manifest.select("image_path", "sha256").iter_rows())

    def sha256_of(self, image_path: str) -> str:
        """The hash that the manifest certifies of a picture; empty, which no file has, where it knows none."""
        return self._sha256s.get(image_path, "")

    @cached_property
    def classes(self) -> ClassList:
        """The classes of the cohort."""
        return self.run.classes()

    @cached_property
    def certificate(self) -> dict[str, object]:
        """certificate.json."""
        return self.run.certificate()

    @cached_property
    def records(self) -> Index:
        """The records of metrics.json by what they are of."""
        return index(self.metrics.records)

    @cached_property
    def units(self) -> Units:
        """CSASN's tested patients."""
        return units_of(tested_rows(per_unit(self.predictions, self.classes, unit="patient"), MAIN_MODEL), self.classes)

    @cached_property
    def simulated(self) -> bool:
        """Whether every figure is stamped."""
        return self.run.simulated()

    @property
    def level(self) -> str:
        """The level of every interval, as text."""
        return f"{100 * self.run.configuration.evaluate.confidence:.0f} %"

    @property
    def name(self) -> str:
        """The cohort's name."""
        return str(self.certificate.get("name") or self.certificate.get("cohort") or self.run.folder.name)

    def drawing(self, name: str, words: str, build: Callable[[], Figure]) -> Drawing:
        """The figure that `build` makes, stamped where the cohort is simulated."""
        return draw(name, words, build, simulated=self.simulated)


def rows_of(content: object) -> list[dict[str, object]]:
    """The rows of a table in the certificate; nothing where there is none."""
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
