"""One training step of the paper profile, batch 8: CSASN's own loop against a plain eager float32 loop, pair by pair.

Same random start, same batches of noise images, same labels, same rates; dropout, stochastic depth, clipping and the
decay of rates by block are off, so that the two courses of the loss can be compared. Bar: at least 2.2 times the
images/s, median of the pairs. Beside each pair stands what a 2048 x 2048 matrix product reached in float32 and in
bfloat16, and so the share of the machine's peak.

    python benchmarks/training_step.py [PAIRS]
"""

import copy
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baseline_networks import PlainLoop, PlainNetwork
from csasn.config import Configuration, FinetuneSettings
from csasn.imaging.store import PixelStore
from csasn.imaging.views import ViewSource
from csasn.learning.epochs import batch_inputs
from csasn.learning.module import TrainingModule, build_training_module
from csasn.learning.monitoring.timing import Phases
from csasn.learning.optimisation import Stage, rate_factor
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource
from csasn.learning.session import takes_bfloat16
from csasn.learning.state import TrainingState
from csasn.learning.training import StageRun, train_stage
from csasn.network.weights import build_branches
from csasn.schema import ClassList
from csasn.settings_files import read_configuration

PROFILE = Path(__file__).parents[1] / "configs" / "paper.toml"
BATCH_SIZE, N_WARM_UP = 8, 2
CLASSES = ClassList(names=("benign", "PTC", "FTC", "MTC", "ATC"), n_non_malignant=1)
CPU = torch.device("cpu")


def canary(dtype: torch.dtype) -> float:
    """GFLOP/s of a matrix product, the best of five."""
    a, b = torch.randn(2, 2048, 2048).to(dtype).unbind(0)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return float(2 * 2048**3 / min(seconds) / 1e9)


def settings() -> Configuration:
    """The paper profile at batch 8 without anything random inside the network, at the fine-tuning rate throughout."""
    profile = read_configuration(PROFILE)
    off = {"warmup_fraction": 0.0, "finetune": FinetuneSettings(drop_path=0.0, clip_norm=0.0, layer_decay=1.0)}
    return profile.model_copy(
        update={
            "network": profile.network.model_copy(update={"dropout": 0.0, "feature_dropout": 0.0}),
            "fit": profile.fit.model_copy(update={"batch_size": BATCH_SIZE, **off}),
        }
    )


def standing(n_images: int, configuration: Configuration) -> tuple[TrainingModule, InputSource, FoldRows]:
    """A module from random weights, and noise images; BatchNorm holds the statistics of its inputs, as if trained."""
    size_px = configuration.imaging.size_px
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, size_px, size_px), dtype=np.uint8)
    store = PixelStore(pixels=pixels, sha256s=[f"{row:016x}".ljust(64, "0") for row in range(len(pixels))], key="noise")
    index = np.arange(n_images) % len(CLASSES.names)
    every = np.arange(n_images)
    cohort = LabelledRows(
        classes=CLASSES, store_rows=every, class_index=index, malignant=index > 0, patient=every, site=every % 2
    )
    torch.manual_seed(0)
    branches, _ = build_branches(configuration.network, weights="none", size_px=size_px)
    source = ViewSource(store=store, n_views=1, augmentation=configuration.augmentation, seed=0)
    norms = [each for each in branches["cnn"].modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over what it is shown
    with torch.no_grad():
        branches["cnn"].train()(source.images(np.arange(2 * BATCH_SIZE), 0))
    for name, branch in branches.items():
        branch.in_bfloat16 = takes_bfloat16(configuration.fit, CPU, kind=name)
    inputs = InputSource(cohort=cohort, source=source, caches=None, device=CPU)
    rows = FoldRows(fold=0, train=np.arange(n_images), tuning=np.arange(2 * BATCH_SIZE))
    return build_training_module("csasn", branches, cohort, rows.train, configuration), inputs, rows


def rival_of(module: TrainingModule, configuration: Configuration) -> PlainLoop:
    """The baseline with the module's own start."""
    network = PlainNetwork(configuration, CLASSES)
    for name in ("vit", "cnn"):
        getattr(network, name).load_state_dict(module.network.branches[name].backbone.state_dict())
    network.head.load_state_dict(module.network.head.state_dict())
    fit = configuration.fit
    return PlainLoop(
        network, copy.deepcopy(module.loss), rate=fit.finetune.learning_rate, weight_decay=fit.weight_decay
    )


def main() -> None:
    """Measure and print each pair, the medians, and the two courses of the loss."""
    n_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    configuration = settings()
    n_steps = n_pairs + N_WARM_UP
    module, inputs, rows = standing(n_steps * BATCH_SIZE, configuration)
    baseline = rival_of(module, configuration)
    cohort, rate = inputs.cohort, configuration.fit.finetune.learning_rate
    course = StageRun(
        fabric=Fabric(accelerator="cpu", devices=1),
        module=module,
        inputs=inputs,
        rows=rows,
        stage=Stage(name="finetune", n_epochs=1, learning_rate=rate),
        configuration=configuration,
    )
    plan = course.plan(0)
    ours, theirs, losses, peaks = [], [], [], []
    flops = FlopCounterMode(display=False)

    def after_step(learning: TrainingState, _: int, loss: float) -> None:
        ours.append(course.phases.total)
        batch = plan[learning.step - 1]
        images = batch_inputs(
            batch, np.arange(BATCH_SIZE), inputs, 0, configuration, used=["vit", "cnn"], phases=Phases()
        )
        index = torch.from_numpy(cohort.class_index[batch.rows])
        baseline.rate(rate_factor(learning.step - 1, n_steps, 0.0) * rate)
        if learning.step == 1:
            with flops:
                theirs_loss = baseline.step(images, index, index > 0)
        else:
            started = time.perf_counter()
            theirs_loss = baseline.step(images, index, index > 0)
            theirs.append(time.perf_counter() - started)
            peaks.append((canary(torch.float32), canary(torch.bfloat16)))
            print(
                f"step {learning.step}: ours {ours[-1]:.2f} s, baseline {theirs[-1]:.2f} s, ratio "
                f"{theirs[-1] / ours[-1]:.2f}, canary {peaks[-1][0]:.0f} / {peaks[-1][1]:.0f} GFLOP/s, loss "
                f"{loss:.4f} / {theirs_loss:.4f}, " + phases_in_words(course.phases)
            )
        losses.append((loss, theirs_loss))
        course.phases.clear()

    train_stage(course, on_step=after_step)
    ours, theirs, peaks = ours[N_WARM_UP:], theirs[N_WARM_UP - 1 :], peaks[N_WARM_UP - 1 :]
    gflop = flops.get_total_flops() / 1e9
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    shares = [gflop / seconds / bfloat16 for seconds, (_, bfloat16) in zip(ours, peaks, strict=True)]
    plain = [gflop / seconds / float32 for seconds, (float32, _) in zip(theirs, peaks, strict=True)]
    apart = [abs(a - b) for a, b in losses]
    for name, seconds, of_peak, peak in (("ours", ours, shares, "bfloat16"), ("baseline", theirs, plain, "float32")):
        speed = BATCH_SIZE / statistics.median(seconds)
        print(f"{name}: {speed:.2f} images/s, {statistics.median(of_peak):.0%} of the {peak} peak")
    print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}, {n_pairs} pairs")
    print(f"peaks' ratio {statistics.median(b / f for f, b in peaks):.2f}; {gflop:.0f} GFLOP a step")
    print(f"losses apart by {statistics.mean(apart):.4f} on average, {max(apart):.4f} at most")


def phases_in_words(phases: Phases) -> str:
    """Milliseconds of each phase."""
    return ", ".join(f"{name} {seconds * 1e3:.0f}" for name, seconds in phases.seconds.items()) + " ms"


if __name__ == "__main__":
    main()
