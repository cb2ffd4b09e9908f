"""How a task's logits are changed in training, so that a frequent class has to be told more plainly than a rare one."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.config import LossSettings


class Adjustment(nn.Module):
    """Cross-entropy of one task with its logits adjusted by the training fold's counts n_j of the task's ways.

    `logit-adjustment` (Menon 2021, arXiv 2007.07314): z_j + tau log pi_j, pi_j = n_j / sum n.
    `balanced-softmax` (Ren 2020, arXiv 2007.10740): n_j exp(z_j) / sum_i n_i exp(z_i); that is tau = 1.
    `ldam-drw` (Cao 2019, arXiv 1906.07413): s (z_j - [j = y] D_y), D_j = C / n_j^(1/4), the largest D_j being
    `ldam_max_margin`.
    `focal` (Lin 2017, arXiv 1708.02002): (1 - p_t)^gamma CE, with p_t = exp(-CE) of the plain cross-entropy.
    Every other name: the plain cross-entropy. A way that training lacks counts as one image. Reading is never
    adjusted: the network then tells p(y|x) as if every way were equally common.
    """

    offset: Tensor
    margin: Tensor

    def __init__(self, counts: list[float], settings: LossSettings) -> None:
        """`counts`: training rows of each of the task's ways (W,)."""
        super().__init__()
        n = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
        offset, margin = torch.zeros_like(n), torch.zeros_like(n)
        if settings.classes == "logit-adjustment":
            offset = settings.logit_tau * (n / n.sum()).log()
        elif settings.classes == "balanced-softmax":
            offset = n.log()
        elif settings.classes == "ldam-drw":
            margin = settings.ldam_max_margin * (n / n.min()) ** -0.25
        self.scale = settings.ldam_scale if settings.classes == "ldam-drw" else 1.0
        self.gamma = settings.focal_gamma if settings.classes == "focal" else 0.0
        self.register_buffer("offset", offset.float())
        self.register_buffer("margin", margin.float())

    def forward(self, logits: Tensor, index: Tensor) -> Tensor:
        """Logits (B, W) and way (B,) -> loss of each row (B,)."""
        own = functional.one_hot(index, len(self.margin)) * self.margin
        losses = functional.cross_entropy(self.scale * (logits + self.offset - own), index, reduction="none")
        if self.gamma == 0:
            return losses
        return (1 - torch.exp(-losses)).pow(self.gamma) * losses
