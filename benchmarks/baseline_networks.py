"""The baseline of the training benchmarks: a plain eager float32 loop around the same timm networks."""

import os
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from csasn.config import Configuration
from csasn.learning.objective.labels import Labels
from csasn.learning.objective.losses import MultitaskLoss
from csasn.learning.optimisation import NECK_RATE_FACTOR
from csasn.network.backbones import Features
from csasn.network.csasn import FusionHead
from csasn.schema import ClassList


class PlainNetwork(nn.Module):
    """timm's two networks in their default layout and precision, and the heads of CSASN on top."""

    def __init__(self, configuration: Configuration, classes: ClassList) -> None:
        super().__init__()
        settings, size_px = configuration.network, configuration.imaging.size_px
        self.vit = timm.create_model(settings.vit, pretrained=False, num_classes=0, img_size=size_px)
        self.cnn = timm.create_model(settings.cnn, pretrained=False, num_classes=0, global_pool="")
        self.head = FusionHead(settings, classes)
        for name in ("vit", "cnn"):
            cfg = getattr(self, name).pretrained_cfg
            self.register_buffer(f"{name}_mean", torch.tensor(cfg["mean"]).view(1, 3, 1, 1))
            self.register_buffer(f"{name}_std", torch.tensor(cfg["std"]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> object:
        """Images (B, 1, H, W) in 0..1 -> the heads' output."""
        rgb = images.repeat(1, 3, 1, 1)
        local = self.cnn.forward_features((rgb - self.cnn_mean) / self.cnn_std)
        tokens = self.vit.forward_features((rgb - self.vit_mean) / self.vit_std)
        rows, columns = self.vit.patch_embed.grid_size
        patches = tokens[:, self.vit.num_prefix_tokens :].transpose(1, 2).reshape(len(images), -1, rows, columns)
        pooled = functional.adaptive_avg_pool2d(patches, local.shape[2:])
        branches = {"vit": Features(map=pooled, token=tokens[:, 0]), "cnn": Features(map=local, token=None)}
        return self.head(branches)

    def train(self, mode: bool = True) -> "PlainNetwork":
        """Training mode with the backbone's BatchNorm statistics kept, as CSASN does: the same thing is learned."""
        super().train(mode)
        for module in self.cnn.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class PlainLoop:
    """zero_grad, forward, backward, step: torch.optim.AdamW as it comes."""

    def __init__(self, network: PlainNetwork, loss: MultitaskLoss, *, rate: float, weight_decay: float) -> None:
        self.network, self.loss = network.train(), loss.train()
        above = [*network.head.parameters(), *loss.parameters()]
        groups = [
            {"params": [*network.vit.parameters(), *network.cnn.parameters()], "lr": rate},
            {"params": above, "lr": NECK_RATE_FACTOR * rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay)

    def rate(self, rate: float) -> None:
        """Set the rate of the branches; the heads learn ten times as fast."""
        for group, factor in zip(self.optimizer.param_groups, (1, NECK_RATE_FACTOR), strict=True):
            group["lr"] = factor * rate

    def step(self, images: Tensor, class_index: Tensor, malignant: Tensor) -> float:
        """One batch; its loss."""
        self.optimizer.zero_grad()
        loss = self.loss(self.network(images), Labels.plain(class_index, malignant))
        loss.backward()
        self.optimizer.step()
        self.loss.end_step()
        return float(loss.detach())


class PictureFiles(Dataset[tuple[Tensor, int]]):
    """PNG files read by Pillow and augmented by torchvision, one at a time."""

    def __init__(self, paths: list[Path], class_index: list[int], configuration: Configuration) -> None:
        self.paths, self.class_index = paths, class_index
        ranges, size_px = configuration.augmentation, configuration.imaging.size_px
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((size_px, size_px), antialias=True),
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomHorizontalFlip(ranges.flip_probability),
                v2.RandomAffine(ranges.rotation_deg, scale=(1 - ranges.scale, 1 + ranges.scale)),
                v2.ColorJitter(brightness=ranges.gain, contrast=ranges.contrast),
            ]
        )

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Image (1, S, S) in 0..1 and class index."""
        with Image.open(self.paths[row]) as picture:
            return self.transform(picture.convert("L")), self.class_index[row]


def batches_from_files(files: PictureFiles, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch through a DataLoader with a worker process for each core."""
    yield from DataLoader(files, batch_size=batch_size, shuffle=True, num_workers=os.cpu_count() or 1)
