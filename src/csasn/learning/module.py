"""What is trained in one fold: a network, its loss, the rows it may see, and how well it does on the tuning rows."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from csasn.config import Configuration, LossSettings, Sampling
from csasn.learning.objective.labels import Labels, Whole
from csasn.learning.objective.losses import MultitaskLoss
from csasn.learning.objective.site_adversary import SiteAdversary, training_sites
from csasn.learning.rows import LabelledRows
from csasn.network.backbones import Branch
from csasn.network.build import network_settings, over_branches
from csasn.network.csasn import Csasn, Given, Output

NETWORK = "network."  # prefix of the network's tensors in a module's state
BRANCHES = "network.branches."  # prefix of the branches' tensors in a module's state


class TrainingModule(nn.Module):
    """A network and its loss in one module, so that one forward pass gives the loss.

    It reads features of the branches (frozen stage), the activations below their last blocks, or images (fine-tuning).
    """

    def __init__(
        self, network: Csasn, cohort: LabelledRows, train: NDArray[np.int64], settings: LossSettings, sampling: Sampling
    ) -> None:
        """`train`: the rows that the loss may count; no other row's label reaches it."""
        super().__init__()
        self.network = network
        n_images, n_unknown = cohort.shown(train, sampling)
        flat = not hasattr(network.head.output, "malignancy")
        adversary = None
        if settings.site_adversary:
            sites = training_sites(cohort.site, train, where="this fold")
            adversary = SiteAdversary(network.head.n_features, sites, largest=settings.site_adversary)
        self.loss = MultitaskLoss(
            cohort.classes, n_images, n_unknown=n_unknown, flat=flat, settings=settings, adversary=adversary
        )

    def read(self, given: Given) -> Output:
        """Features by branch, images (B, 1, H, W) or pairs of them, to logits and intermediates."""
        return self.network(given)  # type: ignore[no-any-return]

    def forward(self, given: Given, labels: Labels, whole: Whole | None = None) -> Tensor:
        """A batch with its labels to the scalar loss; `whole` where it is a part of a training step."""
        shared = self.network.head.last_shared()
        return self.loss(self.read(given), labels, whole, shared)  # type: ignore[no-any-return]


def build_training_module(
    model: str,
    branches: dict[str, Branch],
    cohort: LabelledRows,
    train: NDArray[np.int64],
    configuration: Configuration,
) -> TrainingModule:
    """A fresh head over the given branches, with the loss that the training rows call for."""
    network = over_branches(branches, network_settings(model, configuration.network), cohort.classes)
    return TrainingModule(network, cohort, train, configuration.loss, configuration.fit.sampling)
