"""What the manifest's TI-RADS level says of malignancy, beside the full network of a study."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import Drawn
from csasn.evidence.estimates import Resampled
from csasn.evidence.statistics.bootstrap import bootstrap
from csasn.evidence.statistics.ranking import cuts, ranking


def levels_of(patients: tuple[str, ...], manifest: pl.DataFrame) -> NDArray[np.float64] | None:
    """ACR TI-RADS level of each patient's most suspicious nodule (n,); None where a nodule of theirs has none."""
    of_patient = manifest.group_by("patient_id").agg(
        level=pl.col("tirads_level").max(), known=pl.col("tirads_level").is_not_null().all()
    )
    joined = pl.DataFrame({"patient_id": patients}).join(of_patient, on="patient_id", how="left", maintain_order="left")
    return joined["level"].to_numpy().astype(np.float64) if joined["known"].fill_null(value=False).all() else None


def drawn_by_level(resampled: Resampled, manifest: pl.DataFrame, settings: EvaluateSettings) -> Drawn | None:
    """AUROC of malignancy by the level, and its draws: of the very patients, and by the very draws, of a table.

    None where a level is missing, or where one side has no patient.
    """
    level, units = levels_of(resampled.keys, manifest), resampled.units
    if level is None or units.malignant.all() or not units.malignant.any():
        return None
    ranked = ranking(units.malignant, level)
    found = bootstrap(
        units.patients,
        lambda weights: cuts(ranked, weights).auroc()[:, np.newaxis],
        strata=units.strata(),
        n_draws=settings.n_bootstrap,
        confidence=settings.confidence,
    )
    return float(found.estimate[0]), found.draws[:, 0]
