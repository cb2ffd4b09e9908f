"""Training images a second of every variant of a suite in its frozen stage, on cached maps: what a study waits for.

Real training steps (maps read from the cache, blended, forward, backward, AdamW, moving average) at the profile's batch
size, on noise maps of the right shape; noise labels of five classes at four sites. Images/s are of the median step.
Bar: 400 for every head of configs/suites/paper.toml, on two cores.

    python benchmarks/study_heads.py [SUITE [THREADS]]

THREADS: as many as a worker of `csasn ablate` has; without it, all cores, as the one worker has by default.
"""

import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csasn.config import Configuration
from csasn.imaging.store import PixelStore
from csasn.imaging.views import ViewSource
from csasn.learning.module import build_training_module
from csasn.learning.monitoring.timing import Phases
from csasn.learning.optimisation import Stage
from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.scoring import InputSource
from csasn.learning.session import start_fabric
from csasn.learning.state import TrainingState
from csasn.learning.training import StageRun, train_stage
from csasn.network.backbones import GRID_STRIDE_PX, Features
from csasn.network.weights import build_branches
from csasn.schema import ClassList
from csasn.study.suite import read_suite

SUITE = Path(__file__).parents[1] / "configs/suites/paper.toml"
N_IMAGES, N_VIEWS = 64, 6
N_WARM_UP, N_MEASURED = 5, 20
BAR = 400
CLASSES = ClassList(names=("benign", "PTC", "FTC", "MTC", "ATC"), n_non_malignant=1)
CPU = torch.device("cpu")


class NoiseCache:
    """A feature cache in memory, laid out as `FeatureCache` lays out its files."""

    def __init__(self, channels: int, *, n_cells: int, has_token: bool) -> None:
        rng = np.random.default_rng(channels)
        shape = (N_IMAGES, N_VIEWS, n_cells, n_cells, channels)
        self.map = rng.standard_normal(shape, dtype=np.float32).astype(np.float16)
        self.token = self.map[:, :, 0, 0] if has_token else None

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Features:
        """Features of one view a row, as `FeatureCache.read` gives them."""
        maps = torch.from_numpy(self.map[rows, views]).permute(0, 3, 1, 2)
        token = None if self.token is None else torch.from_numpy(self.token[rows, views])
        return Features(map=maps, token=token)


def noise_eyes(configuration: Configuration) -> InputSource:
    """Noise maps and labels, in which no row is like another."""
    network, every = configuration.network, np.arange(N_IMAGES)
    rng = np.random.default_rng(0)
    index = rng.integers(len(CLASSES.names), size=N_IMAGES)
    cohort = LabelledRows(
        classes=CLASSES, store_rows=every, class_index=index, malignant=index > 0, patient=every, site=every % 4
    )
    store = PixelStore(
        pixels=np.zeros((N_IMAGES, 1, 1), dtype=np.uint8),
        sha256s=[f"{row:016x}".ljust(64, "0") for row in range(N_IMAGES)],
        key="noise",
    )
    source = ViewSource(store=store, n_views=N_VIEWS, augmentation=configuration.augmentation, seed=0)
    n_cells = configuration.imaging.size_px // GRID_STRIDE_PX
    caches = {
        "cnn": NoiseCache(network.cnn_channels, n_cells=n_cells, has_token=False),
        "vit": NoiseCache(network.vit_channels, n_cells=n_cells, has_token=True),
    }
    return InputSource(cohort=cohort, source=source, caches=caches, device=CPU)  # type: ignore[arg-type]


def seconds_of_steps(configuration: Configuration) -> list[float]:
    """Seconds of each measured training step."""
    inputs = noise_eyes(configuration)
    n_rows = configuration.fit.batch_size * (N_WARM_UP + N_MEASURED)
    rows = FoldRows(fold=0, train=np.resize(inputs.cohort.store_rows, n_rows), tuning=np.arange(2))
    branches, _ = build_branches(configuration.network, weights="none", size_px=configuration.imaging.size_px)
    torch.manual_seed(0)
    module = build_training_module("csasn", branches, inputs.cohort, inputs.cohort.store_rows, configuration)
    stage = Stage(name="frozen", n_epochs=1, learning_rate=configuration.fit.frozen.learning_rate)
    phases, found = Phases(), []

    def after_step(_: TrainingState, __: int, ___: float) -> None:
        found.append(phases.total)
        phases.clear()

    course = StageRun(
        fabric=start_fabric(configuration.fit),
        module=module,
        inputs=inputs,
        rows=rows,
        stage=stage,
        configuration=configuration,
        phases=phases,
    )
    train_stage(course, on_step=after_step)
    return found[N_WARM_UP:]


def main() -> None:
    """Print images/s of every variant, and name those below the bar."""
    resolved = read_suite(Path(sys.argv[1]) if len(sys.argv) > 1 else SUITE)
    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    slow = []
    for variant in resolved.suite.variants:
        configuration = resolved.configurations[variant.name, resolved.suite.seeds[0]]
        speed = configuration.fit.batch_size / statistics.median(seconds_of_steps(configuration))
        print(f"{variant.name:28}{speed:8.0f} images/s", flush=True)
        if speed < BAR:
            slow.append(variant.name)
    print(f"below {BAR}: {', '.join(slow) or 'none'} ({torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
