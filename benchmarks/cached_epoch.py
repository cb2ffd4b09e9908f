"""A frozen epoch from cached maps against the same epoch computed from pixels (lite profile).

Both train the same neck on the same images, batches and labels; the second runs both frozen branches on augmented
pixels first. Pictures are noise of the right size: what they show changes no cost. Bar: at least 20 times.

    python benchmarks/cached_epoch.py
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from csasn.config import Configuration, read_configuration
from csasn.imaging.store import PixelStore
from csasn.learning.epochs import look_at, plan_epoch
from csasn.learning.features import FeatureCache, ViewSource
from csasn.learning.optimisation import Stage, parameter_groups
from csasn.learning.phases import Phases
from csasn.learning.trainee import Cohort, Eyes, FoldRows, Trainee, build_trainee
from csasn.network.weights import build_branches
from csasn.schema import ClassList

N_IMAGES = 128
N_REPEATS = 3
CONFIGURATION = Path(__file__).parents[1] / "configs" / "lite.toml"


def one_epoch(trainee: Trainee, eyes: Eyes, rows: FoldRows, configuration: Configuration, fabric: Fabric) -> float:
    """Seconds of one frozen training epoch; with pixels the branches run without gradients, as frozen ones do."""
    stage = Stage(name="frozen", n_epochs=1, learning_rate=1e-3)
    optimizer = torch.optim.AdamW(parameter_groups(trainee, stage, configuration.fit), lr=1e-3)
    trainee.train()
    trainee.network.branches.eval()
    started = time.perf_counter()
    for batch in plan_epoch(rows, 0, configuration, n_views=eyes.source.n_views, mixup=0.4):
        given = look_at(batch, eyes, 0, configuration, used=trainee.network.neck.used, phases=Phases())
        index = torch.from_numpy(eyes.cohort.class_index[batch.rows])
        malignant = torch.from_numpy(eyes.cohort.malignant[batch.rows])
        if isinstance(given, torch.Tensor):
            with torch.no_grad():
                given = {name: branch(given) for name, branch in trainee.network.branches.items()}
        loss = trainee(given, index, malignant)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print medians and their ratio."""
    configuration = read_configuration(CONFIGURATION)
    generator = np.random.default_rng(0)
    size_px = configuration.imaging.size_px
    pixels = generator.integers(0, 256, (N_IMAGES, size_px, size_px), dtype=np.uint8)
    store = PixelStore(pixels=pixels, row_of={str(row): row for row in range(N_IMAGES)}, key="noise")
    classes = ClassList(names=("benign", "normal", "malignant"), n_non_malignant=2)
    index = np.arange(N_IMAGES) % 3
    cohort = Cohort(classes=classes, store_rows=np.arange(N_IMAGES), class_index=index, malignant=index == 2)
    rows = FoldRows(fold=0, train=np.arange(N_IMAGES), tuning=np.arange(0))
    branches, origins = build_branches(configuration.network, weights="none", size_px=size_px)
    fabric = Fabric(accelerator="cpu", devices=1)
    with tempfile.TemporaryDirectory() as folder:
        source = ViewSource(store=store, n_views=2, augmentation=configuration.augmentation, seed=0)
        caches = {
            name: FeatureCache(Path(folder), branch=branch, state_sha256=origins[name].state_sha256, source=source)
            for name, branch in branches.items()
        }
        for cache in caches.values():
            cache.ensure(cohort.store_rows, range(2))
        trainee = build_trainee("csasn", branches, cohort, rows.train, configuration)
        cached = Eyes(cohort=cohort, source=source, caches=caches, device=torch.device("cpu"))
        from_pixels = Eyes(cohort=cohort, source=source, caches=None, device=torch.device("cpu"))
        one_epoch(trainee, cached, rows, configuration, fabric)
        times: dict[str, list[float]] = {"cached": [], "pixels": []}
        for _ in range(N_REPEATS):
            times["cached"].append(one_epoch(trainee, cached, rows, configuration, fabric))
            times["pixels"].append(one_epoch(trainee, from_pixels, rows, configuration, fabric))
    ratios = [slow / fast for slow, fast in zip(times["pixels"], times["cached"], strict=True)]
    for name, seconds in times.items():
        print(
            f"{name}: median {statistics.median(seconds):.2f} s, {N_IMAGES / statistics.median(seconds):.1f} images/s"
        )
    print(f"ratio: median {statistics.median(ratios):.1f}, from {min(ratios):.1f} to {max(ratios):.1f}")
    print(f"{N_REPEATS} pairs, {os.cpu_count()} cores, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
