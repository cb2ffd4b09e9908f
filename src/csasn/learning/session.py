"""What fit and predict share: the rows, the branches with their weights, the cached views, and the device."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from numpy.typing import NDArray

from csasn.config import FitSettings, Strategy
from csasn.errors import BadInputError
from csasn.files import file_sha256
from csasn.imaging.store import open_store
from csasn.imaging.views import ViewSource
from csasn.learning.features import FeatureCache
from csasn.learning.fsdp import shard_blocks
from csasn.learning.malloc import keep_freed_memory
from csasn.learning.rows import LabelledRows, labelled_rows
from csasn.learning.scoring import InputSource
from csasn.network.backbones import Branch
from csasn.network.precision import computes_bfloat16
from csasn.network.weights import Provenance, build_branches
from csasn.progress import Progress
from csasn.runs import Run

LONGEST_WAIT = timedelta(days=2)  # for the first process, which computes the cached features while others wait


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Everything that fit and predict share: the rows, the branches with their weights, and the cached views."""

    run: Run
    cohort: LabelledRows
    source: ViewSource
    branches: dict[str, Branch]
    origins: dict[str, Provenance]
    caches: dict[str, FeatureCache]
    activations: dict[str, FeatureCache]
    device: torch.device

    def inputs(self, *, frozen: bool) -> InputSource:
        """How rows are looked at: by cached features while the branches are frozen.

        Afterwards by what the blocks that are trained read, or by pixels where all of them are.
        """
        caches = self.caches if frozen else self.activations or None
        return InputSource(cohort=self.cohort, source=self.source, caches=caches, device=self.device)

    def ensure(self, rows: NDArray[np.int64], views: range, *, progress: Progress) -> None:
        """Compute what is missing in the caches of these manifest rows and views."""
        for kind, caches in (("maps", self.caches), ("activations", self.activations)):
            for name, cache in caches.items():
                counted = partial(progress, f"{kind} of {self.branches[name].name}")
                cache.ensure(self.cohort.store_rows[rows], views, progress=counted)

    def origin(self, model: str, fold: int) -> dict[str, object]:
        """What a checkpoint belongs to: model, fold, class list, settings, cohort, split, and pretrained weights."""
        run, classes = self.run, self.cohort.classes
        record = run.record()
        return {
            "model": model,
            "fold": fold,
            "classes": list(classes.names),
            "n_non_malignant": classes.n_non_malignant,
            "training_sha256": record["training_sha256"],
            "manifest_sha256": record["manifest_sha256"],
            "split_sha256": file_sha256(run.path("split.csv")),
            "pretrained_sha256": {name: origin.state_sha256 for name, origin in self.origins.items()},
        }


def open_session(run: Run, *, device: torch.device, progress: Progress) -> Session:
    """Pixel store, branches with their weights, and feature caches of a run."""
    configuration = run.configuration
    settings = configuration.fit
    torch.manual_seed(settings.seed)
    cache = run.path("cache")
    counted = partial(progress, "preprocessing images")
    store = open_store(run.manifest(), run.images_root(), cache, configuration.imaging, progress=counted)
    branches, origins = build_branches(
        configuration.network,
        weights=settings.weights,
        size_px=configuration.imaging.size_px,
        drop_path=settings.finetune.drop_path if settings.finetune.epochs else 0.0,
    )
    n_views, augmentation = settings.cached_views, configuration.augmentation
    source = ViewSource(store=store, n_views=n_views, augmentation=augmentation, seed=settings.seed)
    for name, branch in branches.items():
        branch.to(device)
        branch.in_bfloat16 = takes_bfloat16(settings, device, kind=name)
    n_blocks = settings.finetune.blocks if settings.finetune.epochs else 0
    caches, activations = (
        {
            name: FeatureCache(
                cache,
                branch=branch,
                state_sha256=origins[name].state_sha256,
                source=source,
                n_blocks_left=n_blocks_left,
            )
            for name, branch in branches.items()
        }
        for n_blocks_left in (0, n_blocks)
    )
    return Session(
        run=run,
        cohort=labelled_rows(run, store),
        source=source,
        branches=branches,
        origins=origins,
        caches=caches,
        activations=activations if n_blocks else {},
        device=device,
    )


def takes_bfloat16(settings: FitSettings, device: torch.device, *, kind: str) -> bool:
    """Whether a branch computes in bfloat16: on a GPU both, on a CPU that has it natively the transformer alone.

    On a CPU bfloat16 halves the transformer's time, but slows a convolutional network in training, and moves its map
    by a tenth (EfficientNet-Lite0 on ultrasound, relative L2; DINOv2 ViT-S/14 by a hundredth).
    """
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    return computes_bfloat16(device) and (device.type == "cuda" or kind == "vit")


def start_fabric(settings: FitSettings, *, n_devices: int = 1, n_nodes: int = 1, strategy: Strategy = "ddp") -> Fabric:
    """Lightning Fabric, its processes started; each branch's precision is its own, so Fabric's stays float32.

    Several devices train as one (DistributedDataParallel): Fabric starts the processes itself, or finds those that
    torchrun or SLURM started. On CPUs a device is a process. With `fsdp` they keep parts of the transformer's blocks.
    """
    keep_freed_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its advice is about precision, ours to choose
    together: DDPStrategy | ModelParallelStrategy
    n = n_devices * n_nodes
    if strategy == "fsdp" and n < 2:
        raise BadInputError(
            f"The strategy fsdp shares blocks among at least two devices; received {n}. Give --devices."
        )
    if strategy == "fsdp":
        together = ModelParallelStrategy(
            shard_blocks, data_parallel_size=n, tensor_parallel_size=1, timeout=LONGEST_WAIT
        )
    else:
        together = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, timeout=LONGEST_WAIT)
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=n_devices,
        num_nodes=n_nodes,
        strategy=together if n > 1 else "auto",
        precision="32-true",
    )
    fabric.launch()
    return fabric
