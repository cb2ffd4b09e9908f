"""Run by tests/learning/test_fsdp.py in two processes: what FSDP keeps where, and a training cut and resumed."""

import json
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from csasn.config import FitSettings
from csasn.errors import StoppedError
from csasn.learning.fsdp import clip_mixed, is_sharded, whole
from csasn.learning.optimisation import Stage, parameter_groups
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.session import start_fabric
from tests.support.small_training import CONFIGURATION, fresh_module
from tests.support.small_unit import train_unit


def layout(fabric: Fabric) -> dict[str, object]:
    """Which parameters are in parts, how large this process's are, and whether they are the same put together."""
    module = fresh_module()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    parameter_groups(module, Stage(name="finetune", n_epochs=1, learning_rate=1e-4), CONFIGURATION.fit)
    fabric.setup_module(module)
    sharded = {name: each for name, each in module.named_parameters() if is_sharded(each)}
    together = whole(module.state_dict())
    for number, parameter in enumerate(module.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * (number % 3))
    norm = clip_mixed(module.parameters(), 1.0)
    after = torch.stack([whole(each.grad).norm() for each in module.parameters()]).norm()
    return {
        "sharded": sorted({name.rsplit(".blocks.")[0] for name in sharded}),
        "n_sharded": sum(each.numel() for each in sharded.values()),
        "n_here": sum(each.to_local().numel() for each in sharded.values()),
        "same": all(torch.equal(together[name], each) for name, each in before.items()),
        "norms": [float(norm), float(after)],
        "expected": sum(each.numel() * (0.1 * (k % 3)) ** 2 for k, each in enumerate(module.parameters())) ** 0.5,
    }


def resumed(fabric: Fabric, folder: Path) -> list[str]:
    """Fingerprints of a training that is never cut, and of one that is cut in fine-tuning and goes on."""

    def train(name: str, cut_at: int | None) -> str:
        stop = StopSignal()

        def on_step(_: object, step: int) -> None:
            stop.requested = step + 1 == cut_at

        return train_unit(fabric, folder / name, on_step, every_steps=0, stop=stop)

    uncut = train("uncut", None)
    try:
        train("cut", 11)
    except StoppedError:
        fabric.barrier()  # the first process has written the state
    return [uncut, train("cut", None)]


if __name__ == "__main__":
    settings = FitSettings(accelerator="cpu")
    fabric = start_fabric(settings, n_devices=2, strategy="fsdp")
    found = layout(fabric) | {"ends": resumed(fabric, Path(sys.argv[1]))}
    Path(sys.argv[1], f"process-{fabric.global_rank}.json").write_text(json.dumps(found))
