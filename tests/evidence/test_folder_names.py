"""A run folder is evaluated on its own files, whatever its name holds and whatever lies beside it."""

import io
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from csasn.documents import read_document
from csasn.evidence.compare_runs import compare_runs
from csasn.evidence.evaluation import Evaluation
from csasn.report.run_page import report_run
from csasn.runs import open_run
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_run import make_run

FEW = {"benign": 30, "PTC": 20, "FTC": 10}


def told(path: Path) -> float | None:
    records = read_document(path, Evaluation).records
    key = ("csasn", "all", "patient", "malignancy", "auroc")
    return next(r.estimate for r in records if (r.model, r.site, r.unit, r.target, r.metric) == key)


def own(folder: Path) -> float:
    table = pl.read_parquet(io.BytesIO((folder / "predictions.parquet").read_bytes()))
    main = table.filter(pl.col("model") == "csasn", pl.col("partition") == "test")
    logits = main.group_by("patient_id", maintain_order=True).agg(
        pl.col("malignant").first(), pl.col("^logit_.*$").mean()
    )
    sums = logits.with_columns(pl.col("^logit_.*$").exp())
    malignant = (pl.col("logit_PTC") + pl.col("logit_FTC")) / pl.sum_horizontal("^logit_.*$")
    return float(roc_auc_score(sums["malignant"], sums.select(malignant).to_series()))


@pytest.mark.parametrize(("name", "neighbour"), [("exp[1]", "exp1"), ("what?", "whats"), ("best*", "best-of")])
def test_a_run_is_evaluated_compared_and_reported_on_its_own_predictions(
    tmp_path: Path, name: str, neighbour: str
) -> None:
    runs = {
        each: make_run(tmp_path / str(seed), counts=FEW, seed=seed, name=f"../{each}")
        for seed, each in enumerate((name, neighbour))
    }
    for each in runs.values():
        assert told(evaluate_run(each)) == pytest.approx(own(each.folder), abs=1e-9)
    assert own(runs[name].folder) != own(runs[neighbour].folder)
    report_run(open_run(runs[name].folder))
    assert compare_runs(*runs.values(), tmp_path / f"{name} beside").is_file()
