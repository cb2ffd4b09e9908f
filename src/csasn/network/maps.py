"""Class-activation and attention-gradient maps of an image, from the network's own intermediates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.network.attention_capture import KeptAttention
from csasn.network.backbones import Features, VitBranch
from csasn.network.csasn import Csasn


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Explained:
    """The class that each image of a batch was explained for, (B,), and by name its maps (B, h, w).

    A map's largest cell is 1 and no cell is below 0; a map that is 0 everywhere says that nothing spoke for the class.
    "cnn" and "fused" lie on the grid of the last convolutional map, "vit" on the grid of the patches; what the
    network does not have is absent.
    """

    target_class: NDArray[np.int64]
    maps: dict[str, NDArray[np.float32]]


def explain(network: Csasn, images: Tensor, target_class: NDArray[np.int64] | None = None) -> Explained:
    """Maps of the log-odds of each image's class `target_class` (B,), the most probable one where None.

    Images (B, 1, H, W) in [0, 1]. "cnn": Grad-CAM of the convolutional branch's map; "vit": attention relevance through
    the transformer's blocks; "fused": Grad-CAM of the joint map before attention. The network must be in evaluation
    mode without bfloat16; neither its tensors nor their gradients change.
    """
    kept, transformer, tokens = KeptAttention(), None, None
    features: dict[str, Features] = {}
    for name, branch in network.branches.items():
        if isinstance(branch, VitBranch):
            transformer = branch
            with kept:
                tokens = branch.encode(images.detach().requires_grad_())
            features[name] = branch.laid_out(tokens)
        else:
            with torch.no_grad():
                seen: Features = branch(images)
            features[name] = replace(seen, map=seen.map.requires_grad_())
    output = network.head(features)
    most_probable = output.logits.detach().argmax(dim=1)
    chosen = most_probable if target_class is None else torch.from_numpy(target_class).to(images.device)
    seen_by = {"cnn": features["cnn"].map} if "cnn" in features else {}
    if len(features) > 1 and not network.head.fusion.pooled:
        seen_by["fused"] = output.fused_map
    inner = [tokens, *kept.weights] if tokens is not None and _follows(kept, tokens) else []
    gradients = torch.autograd.grad(log_odds(output.logits, chosen).sum(), [*seen_by.values(), *inner])
    maps = {name: grad_cam(each, g) for (name, each), g in zip(seen_by.items(), gradients, strict=False)}
    if inner and transformer is not None:
        last, *attended = gradients[len(seen_by) :]
        relevance = attention_relevance(kept.weights, attended, relevance_of(inner[0], last))
        maps["vit"] = relevance[:, transformer.n_prefix :].reshape(len(images), *transformer.patch_grid)
    return Explained(target_class=chosen.cpu().numpy(), maps={name: _scaled(each) for name, each in maps.items()})


def why_missing(network: Csasn, kind: str) -> str:
    """Why a network has no map of a kind ("cnn", "vit", "fused")."""
    if kind == "fused" and network.head.fusion.pooled:
        return "no such map: pooled vectors are fused, which have no places"
    if kind == "fused":
        return "no such map: there is one branch alone, and nothing is fused"
    if kind not in network.branches:
        return f"no such map: the network has no {'convolutional' if kind == 'cnn' else 'transformer'} branch"
    return "no such map: this transformer's attention is of a kind that cannot be followed"


def log_odds(logits: Tensor, chosen: Tensor) -> Tensor:
    """log p - log(1 - p) of each row's chosen class (B,), from log-probabilities (B, K)."""
    own = chosen[:, None]
    others = logits.scatter(1, own, -torch.inf)
    return logits.gather(1, own)[:, 0] - others.logsumexp(dim=1)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM: relu(sum_k a_k A_k), a_k the mean over places of dy/dA_k; Selvaraju 2017, arXiv 1610.02391.

    Activation A and gradient dy/dA (B, C, h, w) -> (B, h, w).
    """
    weight = gradient.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weight * activation).sum(dim=1))


def relevance_of(tokens: Tensor, gradient: Tensor) -> Tensor:
    """How much of y each last token carries: r_t = relu(sum_c X_tc dy/dX_tc); X and dy/dX (B, T, C) -> (B, T)."""
    return torch.relu((tokens * gradient).sum(dim=2))


def attention_relevance(weights: Sequence[Tensor], gradients: Sequence[Tensor], last: Tensor) -> Tensor:
    """Relevance of the first tokens (B, T) to the last ones, of which y reads so much of each, (B, T).

    R <- R + E R from the first block to the last, from R = I, where E is the mean over heads of relu(A * dy/dA):
    equations 5 and 6 of Chefer 2021, arXiv 2103.15679. Chefer's networks read the class token alone, and its row of
    R - I is their map; ours also reads the patches, so that each last token's row counts by its relevance. Weights A
    and dy/dA of each block, first block first, (B, heads, T, T).
    """
    share = last / last.sum(dim=1, keepdim=True).clamp_min(torch.finfo(last.dtype).tiny)
    relevance = identity = torch.eye(last.shape[1], dtype=last.dtype, device=last.device)
    for weight, gradient in zip(weights, gradients, strict=True):
        relevance = relevance + torch.relu(weight * gradient).mean(dim=1) @ relevance
    return (share[:, None, :] @ (relevance - identity))[:, 0]


def _follows(kept: KeptAttention, tokens: Tensor) -> bool:
    """Whether every block's attention between these very tokens was kept."""
    n_tokens = tokens.shape[1]
    return bool(kept.weights) and all(each.shape[2:] == (n_tokens, n_tokens) for each in kept.weights)


def _scaled(maps: Tensor) -> NDArray[np.float32]:
    """Each map of (B, h, w) divided by its largest cell; 0 stays 0."""
    found = maps.detach()
    largest = found.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, found / largest, 0).float().cpu().numpy()
