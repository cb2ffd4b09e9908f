"""The stage `calibrate`: calibration.json and novelty/foldK.safetensors of a run, written once and read by others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from csasn.calibration.embeddings import read_embeddings
from csasn.calibration.fit import Calibration, NoveltyGate, NoveltyThreshold, fit_calibration, fit_gate
from csasn.calibration.novelty import detectors_from
from csasn.documents import read_document, write_document
from csasn.files import write_bytes
from csasn.frames import read_parquet
from csasn.runs import Run
from csasn.threads import one_thread
from csasn.units import UNITS, per_unit

CALIBRATION = "calibration.json"
EMBEDDINGS = "embeddings"  # the folder of the run's own models


def novelty_name(fold: int) -> str:
    """The run folder's file of a fold's detectors."""
    return f"novelty/fold{fold}.safetensors"


def has_embeddings(run: Run) -> bool:
    """Whether `predict` wrote embeddings, without which nothing can be said of novelty."""
    return f"{EMBEDDINGS}/fold0.parquet" in str(run.stages().get("predict"))


@one_thread
def calibrate_run(run: Run) -> Path:
    """Fit what a prediction needs afterwards on every fold's tuning rows and write it down.

    Raises BadInputError where a setting names no class of the run.
    """
    predictions = read_parquet(run.require("predictions.parquet"))
    classes = run.classes()
    tables = {unit: per_unit(predictions, classes, unit=unit) for unit in UNITS}
    found = fit_calibration(tables, classes, run.configuration.evaluate)
    written = [CALIBRATION]
    if has_embeddings(run):
        novelty: list[NoveltyThreshold] = []
        for fold in sorted(predictions["fold"].unique().to_list()):
            gate, n = fit_gate(read_embeddings(run, EMBEDDINGS, fold), run.configuration.novelty)
            fraction = run.configuration.novelty.abstained_fraction
            novelty += [
                NoveltyThreshold(fold=fold, detector=name, threshold=each, abstained_fraction=fraction, n=n)
                for name, each in gate.thresholds.items()
            ]
            written.append(novelty_name(fold))
            arrays = {name: np.ascontiguousarray(each) for name, each in gate.detectors.arrays().items()}
            write_bytes(run.path(written[-1]), save(arrays))
        found = replace(found, novelty=novelty)
    write_document(run.path(CALIBRATION), found)
    run.finish("calibrate", inputs=("predictions.parquet", "split.csv"), outputs=tuple(written))
    return run.path(CALIBRATION)


def read_calibration(run: Run) -> Calibration:
    """What `calibrate` wrote; MismatchError where the file was changed, BadInputError where a field is wrong."""
    return read_document(run.require(CALIBRATION), Calibration)


def read_gate(run: Run, calibration: Calibration, fold: int) -> NoveltyGate:
    """The detectors and thresholds of a fold, as `calibrate` kept them."""
    return NoveltyGate(
        detectors=detectors_from(load_file(run.require(novelty_name(fold)))),
        thresholds={each.detector: each.threshold for each in calibration.novelty if each.fold == fold},
    )
