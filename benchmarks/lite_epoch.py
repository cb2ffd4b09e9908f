"""A fine-tuning epoch of the lite profile, from the store against a plain loop that reads picture files every epoch.

Ours: pixels from the memory-mapped store, augmented as a batch, CSASN's own training step. The baseline: PNG files of
800 x 600 px by Pillow and torchvision through a DataLoader with one worker process for each core, and the plain float32
loop of baselines.py. Pictures are noise, weights random; the same number of images and steps. Bars: at least 1.5 times,
and less than 5 % of our time spent waiting for images.

    python benchmarks/lite_epoch.py [PAIRS]
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image

from baseline_networks import PictureFiles, PlainLoop, batches_from_files
from csasn.learning.optimisation import Stage
from csasn.learning.training import StageRun, train_stage
from csasn.settings_files import read_configuration
from training_step import CLASSES, canary, phases_in_words, rival_of, standing

PROFILE = Path(__file__).parents[1] / "configs" / "lite.toml"
N_IMAGES = 64


def write_pictures(folder: Path) -> list[Path]:
    """PNG files of smooth noise, about as large on disk as ultrasound of that size."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(N_IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (150, 200), dtype=np.uint8))
        paths.append(folder / f"{number}.png")
        coarse.resize((800, 600), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def rival_epoch(baseline: PlainLoop, files: PictureFiles, batch_size: int) -> float:
    """Seconds of one epoch of the baseline."""
    started = time.perf_counter()
    for images, index in batches_from_files(files, batch_size):
        baseline.step(images, index, index > 0)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print each pair and the medians."""
    n_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    configuration = read_configuration(PROFILE)
    module, inputs, rows = standing(N_IMAGES, configuration)
    baseline = rival_of(module, configuration)
    fabric, stage = Fabric(accelerator="cpu", devices=1), Stage(name="finetune", n_epochs=1, learning_rate=1e-5)
    ratios, waiting = [], []
    with tempfile.TemporaryDirectory() as folder:
        index = [row % len(CLASSES.names) for row in range(N_IMAGES)]
        files = PictureFiles(write_pictures(Path(folder)), index, configuration)
        for pair in range(n_pairs):
            course = StageRun(
                fabric=fabric, module=module, inputs=inputs, rows=rows, stage=stage, configuration=configuration
            )
            train_stage(course)
            theirs = rival_epoch(baseline, files, configuration.fit.batch_size)
            ratios.append(theirs / course.phases.total)
            waiting.append(course.phases.waiting)
            print(
                f"pair {pair}: ours {course.phases.total:.1f} s, baseline {theirs:.1f} s, ratio {ratios[-1]:.2f}, "
                f"waiting {waiting[-1]:.1%}, canary {canary(torch.float32):.0f} GFLOP/s; "
                f"{phases_in_words(course.phases)}"
            )
    print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}, {n_pairs} pairs")
    print(f"waiting for images: median {statistics.median(waiting):.1%}; {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
