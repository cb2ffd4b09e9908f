"""The two branches by timm name: a convolutional map of local texture and a transformer map of global context."""

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.errors import BadInputError

GRID_STRIDE_PX = 32  # both branches' maps lie on the grid of a convolutional network's last stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a branch sees in a batch.

    Attributes:
        map: feature map (B, C, h, w).
        token: the transformer's class token (B, C); None for a convolutional branch, which has none.
    """

    map: Tensor
    token: Tensor | None

    def to(self, device: torch.device) -> "Features":
        """The same features on a device."""
        return Features(map=self.map.to(device), token=None if self.token is None else self.token.to(device))

    def mixed(self, other: Tensor, share: float) -> "Features":
        """Each row blended with the row that `other` (B,) names: share * own + (1 - share) * other."""
        token = None if self.token is None else torch.lerp(self.token[other], self.token, share)
        return Features(map=torch.lerp(self.map[other], self.map, share), token=token)


class Branch(nn.Module):
    """A timm network without its classifier; it takes grey images (B, 1, H, W) in [0, 1].

    Grey is repeated to three channels and standardised with the mean and SD that the weights were trained with.
    With `in_bfloat16` the backbone computes under autocast; its features are float32 all the same.
    """

    mean: Tensor
    std: Tensor
    in_bfloat16 = False

    def __init__(self, name: str, *, declared_channels: int, backbone: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        found = int(backbone.num_features)  # type: ignore[arg-type]
        if found != declared_channels:
            raise BadInputError(
                f"The branch {name} must give the number of channels that the configuration declares; "
                f"declared {declared_channels}, timm builds {found}. Set the declared number to {found}."
            )
        self.channels = found
        cfg: dict[str, tuple[float, ...]] = backbone.pretrained_cfg  # type: ignore[assignment]
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """The backbone's own features of images (B, 1, H, W), in float32."""
        standardised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            features: Tensor = self.backbone.forward_features(standardised)  # type: ignore[operator]
        return features.float()


class CnnBranch(Branch):
    """Local spatial encoding: the last convolutional map, (B, C, H/32, W/32)."""

    def forward(self, images: Tensor) -> Features:
        """Images (B, 1, H, W) -> map (B, C, h, w)."""
        return Features(map=self.encode(images), token=None)


class VitBranch(Branch):
    """Global semantic modelling: the patch tokens laid out as a map, and the class token."""

    def forward(self, images: Tensor) -> Features:
        """Images (B, 1, H, W) -> map (B, C, H/32, W/32), area-averaged from the patches, and class token (B, C)."""
        tokens = self.encode(images)
        n_prefix = int(self.backbone.num_prefix_tokens)  # type: ignore[arg-type]
        rows, columns = self.backbone.patch_embed.grid_size  # type: ignore[union-attr, misc]
        patches = tokens[:, n_prefix:].transpose(1, 2).reshape(len(tokens), self.channels, rows, columns)
        grid = (-(-images.shape[2] // GRID_STRIDE_PX), -(-images.shape[3] // GRID_STRIDE_PX))
        return Features(map=functional.adaptive_avg_pool2d(patches, grid), token=tokens[:, 0])


def build_cnn(name: str, *, channels: int, overlay: dict[str, object] | None) -> CnnBranch:
    """The convolutional branch; `overlay` is timm's pretrained_cfg_overlay, None leaves random weights."""
    backbone = _create(name, overlay, global_pool="")
    if not hasattr(backbone, "forward_features") or hasattr(backbone, "patch_embed"):
        raise BadInputError(f"network.cnn must name a convolutional network of timm; received {name}.")
    return CnnBranch(name, declared_channels=channels, backbone=backbone.to(memory_format=torch.channels_last))


def build_vit(name: str, *, channels: int, size_px: int, overlay: dict[str, object] | None) -> VitBranch:
    """The transformer branch at the image size of the run; pretrained positions are resampled to it by timm."""
    backbone = _create(name, overlay, img_size=size_px)
    if not getattr(backbone, "num_prefix_tokens", 0) or not hasattr(backbone, "patch_embed"):
        raise BadInputError(f"network.vit must name a transformer of timm with a class token; received {name}.")
    return VitBranch(name, declared_channels=channels, backbone=backbone)


def _create(name: str, overlay: dict[str, object] | None, **options: Any) -> nn.Module:
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise BadInputError(f"timm has no network named {name}. Near it: {close}.")
    options |= {"pretrained": overlay is not None, "pretrained_cfg_overlay": overlay, "num_classes": 0}
    network: nn.Module = timm.create_model(name, **options)
    return network
