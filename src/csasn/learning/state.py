"""Everything that a stage of training changes, as one tree that can be written and read back bit for bit."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from csasn.errors import MismatchError
from csasn.learning.early_stopping import EarlyStopping
from csasn.learning.fsdp import spread, whole
from csasn.learning.module import BRANCHES, TrainingModule
from csasn.learning.optimisation import MovingAverage, Stage

HistoryRow = dict[str, Any]  # the columns of history.csv, and under "weights" what goes into weights.csv


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """A stage in progress: what learns, how it is changed, how far it is, and how well it went.

    `learner` is the part of the module that is averaged, evaluated and kept. `step` counts finished steps, and with
    them the position of the sampler: the epoch's plan depends on its number alone. `loss_sum` and `seconds` are of
    the epoch so far. `best` is the learner at the epoch with the lowest tuning loss.
    """

    stage: Stage
    module: TrainingModule
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: MovingAverage
    device: torch.device
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: EarlyStopping
    history: list[HistoryRow] = field(default_factory=list)

    def ended(self, patience_epochs: int) -> bool:
        """Whether the last finished epoch was the stage's last, or patience is over."""
        return self.best.ended(len(self.history), n_epochs=self.stage.n_epochs, patience_epochs=patience_epochs)

    def tree(self) -> dict[str, Any]:
        """The state as nested dicts; frozen branches are left out, they are the pretrained ones.

        Processes that keep parts of it have to ask together; each then has all of it.
        """
        module = self.module.state_dict()
        frozen = self.stage.name == "frozen"
        tree: dict[str, Any] = {
            "stage": self.stage.name,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "best_loss": self.best.loss,
            "best_epoch": self.best.epoch,
            "stage_history": self.history,
            "module": {name: each for name, each in module.items() if not (frozen and name.startswith(BRANCHES))},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": {"n_steps": self.average.n_steps, "state": self.average.state},
            "best": self.best.weights,
            "random": {"cpu": torch.get_rng_state()}
            | ({"cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {}),
        }
        return whole(tree)  # type: ignore[no-any-return]

    def load(self, tree: dict[str, Any]) -> None:
        """Go back to a state that `tree` gave; MismatchError where it does not fit this network or optimiser."""
        try:
            own = self.module.state_dict()
            given = {name: spread(each, own[name]) if name in own else each for name, each in tree["module"].items()}
            missing, unexpected = self.module.load_state_dict(given, strict=False)
            if unexpected or not all(self.stage.name == "frozen" and name.startswith(BRANCHES) for name in missing):
                raise ValueError(f"missing {missing}, unexpected {unexpected}")
            of_learner = self.learner.state_dict()
            for kept in (tree["average"]["state"], tree["best"]):
                if kept.keys() != of_learner.keys():
                    raise ValueError("the averaged or the best weights are of another network")
            self.average.n_steps = tree["average"]["n_steps"]
            for name, each in self.average.state.items():
                each.copy_(spread(tree["average"]["state"][name], each))
            self.optimizer.load_state_dict(tree["optimizer"])
            self.schedule.load_state_dict(tree["schedule"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise MismatchError(
                f"A saved training state must fit the network and the optimiser that this version builds: {error}.\n"
                "Train in a new run folder, or with the version of csasn that wrote the state."
            ) from error
        self._as_dense_as_parameters()
        self.best = EarlyStopping(
            weights={name: spread(each, of_learner[name]) for name, each in tree["best"].items()},
            loss=tree["best_loss"],
            epoch=tree["best_epoch"],
        )
        self.step, self.loss_sum, self.seconds = tree["step"], tree["loss_sum"], tree["seconds"]
        self.history = tree["stage_history"]
        torch.set_rng_state(tree["random"]["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tree["random"]["cuda"], self.device)

    def _as_dense_as_parameters(self) -> None:
        """Lay the optimiser's moments out as its parameters lie: other strides could round otherwise in a kernel."""
        for parameter, state in self.optimizer.state.items():
            for name, each in state.items():
                if isinstance(each, Tensor) and each.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=each.dtype).copy_(spread(each, parameter))
