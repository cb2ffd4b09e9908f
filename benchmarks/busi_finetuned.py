"""Fine-tuned lite against the frozen run and its baselines on busi, on the same folds, with paired intervals.

    CSASN_DATA=../shared/data CSASN_WEIGHTS=../shared/weights python benchmarks/busi_finetuned.py OUT [SETTING ...]

OUT is a folder that benchmarks/busi.py made: its cohort is split in the same way again, and its cache is used and added
to. The last three blocks of the transformer and stages of the convolutional branch are trained on cached
activations; each SETTING (--fit.NAME VALUE) is added to these or put in their place. Bars: macro AUROC 0.95 is the aim;
the fine-tuned network beats the frozen one and frozen ViT-S with a logistic regression, per patient.

Last come all fine-tunings that stand in OUT: the mean of their macro AUROC less the frozen run's, draw by draw.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from csasn.config import EvaluateSettings
from csasn.evidence.comparison import Drawn, paired_difference
from csasn.evidence.metric_panel import EVERY_CLASS
from csasn.evidence.run_differences import read_at
from csasn.runs import open_run
from csasn.schema import ClassList
from csasn.units import per_unit

ROOT = Path(__file__).parents[1]
FINETUNING = {
    "--fit.finetune.epochs": "8",
    "--fit.finetune.blocks": "3",
    "--fit.finetune.learning-rate": "5e-5",
    "--fit.finetune.mixup": "0.4",
    "--fit.baselines": "vit-logistic-regression",  # the frozen run has the frozen branches
}
LEAD = ("macro_auroc", "balanced_accuracy", "macro_f1", "brier")
SETTINGS = EvaluateSettings(n_bootstrap=2000)


def main() -> None:
    """Train, evaluate and compare in child processes, then print the figures and the minutes."""
    if len(sys.argv) < 2:
        print(__doc__)
        return
    out, given = Path(sys.argv[1]), sys.argv[2:]
    settings = FINETUNING | dict(zip(given[::2], given[1::2], strict=True))
    run, frozen = out / f"finetuned {' '.join(settings.values())}", out / "run"
    csasn = [sys.executable, "-m", "csasn"]
    asked = [word for pair in settings.items() for word in pair]
    started = time.perf_counter()
    if not (run / "split.csv").is_file():
        first = [*csasn, "split", "--cohort", str(out / "cohort"), "--config", str(ROOT / "configs/lite.toml")]
        subprocess.run([*first, *asked, "--out", str(run)], check=True)
        (run / "cache").symlink_to("../run/cache", target_is_directory=True)
    for stage in ("fit", "predict", "evaluate"):
        subprocess.run([*csasn, stage, str(run)], check=True)
    minutes = (time.perf_counter() - started) / 60
    same = [pl.read_csv(folder / "split.csv").sort("fold", "image_path") for folder in (run, frozen)]
    print(f"fine-tuned with {' '.join(asked)}: {minutes:.1f} minutes; same folds: {same[0].equals(same[1])}")
    metrics = json.loads((run / "metrics.json").read_text())
    for each in metrics["records"]:
        if each["metric"] in LEAD and each["site"] == "all" and each["partition"] == "test":
            interval = f"{each['low']:.3f} to {each['high']:.3f}"
            print(f"{each['model']:24} {each['unit']:8} {each['metric']:18} {each['estimate']:.3f} ({interval})")
    for each in metrics["comparisons"]:
        print(json.dumps(each))
    subprocess.run([*csasn, "compare", str(run), str(frozen), "--out", str(run / "against the frozen run")], check=True)
    every = sorted(each.parent for each in out.glob("finetuned */predictions.parquet"))
    trained = [folder for folder in every if "predict" in open_run(folder).record()["stages"]]  # not one cut since
    draws = [drawn(pl.read_parquet(each / "predictions.parquet"), open_run(each).classes()) for each in trained]
    base = drawn(pl.read_parquet(frozen / "predictions.parquet"), open_run(frozen).classes())
    each = paired_difference(mean(draws, "macro_auroc"), base["macro_auroc"], confidence=SETTINGS.confidence)
    told = f"{each.estimate:+.4f} ({each.low:+.4f} to {each.high:+.4f}), p {each.p:.2f}"
    print(f"mean of {len(trained)} fine-tunings less frozen: {told}")
    for run_draws, folder in zip(draws, trained, strict=True):
        print(f"  {run_draws['macro_auroc'][0]:.4f} {folder.name}")


def drawn(predictions: pl.DataFrame, classes: ClassList) -> dict[str, Drawn]:
    """CSASN's leading figures per patient in a table of predictions, each with its draws."""
    table = per_unit(predictions, classes, unit="patient")
    resampled = read_at(table, classes, SETTINGS, "patient").resampled
    return {metric: found for metric in LEAD if (found := resampled.draws(EVERY_CLASS, metric)) is not None}


def mean(runs: list[dict[str, Drawn]], metric: str) -> Drawn:
    """A figure's mean over runs, and the mean of its draws, which are of the same patients in all of them."""
    return float(np.mean([run[metric][0] for run in runs])), np.mean([run[metric][1] for run in runs], axis=0)


if __name__ == "__main__":
    main()
