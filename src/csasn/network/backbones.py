"""The two branches by timm name: a convolutional map of local texture and a transformer map of global context."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.models import group_parameters
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from csasn.errors import BadInputError
from csasn.network.folding import fold_norms
from csasn.network.precision import bfloat16

GRID_STRIDE_PX = 32  # both branches' maps lie on the grid of a convolutional network's last stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a branch sees in a batch: float32 from the branch itself, float16 from a cache until it is computed with.

    Attributes:
        map: feature map (B, C, h, w).
        token: the transformer's class token (B, C); None for a convolutional branch, which has none.
        n_blocks_left: last blocks of the branch that have still to be run; 0 for finished features. Else the map is
            what the first of those blocks reads, a transformer's tokens as (B, C, T, 1).
    """

    map: Tensor
    token: Tensor | None
    n_blocks_left: int = 0

    def to(self, device: torch.device) -> "Features":
        """The same features on a device."""
        token = None if self.token is None else self.token.to(device)
        return replace(self, map=self.map.to(device), token=token)

    def blended(self, own: NDArray[np.int64] | slice, other: NDArray[np.int64], lam: float) -> "Features":
        """Rows `own`, each blended with the row in the same place of `other`: lam * own + (1 - lam) * other."""
        token = None if self.token is None else torch.lerp(self.token[other], self.token[own], lam)
        return replace(self, map=torch.lerp(self.map[other], self.map[own], lam), token=token)


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
        with bfloat16(images.device, enabled=self.in_bfloat16):
            features: Tensor = self.backbone.forward_features(self.standardised(images))  # type: ignore[operator]
        return features.float()

    def standardised(self, images: Tensor) -> Tensor:
        """Grey images (B, 1, H, W) as the backbone takes them, (B, 3, H, W)."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def begin(self, images: Tensor, *, n_blocks_left: int) -> Features:
        """Images (B, 1, H, W) -> what the last `n_blocks_left` blocks read."""
        raise NotImplementedError

    def finish(self, below: Features) -> Features:
        """The last blocks on what `begin` gave -> finished features."""
        raise NotImplementedError

    def depths(self) -> dict[str, int]:
        """How many blocks (of a transformer) or stages (of a convolutional network) lie above each parameter.

        timm's `group_matcher` says which parameter belongs to which; the stem is deepest, and what follows the last
        block counts with it.
        """
        matcher = self.backbone.group_matcher(coarse=True)  # type: ignore[operator]
        layers: dict[str, int] = group_parameters(self.backbone, matcher, reverse=True)
        top = max(layers.values())
        return {f"backbone.{name}": top - layer for name, layer in layers.items()}

    def require_blocks(self, n_blocks_left: int) -> None:
        """Refuse, with BadInputError, to cut off every block, or a network of another make."""
        known = isinstance(self.backbone, EfficientNet | VisionTransformer)
        if known and n_blocks_left < len(self.backbone.blocks):  # type: ignore[arg-type]
            return
        found = f"{len(self.backbone.blocks)} blocks" if known else "no blocks that are known here"  # type: ignore[arg-type]
        raise BadInputError(
            f"fit.finetune.blocks must leave at least one block of each branch below the cut; received "
            f"{n_blocks_left}, and {self.name} has {found}. Give fewer, or 0 to train every block from pixels."
        )


class CnnBranch(Branch):
    """Local spatial encoding: the last map, (B, C, H/32, W/32), of a convolutional network or of a Swin transformer."""

    def forward(self, images: Tensor) -> Features:
        """Images (B, 1, H, W) -> map (B, C, h, w)."""
        found = self.encode(images)
        return Features(map=found.permute(0, 3, 1, 2) if gives_channels_last(self.backbone) else found, token=None)

    def begin(self, images: Tensor, *, n_blocks_left: int) -> Features:
        """Images (B, 1, H, W) -> what the last `n_blocks_left` stages read."""
        net = self.backbone
        with bfloat16(images.device, enabled=self.in_bfloat16):
            below = net.blocks[:-n_blocks_left](net.bn1(net.conv_stem(self.standardised(images))))  # type: ignore[index, operator]
        return Features(map=below.float(), token=None, n_blocks_left=n_blocks_left)

    def finish(self, below: Features) -> Features:
        """The last stages on what `begin` gave -> map (B, C, h, w)."""
        net = self.backbone
        with bfloat16(below.map.device, enabled=self.in_bfloat16):
            above = net.bn2(net.conv_head(net.blocks[-below.n_blocks_left :](below.map.float())))  # type: ignore[index, operator]
        return Features(map=above.float(), token=None)


class VitBranch(Branch):
    """Global semantic modelling: the patch tokens laid out as a map, and the class token."""

    def forward(self, images: Tensor) -> Features:
        """Images (B, 1, H, W) -> map (B, C, H/32, W/32), area-averaged from the patches, and class token (B, C)."""
        return self.laid_out(self.encode(images))

    def begin(self, images: Tensor, *, n_blocks_left: int) -> Features:
        """Images (B, 1, H, W) -> the tokens that the last `n_blocks_left` blocks read, as (B, C, T, 1)."""
        net: VisionTransformer = self.backbone  # type: ignore[assignment]
        with bfloat16(images.device, enabled=self.in_bfloat16):
            embedded = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(self.standardised(images)))))
            tokens = net.blocks[:-n_blocks_left](embedded)
        return Features(map=tokens.float().transpose(1, 2)[..., None], token=None, n_blocks_left=n_blocks_left)

    def finish(self, below: Features) -> Features:
        """The last blocks on what `begin` gave -> map (B, C, h, w) and class token (B, C)."""
        net: VisionTransformer = self.backbone  # type: ignore[assignment]
        with bfloat16(below.map.device, enabled=self.in_bfloat16):
            tokens = net.norm(net.blocks[-below.n_blocks_left :](below.map.float()[..., 0].transpose(1, 2)))
        return self.laid_out(tokens.float())

    @property
    def n_prefix(self) -> int:
        """Tokens before the patches, the class token first."""
        return int(self.backbone.num_prefix_tokens)  # type: ignore[arg-type]

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of the patches."""
        rows, columns = self.backbone.patch_embed.grid_size  # type: ignore[union-attr, misc]
        return rows, columns

    def laid_out(self, tokens: Tensor) -> Features:
        """Normed tokens (B, T, C) -> map (B, C, h, w) and class token (B, C)."""
        rows, columns = self.patch_grid
        patches = tokens[:, self.n_prefix :].transpose(1, 2).reshape(len(tokens), self.channels, rows, columns)
        height, width = self.backbone.patch_embed.img_size  # type: ignore[union-attr, misc]
        grid = (-(-height // GRID_STRIDE_PX), -(-width // GRID_STRIDE_PX))
        return Features(map=functional.adaptive_avg_pool2d(patches, grid), token=tokens[:, 0])


def gives_channels_last(backbone: nn.Module) -> bool:
    """Whether a network's map comes as (B, h, w, C): timm's hierarchical transformers, Swin among them."""
    return str(getattr(backbone, "output_fmt", "")).endswith("NHWC")


def build_cnn(
    name: str,
    *,
    channels: int,
    overlay: dict[str, object] | None,
    drop_path: float = 0.0,
    size_px: int | None = None,
) -> CnnBranch:
    """The convolutional branch; `overlay` is timm's pretrained_cfg_overlay, None leaves random weights.

    `drop_path` is the chance of skipping the last block in training, falling linearly to 0 at the first (stochastic
    depth: Huang 2016, arXiv 1603.09382). `size_px` is the side of the images, which a Swin transformer has to know; its
    last map lies on the same grid.
    """
    cfg = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    size = {"img_size": size_px} if cfg and cfg.fixed_input_size and size_px is not None else {}
    backbone = _create(name, overlay, global_pool="", **_drop_path(drop_path), **size)
    on_grid = not hasattr(backbone, "patch_embed") or gives_channels_last(backbone)
    if not hasattr(backbone, "forward_features") or not on_grid:
        raise BadInputError(f"network.cnn must name a convolutional network of timm; received {name}.")
    if isinstance(backbone, EfficientNet):
        fold_norms(backbone)
    return CnnBranch(name, declared_channels=channels, backbone=backbone.to(memory_format=torch.channels_last))


def build_vit(
    name: str, *, channels: int, size_px: int, overlay: dict[str, object] | None, drop_path: float = 0.0
) -> VitBranch:
    """The transformer branch at the image size of the run; pretrained positions are resampled to it by timm."""
    backbone = _create(name, overlay, img_size=size_px, **_drop_path(drop_path))
    if not getattr(backbone, "num_prefix_tokens", 0) or not hasattr(backbone, "patch_embed"):
        raise BadInputError(f"network.vit must name a transformer of timm with a class token; received {name}.")
    return VitBranch(name, declared_channels=channels, backbone=backbone)


def _drop_path(rate: float) -> dict[str, float]:
    """Stochastic depth as timm takes it, left out where it is off: not every network (DenseNet) has it."""
    return {"drop_path_rate": rate} if rate else {}


def _create(name: str, overlay: dict[str, object] | None, **options: Any) -> nn.Module:
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise BadInputError(f"timm has no network named {name}. Near it: {close}.")
    options |= {"pretrained": overlay is not None, "pretrained_cfg_overlay": overlay, "num_classes": 0}
    network: nn.Module = timm.create_model(name, **options)
    return network
