"""A frozen epoch from cached maps against one from pixels, and against an epoch of fine-tuning (lite profile).

All train the same head on the same images, batches and labels; from pixels both branches run on augmented images
first, frozen without gradients, in fine-tuning with them. Pictures are noise of the right size: what they show changes
no cost. Bars: at least 20 and 60 times; the resident memory grows by less than 3 % over 20 cached epochs.

    python benchmarks/cached_epoch.py
"""

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from csasn.config import Configuration
from csasn.imaging.store import PixelStore
from csasn.imaging.views import ViewSource
from csasn.learning.epochs import batch_inputs, labels_of, plan_epoch
from csasn.learning.features import FeatureCache
from csasn.learning.module import TrainingModule, build_training_module
from csasn.learning.monitoring.timing import Phases
from csasn.learning.optimisation import Stage, parameter_groups, training_mode
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource
from csasn.learning.session import start_fabric, takes_bfloat16
from csasn.network.weights import build_branches
from csasn.schema import ClassList
from csasn.settings_files import read_configuration

N_IMAGES = 64
N_REPEATS = 3
N_EPOCHS = 20
CONFIGURATION = Path(__file__).parents[1] / "configs" / "lite.toml"


def one_epoch(
    module: TrainingModule,
    inputs: InputSource,
    rows: FoldRows,
    configuration: Configuration,
    fabric: Fabric,
    *,
    stage: str,
) -> float:
    """Seconds of one training epoch; frozen branches run without gradients."""
    of_stage = Stage(name=stage, n_epochs=1, learning_rate=1e-5)
    optimizer = torch.optim.AdamW(parameter_groups(module, of_stage, configuration.fit), lr=1e-5, fused=True)
    training_mode(module, of_stage)
    started = time.perf_counter()
    plan = plan_epoch(rows, np.ones(len(rows.train)), 0, configuration, n_views=inputs.source.n_views, mixup=0.4)
    for batch in plan:
        (every,) = batch.parts(1)
        given = batch_inputs(batch, every, inputs, 0, configuration, used=module.network.head.used, phases=Phases())
        if isinstance(given, torch.Tensor) and stage == "frozen":
            with torch.no_grad():
                given = {name: branch(given) for name, branch in module.network.branches.items()}
        loss = module(given, labels_of(batch, inputs.cohort, inputs.device))
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
    return time.perf_counter() - started


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure and print medians and their ratio."""
    configuration = read_configuration(CONFIGURATION)
    generator = np.random.default_rng(0)
    size_px = configuration.imaging.size_px
    pixels = generator.integers(0, 256, (N_IMAGES, size_px, size_px), dtype=np.uint8)
    store = PixelStore(pixels=pixels, sha256s=[f"{row:016x}".ljust(64, "0") for row in range(N_IMAGES)], key="noise")
    classes = ClassList(names=("benign", "normal", "malignant"), n_non_malignant=2)
    index = np.arange(N_IMAGES) % 3
    every = np.arange(N_IMAGES)
    cohort = LabelledRows(
        classes=classes, store_rows=every, class_index=index, malignant=index == 2, patient=every, site=every % 2
    )
    rows = FoldRows(fold=0, train=np.arange(N_IMAGES), tuning=np.arange(0))
    branches, origins = build_branches(configuration.network, weights="none", size_px=size_px)
    fabric = start_fabric(configuration.fit)
    for name, branch in branches.items():
        branch.in_bfloat16 = takes_bfloat16(configuration.fit, fabric.device, kind=name)
    with tempfile.TemporaryDirectory() as folder:
        source = ViewSource(store=store, n_views=2, augmentation=configuration.augmentation, seed=0)
        caches = {
            name: FeatureCache(Path(folder), branch=branch, state_sha256=origins[name].state_sha256, source=source)
            for name, branch in branches.items()
        }
        for cache in caches.values():
            cache.ensure(cohort.store_rows, range(2))
        module = build_training_module("csasn", branches, cohort, rows.train, configuration)
        cached = InputSource(cohort=cohort, source=source, caches=caches, device=torch.device("cpu"))
        from_pixels = InputSource(cohort=cohort, source=source, caches=None, device=torch.device("cpu"))
        epoch = partial(one_epoch, module, rows=rows, configuration=configuration, fabric=fabric)
        for _ in range(3):
            epoch(inputs=cached, stage="frozen")
        before = resident_bytes()
        for _ in range(N_EPOCHS):
            epoch(inputs=cached, stage="frozen")
        growth = resident_bytes() / before - 1
        kinds = {"cached": (cached, "frozen"), "pixels": (from_pixels, "frozen"), "finetune": (from_pixels, "finetune")}
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(N_REPEATS):
            for name, (inputs, stage) in kinds.items():
                times[name].append(epoch(inputs=inputs, stage=stage))
    for name, seconds in times.items():
        ratios = [slow / fast for slow, fast in zip(seconds, times["cached"], strict=True)]
        print(
            f"{name}: median {statistics.median(seconds):.2f} s, {N_IMAGES / statistics.median(seconds):.1f} images/s, "
            f"{statistics.median(ratios):.1f} times the cached epoch ({min(ratios):.1f} to {max(ratios):.1f})"
        )
    print(f"resident memory over {N_EPOCHS} cached epochs: {before / 2**20:.0f} MiB, {growth:+.1%}")
    print(f"{N_REPEATS} rounds, {os.cpu_count()} cores, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
