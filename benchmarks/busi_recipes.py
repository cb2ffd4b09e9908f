"""Which way of fine-tuning does best on busi: recipes by many seeds, one chosen by tuning rows, then tested.

    CSASN_WEIGHTS=../shared/weights python benchmarks/busi_recipes.py train OUT RECIPES SEEDS AT_ONCE
    python benchmarks/busi_recipes.py choose OUT SEEDS
    python benchmarks/busi_recipes.py compare OUT RECIPES SEEDS

OUT is a folder that benchmarks/busi.py made. `train` makes OUT/recipes/RECIPE-SEED of every recipe (all: every one)
and seed, AT_ONCE at a time, on the same folds; what is there already is passed over. RECIPES and SEEDS are separated by
commas; seeds ten apart share no fold's random start. It is meant for a GPU: a CPU takes one to six hours a training.

`choose` names for each fold the recipe with the highest macro AUROC per image on tuning rows that are not tested in
that fold: the mean over folds and seeds. No test row is read. `compare` gives the mean macro AUROC per patient over the
seeds, and that less the frozen network's and less logistic regression's of the same seeds, draw by draw; of several
seeds also how much of the uncertainty of these patients no further seed would take away.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from busi_finetuned import LEAD, ROOT, SETTINGS, drawn, mean
from csasn.evidence.comparison import paired_difference
from csasn.evidence.statistics.paired import detectable_difference
from csasn.learning.baselines import LOGISTIC_REGRESSION
from csasn.runs import open_run
from csasn.schema import ClassList
from csasn.units import MAIN_MODEL

FROZEN = "frozen"
MORE_AUGMENTATION = (
    "--augmentation.rotation-deg 15 --augmentation.scale 0.2 --augmentation.gain 0.15 "
    "--augmentation.contrast 0.3 --augmentation.speckle 0.12"
)


def finetuned(n_epochs: int, rate: str, *, mixup: str = "0.4", more: str = "") -> str:
    """Settings of fine-tuning every block from pixels."""
    fit = f"--fit.finetune.epochs {n_epochs} --fit.finetune.learning-rate {rate} --fit.finetune.mixup {mixup}"
    return f"{fit} --fit.baselines {more}"


RECIPES = {
    FROZEN: f"--fit.baselines {LOGISTIC_REGRESSION}",
    "short": finetuned(6, "3e-5"),
    "long": finetuned(20, "3e-5"),
    "long-slow": finetuned(20, "1e-5"),
    "long-fast": finetuned(20, "1e-4"),
    "long-without-mixup": finetuned(20, "3e-5", mixup="0"),
    "cutmix": finetuned(20, "3e-5", mixup="0", more="--fit.finetune.cutmix 1.0"),
    "more-augmentation": finetuned(20, "3e-5", more=MORE_AUGMENTATION),
    "more-augmentation-fast": finetuned(20, "1e-4", more=f"--fit.finetune.drop-path 0.2 {MORE_AUGMENTATION}"),
    "steep": finetuned(20, "1e-4", more="--fit.finetune.layer-decay 0.6"),
    "unfreezing": finetuned(20, "3e-5", more="--fit.finetune.unfreeze-epochs 2"),
    "three-blocks": finetuned(8, "5e-5", more="--fit.finetune.blocks 3"),
}


def train(out: Path, recipes: list[str], seeds: list[int], at_once: int) -> None:
    """Split, fit and predict what is not there yet, in child processes; a failed one is told and the others go on."""
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))}

    def one(job: tuple[int, str]) -> str:
        seed, recipe = job
        run = out / "recipes" / f"{recipe}-{seed}"
        if (run / "predictions.parquet").is_file():
            return f"{run.name}: there already"
        settings = f"--config {ROOT / 'configs/lite.toml'} --fit.seed {seed} --fit.save-every-s 0 {RECIPES[recipe]}"
        split = ["--cohort", str(out / "cohort"), "--out", str(run), *settings.split()]
        stages = [] if (run / "split.csv").is_file() else [("split", split)]
        for stage, given in (*stages, ("fit", [str(run)]), ("predict", [str(run)])):
            command = [sys.executable, "-m", "csasn", stage, *given]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{run.name}: {stage} failed\n{done.stderr[-2000:]}"
            if not (run / "cache").exists():
                (run / "cache").symlink_to("../../run/cache", target_is_directory=True)
        shutil.rmtree(run / "checkpoints")  # half a gigabyte, of no more use here
        return f"{run.name}: done"

    jobs = [(seed, recipe) for seed in seeds for recipe in recipes]
    with ThreadPoolExecutor(at_once) as pool:
        for told in pool.map(one, jobs):
            print(told, flush=True)


def choose(out: Path, seeds: list[int]) -> None:
    """Print each recipe's macro AUROC on tuning rows, and the choice for each fold; recipes lacking a seed are told."""
    tables: dict[str, list[pl.DataFrame]] = {}
    for recipe in RECIPES:
        paths = [out / "recipes" / f"{recipe}-{seed}" / "predictions.parquet" for seed in seeds]
        if all(path.is_file() for path in paths):
            tables[recipe] = [pl.read_parquet(path).filter(pl.col("model") == MAIN_MODEL) for path in paths]
        else:
            print(f"{recipe}: {sum(path.is_file() for path in paths)} of {len(seeds)} seeds, not considered")
    classes = open_run(out / "recipes" / f"{next(iter(tables))}-{seeds[0]}").classes()
    folds = sorted(next(iter(tables.values()))[0]["fold"].unique())
    score = {
        recipe: [float(np.mean([tuning_auroc(table, classes, fold) for table in each])) for fold in folds]
        for recipe, each in tables.items()
    }
    for recipe, values in sorted(score.items(), key=lambda item: -np.mean(item[1])):
        print(f"{recipe:24} {np.mean(values):.4f}  without each fold's test rows: {np.round(values, 4).tolist()}")
    tuned = [recipe for recipe in score if recipe != FROZEN]
    print("chosen:", ",".join(max(tuned, key=lambda recipe, at=at: score[recipe][at]) for at in range(len(folds))))


def tuning_auroc(table: pl.DataFrame, classes: ClassList, fold: int) -> float:
    """Mean over the folds of the macro AUROC per image on their tuning rows but for those that `fold` tests."""
    tested = table.filter((pl.col("partition") == "test") & (pl.col("fold") == fold))["image_path"].implode()
    rows = table.filter((pl.col("partition") == "tuning") & ~pl.col("image_path").is_in(tested))
    values = []
    for (_,), part in rows.group_by("fold"):
        for name in classes.names:
            true = (part["subtype"] == name).to_numpy()
            if 0 < true.sum() < len(true):
                values.append(roc_auc_score(true, part[f"probability_{name}"].to_numpy()))
    return float(np.mean(values))


def compare(out: Path, recipes: list[str], seeds: list[int]) -> None:
    """Print the means over the seeds and the paired differences; of several recipes each is taken for one fold."""
    one, frozen, regression = [], [], []
    for seed in seeds:
        folder = out / "recipes" / f"{FROZEN}-{seed}"
        classes = open_run(folder).classes()
        base = pl.read_parquet(folder / "predictions.parquet")
        tables = [pl.read_parquet(out / "recipes" / f"{each}-{seed}" / "predictions.parquet") for each in recipes]
        if len(recipes) > 1:
            tables = [table.filter(pl.col("fold") == fold) for fold, table in enumerate(tables)]
        one.append(drawn(pl.concat(tables), classes))
        frozen.append(drawn(base, classes))
        as_main = pl.lit(MAIN_MODEL).alias("model")
        regression.append(drawn(base.filter(pl.col("model") == LOGISTIC_REGRESSION).with_columns(as_main), classes))
    print(f"{','.join(recipes)}, {len(seeds)} seeds, per patient")
    for metric in LEAD:
        told = []
        for name, other in (("frozen", frozen), ("logistic regression", regression)):
            less = paired_difference(mean(one, metric), mean(other, metric), confidence=SETTINGS.confidence)
            interval = f"{less.estimate:+.4f} ({less.low:+.4f} to {less.high:+.4f}), p {less.p:.3f}"
            told.append(f"less {name} {mean(other, metric)[0]:.4f}: {interval}")
        value, draws = mean(one, metric)
        low, high = np.quantile(draws, [0.025, 0.975])
        print(f"{metric}: {value:.4f} ({low:.4f} to {high:.4f}); {'; '.join(told)}")
    for name, runs in (("this", one), ("frozen", frozen)):
        print(f"macro AUROC by seed, {name}:", [round(run["macro_auroc"][0], 4) for run in runs])
    if len(seeds) > 1:
        draws = [run["macro_auroc"][1] - base["macro_auroc"][1] for run, base in zip(one, frozen, strict=True)]
        print("macro AUROC less frozen,", what_seeds_leave(np.cov(draws)))


def what_seeds_leave(covariance: np.ndarray) -> str:
    """What more seeds could and could not settle, from the covariance of the seeds' differences over draws of patients.

    The mean of n seeds has the variance c + (v - c) / n, v the mean variance and c the mean covariance of two seeds: c
    is the patients' share, which no further training takes away.
    """
    n = len(covariance)
    alone = np.trace(covariance) / n
    shared = max(0.0, (covariance.sum() - np.trace(covariance)) / (n * (n - 1)))
    named = (("one seed", alone), (f"the mean of {n}", covariance.mean()), ("of seeds without end", shared))
    told = (f"{name} {np.sqrt(each):.4f} ({detectable_difference(np.sqrt(each)):.4f})" for name, each in named)
    return f"standard error (and difference found four times in five): {', '.join(told)}"


def main() -> None:
    """One of the three."""
    if len(sys.argv) < 4:
        print(__doc__)
        return
    stage, out, *rest = sys.argv[1:]
    seeds = [int(seed) for seed in rest[0 if stage == "choose" else 1].split(",")]
    if stage == "choose":
        choose(Path(out), seeds)
        return
    recipes = list(RECIPES) if rest[0] == "all" else rest[0].split(",")
    if stage == "train":
        train(Path(out), recipes, seeds, int(rest[2]))
    else:
        compare(Path(out), recipes, seeds)


if __name__ == "__main__":
    main()
